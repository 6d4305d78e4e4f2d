# The way in: `make demo` runs an example as a pipeline, `make lab` opens JupyterLab, `make test` passes every test.
# Each sets up what it needs in .venv and does nothing twice.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo lab test check format clean
.DEFAULT_GOAL := help

help:
	@echo "make demo    set up and run examples/heart-disease.ipynb as a pipeline"
	@echo "make lab     open JupyterLab on the examples, with everything installed"
	@echo "make test    every check and every test"
	@echo "make check   linters and types only;  make format   rewrite the code in the project's style"

.make/venv: pyproject.toml constraints.txt mlops_lab/_version.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "MLOps Lab needs Python 3.11 or newer; name it with: make PYTHON=python3.12 demo"; exit 1; }
	@echo "Installing into .venv (some minutes the first time) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(PIP) --editable '.[examples]'
	@mkdir -p .make && touch $@

.make/dev: .make/venv
	@$(PIP) --editable '.[examples,dev]'
	@touch $@

demo: .make/venv
	@$(BIN)/mlops-lab run examples/heart-disease.ipynb --no-cache

lab: .make/venv
	@cd examples && $(abspath $(BIN))/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root)

check: .make/dev
	$(BIN)/ruff format --check mlops_lab tests benchmarks examples
	$(BIN)/ruff check mlops_lab tests benchmarks examples
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check
	$(BIN)/python -m pytest --numprocesses 2

format: .make/dev
	$(BIN)/ruff format mlops_lab tests benchmarks examples
	$(BIN)/ruff check --fix mlops_lab tests benchmarks examples

clean:
	rm -rf .venv .make .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
