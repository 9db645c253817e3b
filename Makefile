# Every target makes the virtual environment that it needs; `make` alone lists them.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
NOTEBOOKS := $(wildcard notebooks/*.ipynb)
SCRIPTS := $(filter-out $(NOTEBOOKS:.ipynb=.py),$(wildcard notebooks/*.py))

.DEFAULT_GOAL := help
.PHONY: help demo test bench gpu-test gpu-bench notebooks check format clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

# A stamp for each extra: it is installed again only when pyproject.toml changes.
$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.%-installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[$*]'
	@touch $@

demo: $(VENV)/.demo-installed ## train a network on real digits beside eager execution
	$(BIN)/python -m gradloom demo

check: $(VENV)/.dev-installed ## lint, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev-installed ## put the code into its one form
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

# The notebooks run before the tests, so that pytest's summary of the tests stands last.
test: check $(if $(NOTEBOOKS)$(SCRIPTS),notebooks) ## everything that must pass: check, notebooks, tests
	$(BIN)/python -m pytest -n 2

notebooks: $(VENV)/.dev-installed $(VENV)/.notebooks-installed ## run every notebook
	$(if $(NOTEBOOKS),$(BIN)/python -m pytest -p no:doctest -o addopts= --nbmake $(NOTEBOOKS))
	@set -e; for script in $(SCRIPTS); do echo $$script; \
		$(BIN)/jupytext --to ipynb --execute --output - $$script > /dev/null; done

# PyTensor wants an older numba than the one beside gradloom, so it lives apart.
$(VENV)-pytensor/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)-pytensor
	$(VENV)-pytensor/bin/python -m pip install --quiet --disable-pip-version-check \
		pytensor mlxtend scikit-learn
	@touch $@

bench: $(VENV)/.bench-installed $(VENV)-pytensor/.installed ## measure beside torch, jax, tinygrad, pytensor
	$(BIN)/python -m benchmarks

# On a machine with an NVIDIA GPU and its driver.  PARTS: rows, programs, models, sanitizer; OPTIONS
# such as `--limit 540` (seconds) and `--record FOLDER`, from which a further call goes on.
gpu-test: $(VENV)/.gpu-test-installed ## every operator, program and model on this machine's GPU
	$(BIN)/python -m tests.on_gpu $(PARTS) $(OPTIONS)

# PARTS: gpu.training, gpu.kernels, gpu.costs; OPTIONS such as `--models digits --seconds 1`.
gpu-bench: $(VENV)/.gpu-bench-installed ## measure this machine's GPU beside torch and jax
	$(BIN)/python -m benchmarks $(or $(PARTS),gpu) $(OPTIONS)

clean: ## remove what building and testing leave behind
	rm -rf $(VENV) $(VENV)-pytensor build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
