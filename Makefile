# Two commands matter on a fresh machine: `make demo` and `make test`. All they need is Python >= 3.11 and make.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: demo test test-long contract lint types bench chaos docs lock clean

$(STAMP): requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "frappe-daemon needs Python 3.11 or newer; $(PYTHON) is %s.%s. Run: make PYTHON=python3.12 $(MAKECMDGOALS)" % sys.version_info[:2])'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

demo: $(STAMP)            ## the shipped config.toml against the sandbox, every job once
	@$(BIN)/frappe-daemon demo

test: $(STAMP)            ## every promise that can be proved in three minutes
	$(BIN)/python -m pytest -m "not long" -n auto --dist worksteal

test-long: $(STAMP)       ## the proofs that take minutes
	$(BIN)/python -m pytest -m long

contract: $(STAMP)        ## wire and client cases; also on a real site where FRAPPE_URL and a key are set
	$(BIN)/python -m pytest tests/contract -rs

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

bench: $(STAMP)           ## ratios, measured in one run
	$(BIN)/python -m bench

chaos: $(STAMP)           ## ten minutes of kills and lost replies, all kinds at once; then the books must balance
	$(BIN)/python -m bench.chaos

docs: $(STAMP)            ## docs/configuration.md, made of the models that read the file
	$(BIN)/frappe-daemon reference > docs/configuration.md

lock: $(STAMP)            ## resolve anew and pin with hashes
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-emit-find-links pyproject.toml --extra postgresql -o requirements.lock
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-emit-find-links pyproject.toml --extra postgresql --group dev -o requirements-dev.lock

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
