"""Populations of trained networks on disk."""

from weightatlas.zoo.zoo import Zoo as Zoo
