"""Properties of networks, predicted from their weights."""

from weightatlas.predict.property import PropertyPredictor as PropertyPredictor
