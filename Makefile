# What a contributor does here, one target each. `make` alone lists them.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/stamps
TOOLCHAIN := $(VENV)/toolchain
UV_VERSION := 0.13.8

# The first Python that is new enough; 3.11 is the one that CI uses.
PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,$(shell \
	$(name) -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(name))))

# Empty on a machine that has Node and Go.
export PATH := $(CURDIR)/$(TOOLCHAIN)/bin:$(PATH)

# Each process begins with one half of the tests, so that what a module shares is made in one of them.
PYTEST := $(BIN)/pytest -n 2 --dist worksteal
PREVIOUS := .venv-previous
DEVELOPMENT := $(STAMPS)/python $(STAMPS)/node $(STAMPS)/go
# Not part of DEVELOPMENT: `make generate` must work where generated code does not compile.
CLIENTS := $(STAMPS)/client-go $(STAMPS)/client-typescript
# The providers' SDKs that tests/sdk runs, beside those of Python in this environment.
SDKS := $(STAMPS)/sdk-previous $(STAMPS)/sdk-javascript

.PHONY: help setup run demo check coverage test soak simulate bench generate clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(DEVELOPMENT) $(CLIENTS) $(SDKS) ## Install everything that development needs
	@echo "Everything is installed."

run: $(STAMPS)/runtime ## Start the whole platform on this machine, with demo data
	$(BIN)/openmonetize up --demo

demo: $(STAMPS)/runtime ## Send some traffic through a running platform and show what it cost
	$(BIN)/openmonetize demo

check: $(DEVELOPMENT) $(CLIENTS) ## Check statically: format, lint, types, imports, contract, generated code
	@echo "--- format and lint"
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/python tools/tidy.py
	@echo "--- types"
	$(BIN)/mypy
	@echo "--- imports"
	$(BIN)/lint-imports --no-logo
	@echo "--- contract"
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code --path proto/om
	$(BIN)/python tools/breaking.py
	@echo "--- generated code"
	$(BIN)/python tools/generate.py --check

# Examples only: what Hypothesis draws and what a long random history meets differ from run to run, and a
# branch must not be reached by luck. One database is enough: rules do not know which.
RULE_TESTS := -m "not soak and not hypothesis" -k "not postgresql" --ignore-glob="*_machine.py" \
  --ignore-glob="*_fractions.py" --ignore-glob="*_snapshot_prices.py" \
  tests/server/rating tests/server/wallet $(sort $(wildcard tests/server/pipeline/test_settle*.py)) \
  tests/server/pipeline/test_jobs.py tests/server/pipeline/test_rerating.py

coverage: $(DEVELOPMENT) ## Show which branches of the rules of money no example reaches; fail if any
	@echo "--- branches of the rules"
	$(BIN)/coverage run -m pytest --quiet $(RULE_TESTS)
	$(BIN)/coverage report

test: check coverage $(SDKS) ## Run the checks, then the tests
	$(PYTEST)

# With how many seeds `make soak` runs each crash test.
FAULT_ROUNDS ?= 20

soak: $(DEVELOPMENT) $(CLIENTS) $(SDKS) ## Run the long tests: large seeds and kill counts
	OM_FAULT_ROUNDS=$(FAULT_ROUNDS) $(PYTEST) -m "soak or not soak" --hypothesis-profile=soak \
	  -o faulthandler_timeout=0

# How many histories `make simulate` plays.
SEEDS ?= 1000

simulate: $(DEVELOPMENT) ## Play SEEDS=1000 random histories of edges, faults and money
	$(BIN)/python -m tests.simulation --seeds $(SEEDS)

bench: $(DEVELOPMENT) ## Measure, and print ratios within one run
	$(BIN)/python -m tests.bench

generate: $(DEVELOPMENT) ## Write generated/ from proto/
	$(BIN)/python tools/generate.py

clean: ## Remove what setup installed and what tools cached
	rm -rf $(VENV) $(PREVIOUS) tools/node/node_modules tools/go/bin tests/sdk/js/node_modules
	rm -rf clients/go/bin clients/typescript/node_modules clients/typescript/dist
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage
	find server proxy tests tools clients generated -name __pycache__ -prune -exec rm -rf {} +

# A stamp is newer than everything it was made from, so that a second call does nothing.

$(STAMPS)/uv:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer with venv is needed (Debian: python3.11-venv)" >&2; exit 1; }
	@echo "--- $(VENV) with $(PYTHON)"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/runtime: requirements/runtime.txt pyproject.toml | $(STAMPS)/uv
	@echo "--- Python packages"
	$(BIN)/uv pip install --python $(BIN)/python --require-hashes --requirement requirements/runtime.txt
	$(BIN)/uv pip install --python $(BIN)/python --no-deps --editable .
	@touch $@

$(STAMPS)/python: requirements/dev.txt pyproject.toml | $(STAMPS)/uv
	@echo "--- Python packages"
	$(BIN)/uv pip sync --python $(BIN)/python --require-hashes requirements/dev.txt
	$(BIN)/uv pip install --python $(BIN)/python --no-deps --editable .
	@touch $(STAMPS)/runtime $@

$(STAMPS)/toolchain: tools/toolchain | $(STAMPS)/uv
	tools/toolchain $(TOOLCHAIN)
	@touch $@

$(STAMPS)/node: tools/node/package.json tools/node/package-lock.json | $(STAMPS)/toolchain
	@echo "--- Node tools"
	cd tools/node && npm ci
	@touch $@

$(STAMPS)/go: tools/go/go.mod tools/go/go.sum | $(STAMPS)/toolchain
	@echo "--- Go tools"
	cd tools/go && GOBIN="$$PWD/bin" go install tool
	@touch $@

$(STAMPS)/sdk-previous: requirements/sdk-previous.txt | $(STAMPS)/uv
	@echo "--- $(PREVIOUS) with the previous generation of the providers' SDKs"
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(PREVIOUS)
	$(BIN)/uv pip sync --python $(PREVIOUS)/bin/python --require-hashes requirements/sdk-previous.txt
	@touch $@

$(STAMPS)/sdk-javascript: tests/sdk/js/package.json tests/sdk/js/package-lock.json | $(STAMPS)/toolchain
	@echo "--- The providers' SDKs for JavaScript, both generations"
	cd tests/sdk/js && npm ci
	@touch $@

# Building is the type check of the clients and of all generated Go and TypeScript.

GO_SOURCES := $(shell find generated/go clients/go -name '*.go' -o -name 'go.*')
TYPESCRIPT_SOURCES := $(shell find generated/typescript clients/typescript/src clients/typescript/examples -name '*.ts')

$(STAMPS)/client-go: $(GO_SOURCES) | $(STAMPS)/toolchain
	@echo "--- Go client"
	cd generated/go && go vet ./...
	cd clients/go && go vet ./... && go build -buildvcs=false -o bin/ ./examples/...
	@touch $@

$(STAMPS)/client-typescript-packages: clients/typescript/package.json clients/typescript/package-lock.json | $(STAMPS)/toolchain
	@echo "--- Packages of the TypeScript client"
	cd clients/typescript && npm ci
	@touch $@

$(STAMPS)/client-typescript: $(STAMPS)/client-typescript-packages clients/typescript/tsconfig.json $(TYPESCRIPT_SOURCES)
	@echo "--- TypeScript client"
	rm -rf clients/typescript/dist
	cd clients/typescript && npm run --silent build
	@touch $@
