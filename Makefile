# install · run · test · check · docs · bench
# Needs: Python 3.11 or newer, make, and the usual package registries.

PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3.14 python3; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

.PHONY: install run test check format docs bench faults drills test-llamacpp clean help

help:
	@sed -n '1,2p' Makefile

install: .venv/installed

run: .venv/installed
	@$(BIN)/xrouter serve

test: .venv/installed-dev
	@sh tests/services/install.sh
	$(MAKE) check
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

check: .venv/installed-dev
	$(BIN)/ruff check src tests bench
	$(BIN)/ruff format --check src tests bench
	$(BIN)/mypy src tests bench
	$(BIN)/lint-imports

format: .venv/installed-dev
	$(BIN)/ruff check --fix src tests bench
	$(BIN)/ruff format src tests bench

docs: .venv/installed-dev
	$(BIN)/python -m tests.providers.feature_table
	$(BIN)/python -m tests.pitfalls
	$(BIN)/python -m tests.security

bench: .venv/installed-dev
	$(BIN)/python -m bench

faults: .venv/installed-dev
	$(BIN)/python -m tests.faults

drills: .venv/installed-dev
	$(BIN)/python -m pytest tests/drills -m drill -n 0 -s --timeout 600

test-llamacpp: .venv/installed-dev
	$(BIN)/python -m pytest tests/llamacpp -m real_llamacpp -n 0

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "XRouter needs Python 3.11 or newer; none was found. Set PYTHON=/path/to/python3." >&2; exit 1; }
	@$(PYTHON) -m venv .venv 2>/dev/null || { rm -rf .venv; sh requirements/venv.sh "$(PYTHON)"; }

.venv/installed: .venv/bin/python requirements/run.lock pyproject.toml
	@echo "Installing XRouter into .venv ..."
	@$(PIP) install --require-hashes -r requirements/run.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

.venv/installed-dev: .venv/bin/python requirements/dev.lock pyproject.toml
	@echo "Installing XRouter and its tests into .venv ..."
	@$(PIP) install --require-hashes -r requirements/dev.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch .venv/installed $@

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
