# The two commands a new user needs: `make demo` and `make test`. Both set everything up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCK := tests/constraints.txt

.PHONY: demo test test-all lint install install-test lock clean

demo: $(VENV)/.installed  ## judge, price, gate, train, evaluate and record the clinical example
	$(BIN)/tunegate run examples/clinical_notes/job.yaml

test: $(VENV)/.installed-test  ## lint, types, and every test but the slow ones
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/pytest

test-all: $(VENV)/.installed-test  ## every test, the slow ones too
	$(BIN)/pytest -m ""

test-slow: $(VENV)/.installed-test  ## only the slow ones
	$(BIN)/pytest -m slow

lock: $(VENV)/.installed-test  ## write the versions the tests were run with; torch without its local build
	$(BIN)/pip freeze --exclude-editable | sed -E 's/^(torch==[0-9.]+).*/\1/' | grep -v '@ file' > $(LOCK)

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("Tunegate needs Python 3.11 or newer, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	@echo "Installing Tunegate and the local training stack into $(VENV) (once; a few minutes) …"
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[local]'
	@touch $@

$(VENV)/.installed-test: pyproject.toml $(LOCK) | $(VENV)/bin/python
	@echo "Installing Tunegate with what its tests need into $(VENV) (once; a few minutes) …"
	$(BIN)/pip install --quiet --disable-pip-version-check -c $(LOCK) -e '.[local,test]'
	@touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache
