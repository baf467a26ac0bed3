# Every target installs what it needs into .venv first; nothing but Python (>= 3.10) and make has to be there.
#   make PYTHON=python3.12 test     another interpreter
#   make WORKERS=8 test             more test processes
#   make lowest                     the tests with the lowest versions that pyproject.toml allows, in .venv-lowest

PYTHON ?= python3
VENV ?= .venv
LOWEST ?= .venv-lowest
WORKERS ?= 2

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PYTEST := -m pytest -n $(WORKERS) --dist loadfile

.PHONY: demo test slow lowest lint clean

demo: $(INSTALLED)
	$(BIN)/clebsch demo

test: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python $(PYTEST)

slow: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python $(PYTEST) -m slow

# Old releases warn of what newer ones of their own dependencies deprecate: warnings are no errors here.
lowest: $(LOWEST)/.installed
	OMP_NUM_THREADS=1 $(LOWEST)/bin/python $(PYTEST) -W ignore

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python

clean:
	rm -rf $(VENV) $(LOWEST)

$(INSTALLED): pyproject.toml constraints.txt
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev,demo]"
	touch $@

# Every "name>=version" of pyproject.toml as name==version, for what is installed and for what builds it.
$(LOWEST)/.installed: pyproject.toml
	$(LOWEST)/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(LOWEST)
	grep -oE '"[A-Za-z0-9-]+>=[0-9.]+"' pyproject.toml | tr -d '"' | sed 's/>=/==/' | sort -u > $(LOWEST)/lowest.txt
	PIP_CONSTRAINT=$(LOWEST)/lowest.txt PIP_BUILD_CONSTRAINT=$(LOWEST)/lowest.txt \
		$(LOWEST)/bin/python -m pip install --quiet --editable ".[dev,demo]"
	touch $@
