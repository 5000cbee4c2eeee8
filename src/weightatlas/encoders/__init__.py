"""Encoders: one method, one paper, one file."""

from weightatlas.encoders.base import Autoencoder as Autoencoder
from weightatlas.encoders.base import Decoded as Decoded
from weightatlas.encoders.base import Encoded as Encoded
from weightatlas.encoders.base import Encoder as Encoder
from weightatlas.encoders.base import encoders as encoders
