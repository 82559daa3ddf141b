# Two commands do everything: `make demo` and `make test`. Both create the same environment first.
#
# torch: a machine without a GPU needs only the small CPU build. Where pip would fetch the large CUDA
# build, say   make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu

PYTHON ?= python3
ENV    ?= .venv
BIN    := $(ENV)/bin
TORCH_INDEX ?=
# Own packages installed in an outer environment must not leak into this one.
unexport PYTHONPATH

.PHONY: demo test env format clean

demo: env
	$(BIN)/v1builder demo --out demo --overwrite

test: env
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/basedpyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	$(BIN)/pytest -m "not network and not gpu"

env: $(ENV)/installed

$(ENV)/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "v1builder needs Python 3.11 or newer: make $(MAKECMDGOALS) PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(ENV)
	$(BIN)/pip install -q -c constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) torch
	$(BIN)/pip install -q -c constraints.txt -e '.[test]'
	touch $@

format: env
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

clean:
	rm -rf $(ENV) demo dist
