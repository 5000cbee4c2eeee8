"""Benches: one experiment a file, resumable, baselines included."""

from weightatlas.evaluate.protocols.registry import benches as benches
from weightatlas.evaluate.protocols.registry import cards as cards
