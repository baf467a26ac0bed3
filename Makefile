# Every target installs what it needs into .venv first; nothing but Python (>= 3.10) and make has to be there.
#   make PYTHON=python3.12 test     another interpreter; an environment of an older or newer one is made anew
#   make WORKERS=8 test             more test processes
#   make fuzz SECONDS=3600 SEED=2   random damage to every kind of file, for as long each
#   make lowest                     the tests with the lowest versions that pyproject.toml allows, in .venv-lowest

PYTHON ?= python3
VENV ?= .venv
LOWEST ?= .venv-lowest
WORKERS ?= 2
SECONDS ?= 60
SEED ?= 1

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PYTEST := -m pytest -n $(WORKERS) --dist loadfile

# The version that PYTHON asks for, and whether the environment in a folder has another.
version = $(shell $(1) -c "import sys; print('%d.%d' % sys.version_info[:2])" 2>/dev/null)
ASKED := $(if $(filter file,$(origin PYTHON)),,$(call version,$(PYTHON)))
ifeq (,$(or $(ASKED),$(filter file,$(origin PYTHON))))
$(error PYTHON=$(PYTHON) does not run here; name an interpreter that is installed)
endif
has_another = $(and $(ASKED),$(filter-out $(ASKED),$(call version,$(1)/bin/python)))

.PHONY: demo test slow fuzz lowest lint clean anew

demo: $(INSTALLED)
	$(BIN)/clebsch demo

test: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python $(PYTEST)

slow: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python $(PYTEST) -m slow

fuzz: $(INSTALLED)
	OMP_NUM_THREADS=1 CLEBSCH_FUZZ_SECONDS=$(SECONDS) CLEBSCH_FUZZ_SEED=$(SEED) $(BIN)/python $(PYTEST) tests/fuzz

# Old releases warn of what newer ones of their own dependencies deprecate: warnings are no errors here.
lowest: $(LOWEST)/.installed
	OMP_NUM_THREADS=1 $(LOWEST)/bin/python $(PYTEST) -W ignore

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python

clean:
	rm -rf $(VENV) $(LOWEST)

$(INSTALLED): pyproject.toml constraints.txt $(if $(call has_another,$(VENV)),anew)
	$(if $(filter anew,$^),rm -rf $(VENV))
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev,demo]"
	touch $@

# Every "name>=version" of pyproject.toml as name==version, for what is installed and for what builds it.
$(LOWEST)/.installed: pyproject.toml $(if $(call has_another,$(LOWEST)),anew)
	$(if $(filter anew,$^),rm -rf $(LOWEST))
	$(LOWEST)/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(LOWEST)
	grep -oE '"[A-Za-z0-9-]+>=[0-9.]+"' pyproject.toml | tr -d '"' | sed 's/>=/==/' | sort -u > $(LOWEST)/lowest.txt
	PIP_CONSTRAINT=$(LOWEST)/lowest.txt PIP_BUILD_CONSTRAINT=$(LOWEST)/lowest.txt \
		$(LOWEST)/bin/python -m pip install --quiet --editable ".[dev,demo]"
	touch $@
