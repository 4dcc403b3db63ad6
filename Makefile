# `make demo`, `make test` and `make serve` each set everything up from nothing.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= $(shell command -v python3.11 || command -v python3 || echo python3.11)
VENV := .venv
BIN := $(VENV)/bin
STAMPS := .cache/stamps
PIP_INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check
# torchvision beside a CPU torch would break the import of transformers and diffusers.
CHECK_TORCH := $(BIN)/python -c 'import importlib.util as u, torch; assert not u.find_spec("torchvision")'
STUDIES ?= ./studies
PORT ?= 8000
PRESET ?= cpu
FILMS ?=

.PHONY: help setup demo test serve train lint findings clean

help:
	@echo "make demo    set up, then edit a real X-ray through the server and show the result"
	@echo "make test    set up, then run every test"
	@echo "make serve   set up, then serve STUDIES ($(STUDIES)) on 127.0.0.1:$(PORT) until stopped"
	@echo "make train   set up, then train the embedded models (hours; resumable; PRESET=cpu|night|gpu, FILMS=DIR)"
	@echo "make lint    set up, then ruff, mypy and import-linter"
	@echo "make findings  run what was found out about other software, from nothing"
	@echo "make setup   set up only"

setup: $(STAMPS)/installed $(STAMPS)/peers $(STAMPS)/ohif

demo: setup
	@$(BIN)/python -m radedit.lib.demo

test: setup
	@$(BIN)/python -m pytest

serve: setup
	@$(BIN)/python -m radedit.lib.cli serve --studies "$(STUDIES)" --port $(PORT)

train: setup
	@$(BIN)/python -m radedit.lib.phantom.train --preset $(PRESET) $(if $(FILMS),--films "$(FILMS)")

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

findings:
	@failed=0; for script in findings/*.sh; do \
	    echo "== $$script"; "$$script" || { failed=1; echo "CHANGED: $$script" >&2; }; \
	done; exit $$failed

clean:
	@rm -rf $(VENV) $(STAMPS)

$(BIN)/python:
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null || { \
	    echo "radedit: Python 3.11 was not found ($(PYTHON) is missing or another version); install" \
	         "python3.11 and python3.11-venv, or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "radedit: making the virtual environment $(VENV)"
	@rm -f $(STAMPS)/installed
	@"$(PYTHON)" -m venv --clear $(VENV) || { \
	    echo "radedit: the environment could not be made; on Debian install python3.11-venv" >&2; exit 1; }

$(STAMPS)/installed: requirements.lock pyproject.toml $(BIN)/python
	@echo "radedit: installing the locked packages (the first time takes some minutes)"
	@$(PIP_INSTALL) --no-deps -r requirements.lock
	@$(PIP_INSTALL) --no-deps --no-build-isolation -e .
	@$(CHECK_TORCH) 2>/dev/null || { \
	    echo "radedit: this build of torch needs libraries of its own; installing them"; \
	    $(PIP_INSTALL) -c requirements.lock torch && $(CHECK_TORCH); } || { \
	    echo "radedit: torch was installed but does not load; on a machine without a GPU set" \
	         "PIP_EXTRA_INDEX_URL to PyTorch's index of CPU wheels, then: make clean setup" >&2; exit 1; }
	@mkdir -p $(STAMPS) && touch $@

# No stamp while something is missing: the next make tries again.
$(STAMPS)/peers: scripts/install-peers
	@mkdir -p $(STAMPS)
	@if scripts/install-peers; then touch $@; fi

# Without it the server serves everything but the viewer, and says so.
$(STAMPS)/ohif: scripts/fetch-ohif $(STAMPS)/peers
	@mkdir -p $(STAMPS)
	@if scripts/fetch-ohif; then touch $@; fi
