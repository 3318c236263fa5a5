# Everything runs from a local .venv that these rules make; a fresh machine needs Python 3.11+, git and make.
PYTHON ?= python3
BIN := .venv/bin
STAMPS := .venv/.stamps
# Hundreds of processes are started by the tests, and each would compile what it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-slow lint format schema bench docs mutants simulate clean

demo: $(STAMPS)/demo
	$(BIN)/slotsmith demo

# One more than there are cores: many tests wait for processes.
WORKERS ?= $(shell expr $$(nproc) + 1)
test: lint
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

test-slow: $(STAMPS)/slow
	$(BIN)/python -m pytest -m slow --timeout 3600

lint: $(STAMPS)/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMPS)/test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# What editors check configurations with; a test holds it to what `slotsmith config schema` prints.
schema: $(STAMPS)/test
	$(BIN)/slotsmith config schema > .venv/schema.json && mv .venv/schema.json src/slotsmith/config/slotsmith.schema.json

bench: $(STAMPS)/test
	$(BIN)/python -m benchmarks

# The seeds as N or FROM:TO; what was run already is not run again while the code stays as it is.
SEEDS ?= 1000
simulate: $(STAMPS)/test
	$(BIN)/python -m slotsmith.simulation.swarm --seeds $(SEEDS) --results .swarm/results.jsonl

mutants: $(STAMPS)/test
	$(BIN)/python -m mutants

docs: $(STAMPS)/docs
	$(BIN)/mkdocs build --strict

clean:
	rm -rf .venv site build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(STAMPS)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "slotsmith needs Python 3.11 or newer; set PYTHON=python3.11, say" >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/demo: pyproject.toml $(STAMPS)/pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dask,service]"
	@touch $@

$(STAMPS)/test: pyproject.toml $(STAMPS)/demo
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[aws,gcp,plot,plan,postgres,service,client,http,otel]" --group test
	@touch $@

# Google's own client is large, and only a second opinion on the tests' GCE.
$(STAMPS)/slow: pyproject.toml $(STAMPS)/test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group slow
	@touch $@

$(STAMPS)/docs: pyproject.toml $(STAMPS)/demo
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group docs
	@touch $@
