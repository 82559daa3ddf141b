# Two commands do everything: `make demo` and `make test`. Both create the same environment first.
# `make test-slow` runs the tests that take more than half a minute each: all agreements with other software at
# fine steps, notebooks, several processes.
#
# torch: a machine without a GPU needs only the small CPU build. Where pip would fetch the large CUDA
# build, say   make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu

PYTHON ?= python3
ENV    ?= .venv
BIN    := $(ENV)/bin
TORCH_INDEX ?=
# allensdk pins versions that exclude those of the rest, and needs Python 3.11: an environment of its own, in
# which the half that fetches works and is tested.
ALLEN_PYTHON ?= $(PYTHON)
ALLEN_ENV    ?= .venv-allen
# Own packages installed in an outer environment must not leak into this one.
unexport PYTHONPATH

.PHONY: demo test test-slow test-allen env env-allen docs docs-serve format clean

demo: env
	$(BIN)/v1builder demo --out demo --overwrite

test: env
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/basedpyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	$(BIN)/pytest -n 2 --dist worksteal -m "not network and not gpu and not slow"
	@if $(ALLEN_PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))'; then $(MAKE) test-allen; \
	  else echo "skipped: tests with allensdk, which needs Python 3.11 (make test-allen ALLEN_PYTHON=python3.11)"; fi

test-slow: env
	$(BIN)/pytest -n 2 --dist worksteal -m "slow and not network and not gpu"

test-allen: env-allen
	$(ALLEN_ENV)/bin/python -m pytest -n 2 --dist worksteal -m "not network" tests/data

env: $(ENV)/installed

env-allen: $(ALLEN_ENV)/installed

# Without the dependencies of the half that trains: numpy 1.23 is too old for them.
$(ALLEN_ENV)/installed: pyproject.toml constraints-allen.txt
	$(ALLEN_PYTHON) -m venv $(ALLEN_ENV)
	$(ALLEN_ENV)/bin/pip install -q -c constraints-allen.txt allensdk==2.16.2 filelock pydantic requests rich typer \
	  hypothesis pytest pytest-xdist
	$(ALLEN_ENV)/bin/pip install -q --no-deps -e .
	touch $@

$(ENV)/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "v1builder needs Python 3.11 or newer: make $(MAKECMDGOALS) PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(ENV)
	$(BIN)/pip install -q -c constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) torch
	$(BIN)/pip install -q -c constraints.txt -e '.[test]'
	touch $@

# The site; `make test` builds it as well, and fails on a warning, a dead link or a key without a meaning.
docs: env
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

docs-serve: env
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

format: env
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

clean:
	rm -rf $(ENV) $(ALLEN_ENV) demo dist site
