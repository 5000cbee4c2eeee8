"""Checkpoints -> named tensors, one format a file; code in a file is never executed."""

from weightatlas.weights.files.read import FileReport, read_checkpoint

__all__ = ["FileReport", "read_checkpoint"]
