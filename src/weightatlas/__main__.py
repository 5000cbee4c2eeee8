"""`python -m weightatlas` is the command."""

import sys

from weightatlas.cli import main

if __name__ == "__main__":
    sys.exit(main())
