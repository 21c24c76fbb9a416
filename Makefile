# Start with `make demo` and `make test`. Both set up .venv.
PYTHON ?= python3
BIN := .venv/bin
# Uses uv where it is installed, else venv and pip, with the same locked versions.
UV := $(shell command -v uv 2>/dev/null)

.PHONY: demo test soak conformance images dist compose-test bounds pythons docs docs-test lint fix format bench schemas lock clean .env

demo: .venv/.installed
	$(BIN)/tickwire demo

# More workers than cores: tests with several processes mostly wait, and they begin first (tests/conftest.py).
test: .venv/.installed
	$(BIN)/pytest -n 7 --dist loadfile --no-loadscope-reorder

# The long forms of the fault tests.
soak: .venv/.installed
	$(BIN)/pytest -n 2 -m soak

# What works on each proven venue: every service against a simulator that speaks the venue's protocols. Writes the
# results and docs/venues.md.
PROOFS := shared/tickwire/venues/proven.json
# `make conformance ONLY=kraken` runs some of the cases and keeps the results of the others.
ONLY :=
conformance: .venv/.installed
	CONFORMANCE_RESULTS=$(PROOFS) $(BIN)/pytest -n 4 --dist loadgroup -m conformance -k "$(ONLY)" tests/venues/conformance
	$(BIN)/python -m tickwire.cli.venues.document docs/venues.md

# Installs what each image has into a virtual environment of its own, and starts each service from there.
images: .venv/.installed
	$(BIN)/pytest -m images

# The wheel and the source distribution, checked as PyPI does, installed by pip into an empty environment and used there.
dist: .venv/.installed
	rm -rf dist
	$(BIN)/uv build --quiet --out-dir dist
	$(BIN)/twine check --strict dist/*.whl dist/*.tar.gz
	DIST=$(CURDIR)/dist $(BIN)/pytest -m dist tests/deployment

# The Dockerfile and the compose files on a Docker engine of the tests' own, as root on Debian (tests/deployment/engine).
compose-test: .venv/.installed
	$(BIN)/pytest -m compose -rs tests/deployment/test_containers.py tests/deployment/test_containers_cluster.py

# Tests with the oldest versions that pyproject.toml allows. The form of the generated documents depends on msgspec's
# version, so their tests are left out.
bounds: .venv/.installed
	test -d .venv-bounds || $(PYTHON) -m venv .venv-bounds
	$(BIN)/uv pip install --quiet --python .venv-bounds/bin/python --resolution lowest-direct --editable '.[all]'
	$(BIN)/uv pip install --quiet --python .venv-bounds/bin/python --no-deps --requirement deploy/requirements/tests.lock
	.venv-bounds/bin/python -m pytest -n 2 --dist loadfile --hypothesis-profile few \
		-m "(pure or golden) and not soak and not images and not dist and not compose" \
		--deselect tests/docs/test_schemas.py::test_the_checked_in_schemas_are_those_of_the_structs \
		--deselect tests/docs/test_asyncapi.py::test_the_checked_in_document_is_current
	.venv-bounds/bin/python -m pytest -n 2 --dist loadfile tests/bus/test_leases.py tests/observe/test_monitoring_port.py \
		tests/cli/test_usage.py tests/cli/test_candles.py

# The tests of logic, and of recorded files, on each Python that pyproject.toml allows; with ALL=1 those with services, too.
# Interpreters are those of this machine; one that it lacks is named, and ends this with REQUIRED=1. The form of the
# generated documents depends on Python's.
PYTHONS := 3.11 3.12 3.13 3.14
REQUIRED :=
ALL :=
pythons: chosen := $(if $(ALL),-n 7 --no-loadscope-reorder,-n 2 -m "(pure or golden) and not soak and not images and not dist")
pythons: .venv/.installed
	@for each in $(PYTHONS); do \
		export PATH="$$(ls -d $${PYENV_ROOT:-$$HOME/.pyenv}/versions/$$each.*/bin 2> /dev/null | tail -n 1):$$PATH"; \
		found=$$($(BIN)/uv python find --system --no-python-downloads $$each 2> /dev/null) || { \
			echo "Python $$each: not on this machine, not tested"; test -z "$(REQUIRED)" && continue || exit 1; }; \
		env=.venv-$$each; test -d $$env || $(BIN)/uv venv --quiet --python $$found $$env || exit 1; \
		$(BIN)/uv pip install --quiet --python $$env/bin/python --requirement requirements.lock || exit 1; \
		$(BIN)/uv pip install --quiet --python $$env/bin/python --no-deps --editable . || exit 1; \
		echo "Python $$($$env/bin/python -V | cut -d' ' -f2):"; \
		$$env/bin/python -m pytest -q --dist loadfile $(chosen) \
			--deselect tests/deployment/test_images.py::test_the_images_have_the_python_that_the_tests_run_on \
			--deselect tests/docs/test_schemas.py::test_the_checked_in_schemas_are_those_of_the_structs \
			--deselect tests/docs/test_asyncapi.py::test_the_checked_in_document_is_current || exit 1; \
	done

# The site, in build/docs. A broken link ends it, as every other warning does.
docs: .venv/.installed
	$(BIN)/sphinx-build -q --fail-on-warning --keep-going --builder html docs build/docs

# What the documents print, run as printed, and the site checked.
docs-test: .venv/.installed
	$(BIN)/pytest -n 2 --dist loadfile -m documents tests/docs

lint: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml

# Fixes what ruff can fix by itself, and the format.
fix: .venv/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

format: fix

bench: .venv/.installed
	for each in benchmarks/*.py; do $(BIN)/python $$each || exit 1; done

schemas: .venv/.installed
	$(BIN)/python -m tickwire.model.schemas docs/schemas
	$(BIN)/python -m tickwire.model.asyncapi docs/asyncapi.json

# After a change of dependencies in pyproject.toml.
lock:
	uv lock
	uv export --quiet --frozen --no-emit-project --all-groups --all-extras --no-header --output-file requirements.lock
	for each in archive cache fetcher sink streamer web; do uv export --quiet --frozen --no-emit-project --no-dev --extra $$each \
		--no-header --no-annotate --output-file deploy/requirements/$$each.lock || exit 1; done
	uv export --quiet --frozen --no-emit-project --only-group tests --no-header --no-annotate \
		--output-file deploy/requirements/tests.lock
	uv export --quiet --frozen --no-emit-project --only-group images --no-header --no-annotate \
		--output-file deploy/requirements/build.lock

.venv/.installed: pyproject.toml uv.lock requirements.lock
ifneq ($(UV),)
	uv sync --quiet --frozen --all-extras --all-groups --python $(PYTHON)
else
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "tickwire needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 ...")'
	test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
endif
	touch $@

# Passwords for docker compose, each generated once; existing ones are kept. The version of the images is always the present one.
SECRETS := FETCHER_PASSWORD STREAMER_PASSWORD CACHE_PASSWORD SINK_NATS_PASSWORD ARCHIVE_PASSWORD WEB_NATS_PASSWORD WEB_PASSWORD DESK_PASSWORD OPERATOR_PASSWORD \
	SYS_PASSWORD ROUTE_PASSWORD INFLUX_PASSWORD INFLUX_TOKEN GRAFANA_PASSWORD
.env:
	@umask 077; touch $@; for each in $(SECRETS); do \
		grep -q "^TICKWIRE_$$each=" $@ || echo "TICKWIRE_$$each=t$$($(PYTHON) -c 'import secrets; print(secrets.token_hex(16))')" >> $@; done
	@umask 077; version=$$($(dir $(abspath $(lastword $(MAKEFILE_LIST))))deploy/version.sh) && \
		{ grep -v '^TICKWIRE_VERSION=' $@; echo "TICKWIRE_VERSION=$$version"; } > $@.new && mv $@.new $@
	@echo "$@ has the passwords of the users in deploy/nats/accounts.conf, of InfluxDB and of Grafana, and the version of the images"

clean:
	rm -rf .venv .venv-bounds .venv-3.* dist build docs/reference .mypy_cache .ruff_cache .import_linter_cache .hypothesis
