# Everything a newcomer needs: `make demo` and `make test`. Both set up .venv by themselves.
PYTHON ?= python3
BIN := .venv/bin
# uv where it is installed, else venv and pip: the same locked versions either way.
UV := $(shell command -v uv 2>/dev/null)

.PHONY: demo test soak lint format bench schemas lock clean

demo: .venv/.installed
	$(BIN)/tickwire demo

test: .venv/.installed
	$(BIN)/pytest -n 2 --dist loadfile

# The long forms of the fault tests.
soak: .venv/.installed
	$(BIN)/pytest -n 2 -m soak

lint: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/.installed
	for each in benchmarks/*.py; do $(BIN)/python $$each || exit 1; done

schemas: .venv/.installed
	$(BIN)/python -m tickwire.schemas docs/schemas
	$(BIN)/python -m tickwire.asyncapi docs/asyncapi.json

# After a change of dependencies in pyproject.toml.
lock:
	uv lock
	uv export --quiet --frozen --no-emit-project --all-groups --no-header --output-file requirements.lock

.venv/.installed: pyproject.toml uv.lock requirements.lock
ifneq ($(UV),)
	uv sync --quiet --frozen --python $(PYTHON)
else
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "tickwire needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 ...")'
	test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
endif
	touch $@

clean:
	rm -rf .venv dist .mypy_cache .ruff_cache .import_linter_cache .hypothesis
