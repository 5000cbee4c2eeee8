# weightatlas: `make quickstart` and `make test` are all a new user needs.
# Works with GNU make 3.81. Another interpreter: make PYTHON=python3.12 quickstart

PYTHON ?= python3
OUT ?= runs/quickstart
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
WORKERS ?= 3
MINUTES ?= 10

# pip of the outer Python installs into the environment, so that ensurepip is not needed;
# a Python without a pip of 22.3 or newer falls back to ensurepip.
PIP = $(shell $(PYTHON) -c 'import pip; assert tuple(map(int, pip.__version__.split(".")[:2])) >= (22, 3)' \
	>/dev/null 2>&1 && echo "$(PYTHON) -m pip --python $(BIN)/python" || echo "$(BIN)/python -m pip")

.PHONY: help python env quickstart test lint format types pytest speed fuzz clean

help:
	@echo 'make quickstart   install, then the whole story on bundled data; ends in a report'
	@echo 'make test         install, then lint, types and the whole test suite'
	@echo 'make env          only make the environment in $(VENV)'
	@echo 'make lint         ruff, check only          make format   let ruff rewrite the files'
	@echo 'make types        pyright                   make pytest   only the test suite'
	@echo 'make speed        speed against plain implementations, at most 15 minutes; writes docs/performance.md'
	@echo 'make fuzz         read damaged checkpoints for 10 minutes (MINUTES=10)'
	@echo 'make clean        remove the environment and caches; runs/ is kept'

python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo 'weightatlas needs Python 3.11 or newer; "$(PYTHON)" is older or missing.' >&2; \
	  echo 'Name another one: make PYTHON=python3.12 <target>' >&2; exit 1; }

env: $(STAMP)

# torch comes first and alone: pip's own settings choose its build, and nothing later changes it.
# hatchling and editables come before the package, so that its build needs no second download.
$(STAMP): constraints.txt pyproject.toml | python
	rm -rf $(VENV)
	$(PYTHON) -m venv --without-pip $(VENV)
	@case "$(PIP)" in *--python*) ;; *) $(BIN)/python -m ensurepip --upgrade;; esac
	$(PIP) install -q -c constraints.txt torch hatchling editables
	$(PIP) install -q -c constraints.txt --no-build-isolation -e '.[dev]'
	@touch $@

quickstart: $(STAMP)
	$(BIN)/weightatlas quickstart --out $(OUT)

test: lint types pytest

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(STAMP)
	$(BIN)/pyright --pythonpath $(BIN)/python

pytest: $(STAMP)
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

speed: $(STAMP)
	$(BIN)/python speed/all.py

fuzz: $(STAMP)
	$(BIN)/python -m tests.fuzz_readers --minutes $(MINUTES)

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
