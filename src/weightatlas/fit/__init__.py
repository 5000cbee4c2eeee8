"""The one training loop."""

from weightatlas.fit.config import FitConfig as FitConfig
from weightatlas.fit.loop import fit as fit
from weightatlas.fit.result import FitResult as FitResult
