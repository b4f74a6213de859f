# Everything a newcomer needs, on a machine with make, git and Python 3.11 or newer.
# `make` alone lists the targets.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:

RELEASE ?= 2026-10
CHILDREN ?= 20000
SEED ?= 2026
PORT ?= 3000
MILLIONS ?= 0.1 1 10
# Where pytest writes its results as JUnit XML; empty: nowhere.
JUNIT ?=

VENV := .venv
BIN := $(VENV)/bin
PYTHON := $(BIN)/python

# Set for what is started here only; nothing is written outside the repository and the data directory.
DATA := $(or $(MERAJUT_DATA),data)
export MERAJUT_DATA := $(if $(filter /%,$(DATA)),$(DATA),$(CURDIR)/$(DATA))
export DAGSTER_HOME := $(MERAJUT_DATA)/dagster
export DAGSTER_DISABLE_TELEMETRY := yes
export DBT_SEND_ANONYMOUS_USAGE_STATS := False
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYTHONUTF8 := 1

INSTALLED := $(VENV)/.installed
INSTALLED_TOOLS := $(VENV)/.installed-tools

.PHONY: help install tools manifest world demo test lint format ui ui-readonly bench bench-privacy docs lock clean clean-data

help: ## List the targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@printf '\nVariables: RELEASE=%s CHILDREN=%s SEED=%s PORT=%s\n' $(RELEASE) $(CHILDREN) $(SEED) $(PORT)

# ── installation ───────────────────────────────────────────────────────────────────────────

install: $(INSTALLED) ## Create .venv with the pinned packages (once)

# The first Python that really starts and is new enough: a version manager's name may start nothing.
$(PYTHON):
	@for candidate in $(PYTHON3) python3.11 python3.12 python3.13 python3 /usr/bin/python3; do \
		if $$candidate -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then \
			found=$$candidate; break; \
		fi; \
	done; \
	if [ -z "$$found" ]; then \
		echo 'No Python 3.11, 3.12 or 3.13 found. Install one, or name it: make install PYTHON3=/path/to/python3' >&2; exit 1; \
	fi; \
	if ! $$found -c 'import ensurepip, venv' 2>/dev/null; then \
		echo "$$found cannot make virtual environments. Install its venv package" >&2; \
		echo '(Debian, Ubuntu: apt install python3-venv), or name another Python: make install PYTHON3=…' >&2; exit 1; \
	fi; \
	rm -rf $(VENV); $$found -m venv $(VENV)

# --no-build-isolation: the pinned setuptools is there already, so that nothing is fetched to build with.
$(INSTALLED): requirements.txt requirements.in pyproject.toml | $(PYTHON)
	@echo 'Installing packages (a minute or two, once)'
	@$(PYTHON) -m pip install --quiet --require-hashes -r requirements.txt
	@$(PYTHON) -m pip install --quiet --no-deps --no-build-isolation --no-index -e .
	@touch $@

tools: $(INSTALLED_TOOLS) ## Add what checks the code (pytest, ruff, mypy)

$(INSTALLED_TOOLS): requirements-dev.txt $(INSTALLED)
	@$(PYTHON) -m pip install --quiet --require-hashes -r requirements.txt -r requirements-dev.txt
	@touch $@

# ── the lakehouse ──────────────────────────────────────────────────────────────────────────

# These programs see for themselves what is there already, and leave that alone.

manifest: install ## Bring dbt's manifest up to date
	@$(PYTHON) -m merajut_assets.marts.project

world: install ## Generate the sample world (CHILDREN, SEED)
	@$(BIN)/merajut generate --children $(CHILDREN) --seed $(SEED)

demo: manifest world ## Generate the sample world and make one release of it (RELEASE)
	@$(BIN)/merajut run --release $(RELEASE)

ui: manifest ## Dagster with its daemon on localhost:PORT (Ctrl-C ends both)
	@$(PYTHON) -m merajut_assets.automation.instance
	@trap 'kill $$daemon $$webserver 2>/dev/null; wait' EXIT; trap 'exit 0' INT TERM; \
	$(BIN)/dagster-daemon run --workspace workspace.yaml & daemon=$$!; \
	$(BIN)/dagster-webserver --workspace workspace.yaml --host 127.0.0.1 --port $(PORT) & webserver=$$!; \
	wait $$webserver

ui-readonly: manifest ## The same for looking only: nothing can be started or changed
	@$(PYTHON) -m merajut_assets.automation.instance
	@exec $(BIN)/dagster-webserver --read-only --workspace workspace.yaml --host 127.0.0.1 --port $(PORT)

# ── checks ─────────────────────────────────────────────────────────────────────────────────

test: lint ## Everything: format, lint, types, dbt, all tests
	@home=$$(mktemp -d); trap 'rm -rf "$$home"' EXIT; \
	HOME="$$home" $(PYTHON) -m pytest $(if $(JUNIT),--junit-xml=$(JUNIT))

lint: tools manifest ## Format, lint and types, and that dbt can read the models
	@$(BIN)/ruff format --check --quiet . || { echo 'Run: make format' >&2; exit 1; }
	@$(BIN)/ruff check .
	@$(BIN)/mypy

format: tools ## Format the code and mend what can be mended
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: tools manifest ## Measure; prints one JSON object per benchmark
	@for benchmark in benchmarks/[a-z]*.py; do \
		[ -e "$$benchmark" ] || continue; $(PYTHON) "$$benchmark" || exit 1; \
	done

bench-privacy: tools ## Measure the privacy engine alone, with MILLIONS of rows; 10 take 4 GB and some minutes
	@$(PYTHON) benchmarks/anonymise.py 5 $(MILLIONS)
	@$(PYTHON) benchmarks/local_recoding.py
	@$(PYTHON) benchmarks/verify.py
	@$(PYTHON) benchmarks/detect.py

docs: manifest ## Renew what is generated: data dictionary, dbt's sources and labels; and dbt's documentation in dbt_project/target
	@$(PYTHON) -m merajut_assets.contracts.dictionary
	@$(PYTHON) -m merajut_assets.marts.dbt_sources
	@$(PYTHON) -m merajut_assets.marts.dbt_labels
	@cd dbt_project && ../$(BIN)/dbt docs generate

# ── housekeeping ───────────────────────────────────────────────────────────────────────────

# Versions that are pinned stay unless requirements*.in exclude them; UPGRADE=--upgrade takes the newest.
LOCK = $(BIN)/uv pip compile --quiet --generate-hashes --universal --python-version 3.11 --no-strip-extras \
	--no-header --no-annotate --no-emit-index-url --no-config $(UPGRADE)

lock: tools ## Pin the packages of requirements*.in again
	@$(LOCK) requirements.in --output-file requirements.txt
	@$(LOCK) requirements-dev.in --output-file requirements-dev.txt

clean: ## Remove .venv, build results and caches; keeps the data and its keys
	@rm -rf $(VENV) dbt_project/target dbt_project/dbt_packages dbt_project/logs build dist *.egg-info
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find merajut_assets resources partitions tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# What was encrypted under the keys cannot be read again, so that this asks for a word more.
clean-data: ## Remove everything that was made in data/, keys included (CONFIRM=yes)
	@[ "$(CONFIRM)" = yes ] || { echo 'This destroys the lake, its keys and what was published: make clean-data CONFIRM=yes' >&2; exit 1; }
	@git clean -fdXq data
