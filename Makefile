# Two commands matter: `make demo` and `make test`. Each does all its own set-up on a fresh machine.
SHELL := /bin/bash
export OMP_WAIT_POLICY ?= PASSIVE
.DELETE_ON_ERROR:
.PHONY: help demo test lint types check-wheel bench eval docs samples clean

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Modules are compiled and kept when they are first imported, a few of those installed: half the time of a set-up.
unexport PYTHONDONTWRITEBYTECODE
INSTALL := $(BIN)/python -m pip --disable-pip-version-check --quiet install --no-compile
BASE := $(VENV)/.installed-base
DEV := $(VENV)/.installed-dev
PACKAGES := kg retrieval generation moe_backbone api
WORKERS ?= 2
FOLDER ?= $(error name a folder of questions: make eval FOLDER=path)

help: ## say what there is to make
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | column -t -s $$'\t'

$(BASE): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --upgrade pip
	$(INSTALL) -c constraints.txt torch
	$(INSTALL) -c constraints.txt -e .
	@touch $@

$(DEV): $(BASE)
	$(INSTALL) -c constraints.txt -e ".[dev]"
	@touch $@

demo: $(BASE) ## environment, pinned models, then the packaged samples in and their questions answered
	$(BIN)/mmkg models pull
	$(BIN)/mmkg demo
	$(BIN)/mmkg ask "Who built the lighthouse at Skerrin Point?" --workspace demo --generator moe

test: $(DEV) ## environment, then every gate and every test
	$(BIN)/mmkg models pull
	$(MAKE) --no-print-directory --jobs=$(WORKERS) --output-sync=target lint check-wheel
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

lint: $(DEV) ## ruff, ruff format, mypy --strict, pydoclint, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pydoclint --quiet $(PACKAGES)
	$(BIN)/lint-imports

check-wheel: $(DEV) ## build the wheel, install it into a clean environment, use it from another folder
	$(BIN)/python tools/check_wheel.py

# Those that need no argument. The others name what they need with --help: python -m tests.benchmarks.NAME --help
BENCHMARKS := startup ingest_profile ingest_throughput lexical_speed store_speed vector_index_speed chart_tables pdf_tables

bench: $(DEV) ## the speed tables, one after the other
	@for name in $(BENCHMARKS); do echo "== $$name"; $(BIN)/python -m tests.benchmarks.$$name || exit 1; done

eval: $(DEV) ## retrieval and answers on one folder of questions: make eval FOLDER=path
	$(BIN)/mmkg eval retrieval "$(FOLDER)"
	$(BIN)/mmkg eval answers "$(FOLDER)"

docs: $(DEV) ## rewrite docs/cli.md and docs/openapi.json from the code
	$(BIN)/python tools/build_docs.py

samples: $(DEV) ## rebuild the generated sample files
	$(BIN)/python tools/build_samples.py

clean: ## remove what was built (the environment, caches); models and workspaces stay
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
