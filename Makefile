# The way in: `make demo` runs an example as a pipeline, `make lab` opens JupyterLab, `make test` passes every test.
# Each sets up what it needs in .venv and does nothing twice.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

# The front end's tools: jlpm (JupyterLab's yarn) comes with the Python packages, Node is the user's.
JLPM := PATH="$(abspath $(BIN)):$$PATH" $(BIN)/jlpm
FRONT_END := $(shell find labextension/src labextension/style labextension/schema -type f 2>/dev/null) tsconfig.json

.PHONY: demo lab wheel test check test-ui format clean
.DEFAULT_GOAL := help

help:
	@echo "make demo    set up and run examples/heart-disease.ipynb as a pipeline"
	@echo "make lab     open JupyterLab on the examples, with everything installed"
	@echo "make test    every check and every test;  make test-ui   those of the JupyterLab extension"
	@echo "make wheel   build dist/*.whl and dist/*.tar.gz"
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

.make/node: package.json yarn.lock .yarnrc.yml | .make/venv
	@node -e 'process.exit(Number(process.versions.node.split(".")[0]) < 20 ? 1 : 0)' || \
		{ echo "The JupyterLab extension is built with Node 20 or newer; install it from nodejs.org"; exit 1; }
	@echo "Installing the front end's packages (some minutes the first time) ..."
	@PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1 $(JLPM) install --immutable > .make/node.log 2>&1 || { tail -n 20 .make/node.log; exit 1; }
	@touch $@

.make/lab: .make/node $(FRONT_END)
	@$(JLPM) build:prod
	@PATH="$(abspath $(BIN)):$$PATH" jupyter-builder develop . --overwrite
	@touch $@

# Debian and Ubuntu have a Chromium that Playwright can drive; elsewhere it brings its own.
.make/chromium: .make/node
	@test -n "$$MLOPS_LAB_CHROMIUM" || test -x /usr/bin/chromium || \
		{ [ "$$(id -u)" = 0 ] && { apt-get install --yes --quiet chromium || { apt-get update --quiet && apt-get install --yes --quiet chromium; }; } > /dev/null 2>&1 && test -x /usr/bin/chromium; } || \
		$(JLPM) playwright install chromium || \
		{ echo "The browser's tests need Chromium: install it and name it, as in MLOPS_LAB_CHROMIUM=/usr/bin/chromium make test-ui"; exit 1; }
	@touch $@

lab: .make/venv .make/lab
	@cd examples && $(abspath $(BIN))/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root)

# A wheel and an sdist that bring the JupyterLab extension built.
wheel: .make/dev .make/lab
	$(BIN)/python -m hatchling build -t sdist -t wheel -d dist

check: .make/dev
	$(BIN)/ruff format --check mlops_lab tests benchmarks examples workshops
	$(BIN)/ruff check mlops_lab tests benchmarks examples workshops
	$(BIN)/mypy
	$(BIN)/lint-imports

# Real kernels on a machine that is busy with other things: what fails is tried once more, and listed even if it then passes.
test: check .make/lab
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal --reruns 1 -r aR
	$(MAKE) test-ui

test-ui: .make/dev .make/lab .make/chromium
	$(JLPM) lint
	$(JLPM) test
	$(JLPM) ui-test

format: .make/dev
	$(BIN)/ruff format mlops_lab tests benchmarks examples workshops
	$(BIN)/ruff check --fix mlops_lab tests benchmarks examples workshops
	@test ! -e .make/node || $(JLPM) format

clean:
	rm -rf .venv .make node_modules labextension/lib mlops_lab/labextension tsconfig.tsbuildinfo .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
