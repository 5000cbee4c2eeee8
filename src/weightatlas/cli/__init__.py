"""The command: one file per verb, each a thin call of the Python function of the same name."""

from weightatlas.cli.main import main as main
