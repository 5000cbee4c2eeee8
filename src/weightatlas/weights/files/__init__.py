"""Checkpoints -> named tensors, one format a file; code in a file is never executed."""

from weightatlas.weights.files.checkpoint import Checkpoint, FileReport, Operation, Origin, StoredNetwork
from weightatlas.weights.files.folder import Found, find_checkpoints
from weightatlas.weights.files.read import read_checkpoint

__all__ = [
    "Checkpoint",
    "FileReport",
    "Found",
    "Operation",
    "Origin",
    "StoredNetwork",
    "find_checkpoints",
    "read_checkpoint",
]
