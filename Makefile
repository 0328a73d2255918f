# What a person needs: `make run` to try it, `make test` before a change goes out.
# Needs Python >= 3.11 with venv, and make. Another Python: `make run PYTHON=python3.13`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
EDITABLE := $(PIP) install --quiet --no-deps --no-build-isolation -e .
# uv only makes the locks; who installs them needs plain pip.
UV := $(VENV)-lock/bin/uv
COMPILE := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header --no-annotate
ARGS ?=
SEEDS ?= 1000

.DEFAULT_GOAL := help
.PHONY: help setup run test check simulate torture machines bench format docs lock clean

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile

setup: $(VENV)/.dev ## build .venv with everything a developer needs

run: $(VENV)/.runtime ## start API and worker on 127.0.0.1:8025, sending into ./var/outbox
	@exec $(BIN)/stagepost dev $(ARGS)

test: check ## every check, then the whole suite, real PostgreSQL included
	STAGEPOST_REQUIRE_POSTGRES=1 $(BIN)/python -m pytest $(ARGS)

check: $(VENV)/.dev ## formatting, lint, types, layers, structure, migrations = metadata
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest --quiet $(wildcard tests/test_structure.py tests/test_migrations.py)

simulate: $(VENV)/.dev ## random runs in virtual time, all invariants checked (SEEDS=10000; SEED=123 for one again)
	$(BIN)/python -m tests.simulation $(if $(SEED),--seed $(SEED),--seeds $(SEEDS)) $(ARGS)

torture: $(VENV)/.dev ## kill -9 under load, hundreds of times on both databases (ARGS="--kills 1000 --seed 7")
	$(BIN)/python -m tests.faults.torture $(ARGS)

machines: $(VENV)/.dev ## two APIs and four workers on hosts that fail, as root (ARGS="--emails 100000 --seed 7")
	$(BIN)/python -m tests.machines $(ARGS)

bench: $(VENV)/.dev ## what it costs, each measure against its limit in the same run (half an hour; ARGS=--quick: 3 minutes)
	$(BIN)/python -m benchmarks $(ARGS)

format: $(VENV)/.dev ## format the code and repair what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.dev ## make docs/events.md, the example of docs/simulating.md and the tables of docs/scaling.md anew
	$(BIN)/python -m docs.events
	$(BIN)/python -m docs.simulating
	$(BIN)/python -m docs.scaling

lock: $(UV) ## pin again what pyproject.toml asks for (UPGRADE=--upgrade for the newest)
	$(COMPILE) $(UPGRADE) pyproject.toml --group build -o requirements.lock
	$(COMPILE) $(UPGRADE) pyproject.toml --group build --extra dev -c requirements.lock -o requirements-dev.lock

clean: ## remove what the targets above made, but not ./var
	rm -rf $(VENV) $(VENV)-lock build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is older than its lock: install again. The dev lock is a superset, so it serves `run` as well.
$(VENV)/.runtime: requirements.lock pyproject.toml $(BIN)/python
	$(PIP) install --quiet --require-hashes -r requirements.lock
	$(EDITABLE)
	@touch $@

$(VENV)/.dev: requirements-dev.lock pyproject.toml $(BIN)/python
	$(PIP) install --quiet --require-hashes -r requirements-dev.lock
	$(EDITABLE)
	@touch $@ $(VENV)/.runtime

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Stagepost needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 …" >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV) || \
		{ rm -rf $(VENV); echo "Python's venv module is missing (Debian: apt install python3-venv)." >&2; exit 1; }

$(UV):
	$(PYTHON) -m venv --clear $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install --quiet uv
