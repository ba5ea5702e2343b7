PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed

.PHONY: demo test slow vectors format clean

demo: $(STAMP)
	$(BIN)/rdd demo

test: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --cov --cov-report=term

# Tests that take longer than a few seconds each.
slow: $(STAMP)
	$(BIN)/pytest -m slow

# The test vectors and the generated parts of the specification.
vectors: $(STAMP)
	$(BIN)/python -m spec.make_vectors

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The package is installed in place; only these files make a new installation necessary.
$(STAMP): pyproject.toml setup.py constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[fast,train,test]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache
