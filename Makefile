.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export HEADRACE_HOME ?= .headrace
export PORT ?= 8000
DLT := $(HEADRACE_HOME)/bench/dlt

help: ## Show what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-9s %s\n", $$1, $$2}'

$(VENV)/.runtime: requirements.txt pyproject.toml headrace/pipeline/_scanner.c
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.runtime
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	touch $@

demo: $(VENV)/.runtime ## Generate the small preset, load it through HTTP, account for every line
	$(BIN)/python scripts/demo.py

serve: $(VENV)/.runtime ## Start the server and its worker (PORT, HEADRACE_HOME, DATABASE_URL)
	$(BIN)/python manage.py migrate --verbosity 0
	$(BIN)/python manage.py serve --port $(PORT)

test: $(VENV)/.dev lint types ## Run every check: lint, types, import contracts, tests
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder || $(AGAIN)

lint: $(VENV)/.dev ## Check style and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

types: $(VENV)/.dev ## Check types (strict on headrace/)
	$(BIN)/mypy

bench: $(VENV)/.dev $(if $(ROWS),,$(DLT)/.done) ## Measure loads beside other loaders, write docs/benchmarks.md (ROWS=10_000_000: many millions)
	$(BIN)/python -m bench.run $(if $(ROWS),--rows $(ROWS))

bench-all: bench ## Measure calls, searches, metrics, exports, policies and recognitions too
	$(BIN)/python -m bench.prices
	$(BIN)/python -m bench.anomalies
	$(BIN)/python -m bench.stock
	$(BIN)/python -m bench.search
	$(BIN)/python -m bench.metrics
	$(BIN)/python -m bench.exports
	$(BIN)/python -m bench.isolation
	$(BIN)/python -m bench.recognitions

# A competitor, not a dependency: where it cannot be installed the bench says so and goes on.
$(DLT)/.done: requirements-bench.txt
	$(PYTHON) -m venv $(DLT) \
		&& $(DLT)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r $< \
		&& touch $@ || { echo "dlt could not be installed: the bench goes on without it"; rm -rf $(DLT); }

docs: $(VENV)/.runtime ## Write the generated pages of docs/ anew
	$(BIN)/python scripts/docs.py

lock: ## Write the requirement files anew from pyproject.toml (needs uv)
	uv pip compile pyproject.toml --extra service --extra postgresql --extra mysql --extra s3 $(LOCK) -o requirements.txt
	uv pip compile pyproject.toml --all-extras $(LOCK) -o requirements-dev.txt
	uv pip compile --group bench $(LOCK) -o requirements-bench.txt

# What fails beside other tests is run once more, alone: a clock that a busy machine outran passes
# then, and stays in what was printed before; a defect fails again.
AGAIN := $(BIN)/python -m pytest --last-failed --maxfail 5

LOCK := --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	--no-emit-index-url --no-emit-find-links --quiet

.PHONY: help demo serve test lint types bench bench-all docs lock
