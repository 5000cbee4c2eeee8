"""All benches by name: those of `evaluate`, and `lineage`."""

from weightatlas.evaluate.protocols import benches as benches
from weightatlas.evaluate.protocols import cards as cards
from weightatlas.relate import lineage as lineage
