"""The one training loop."""

from weightatlas.fit.config import FitConfig as FitConfig
from weightatlas.fit.loop import FitResult as FitResult
from weightatlas.fit.loop import fit as fit
