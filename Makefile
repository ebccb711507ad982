# The one door to everything: `make` says what there is. Python, git and make need to be there; the rest is fetched.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

TOOLS := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/comptroller/uv
UV := $(or $(shell command -v uv 2>/dev/null),$(TOOLS)/bin/uv)
RUN := $(UV) run --frozen
export UV_LINK_MODE ?= hardlink

# The first need the cores; the others wait for a real cluster, and run beside them.
CPU_LEVELS := unit simulation
REAL_LEVELS := conformance cluster
LEVELS := $(CPU_LEVELS) $(REAL_LEVELS)
CHECKS := lock lint types imports generated light changelog
# Arguments for pytest: make test-unit ARGS='-k ceiling -x'
ARGS ?= -q

.PHONY: help
help:  ## what there is
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# -- tools ---------------------------------------------------------------------------------------------

$(TOOLS)/bin/uv:
	@python3 -c 'import ensurepip, venv' 2>/dev/null || { apt-get update -qq && apt-get install -y -qq python3-venv; }
	python3 -m venv $(TOOLS)
	$(TOOLS)/bin/pip install --quiet 'uv>=0.8'

.PHONY: install hooks
install: $(UV)  ## the environment in .venv, by the lock file
	@$(UV) sync --frozen --quiet

hooks: install  ## git hooks that run what CI checks
	$(RUN) pre-commit install --hook-type pre-commit --hook-type pre-push

# -- checks --------------------------------------------------------------------------------------------

.PHONY: check $(CHECKS:%=check-%)
check: $(CHECKS:%=check-%)  ## lock, lint, types, layers, generated files, the operator's dependencies, changelog

check-lock: $(UV)
	$(UV) lock --check --quiet

check-lint: install
	$(RUN) ruff format --check .
	$(RUN) ruff check .

check-types: install
	$(RUN) mypy crds operator trainer

check-imports: install
	$(RUN) lint-imports

check-generated: install
	$(RUN) python crds/generate.py --check
	@$(RUN) comptroller-trainer parameters | diff docs/reference/parameters.md - \
	    || { echo "docs/reference/parameters.md is not what the classes say; make generate writes it"; exit 1; }
	@$(RUN) comptroller-trainer parameters --json | diff crds/comptroller_api/trainer.json - \
	    || { echo "crds/comptroller_api/trainer.json is not what the classes say; make generate writes it"; exit 1; }

# The operator's image holds what `uv export` prints, and nothing of it may be a deep-learning framework.
check-light: $(UV)
	@export=$$($(UV) export --frozen --quiet --no-dev --no-hashes --no-header --no-annotate --package comptroller); \
	heavy=$$(grep -E '^(torch|torchvision|onnxruntime|triton|nvidia-|tensorflow|jax)' <<< "$$export" || true); \
	if [[ -n "$$heavy" ]]; then echo "the operator must not depend on:" $$heavy; exit 1; fi

check-changelog: install
	@$(RUN) towncrier build --draft --version next 2>/dev/null | grep -q '^- ' \
	    || { echo "changelog.d/ has no fragment; CONTRIBUTING.md says how to write one"; exit 1; }

.PHONY: format
format: install  ## format, and fix what can be fixed
	$(RUN) ruff check --fix-only --quiet .
	$(RUN) ruff format .

.PHONY: generate
generate: install  ## the CRDs from the models, the chart's copies, and what the trainer can be told
	$(RUN) python crds/generate.py
	$(RUN) comptroller-trainer parameters > docs/reference/parameters.md
	$(RUN) comptroller-trainer parameters --json > crds/comptroller_api/trainer.json

# -- tests ---------------------------------------------------------------------------------------------

# Every level runs, also where one before it failed; then the tally says how many ran at each, and why others not.
.PHONY: test
test: install  ## every level of tests; says how many ran at each
	@rm -rf out/tests; failed=0; \
	$(RUN) python tests/levels.py '$(CPU_LEVELS)' '$(REAL_LEVELS)' || failed=1; \
	$(RUN) python tests/tally.py $(LEVELS) || failed=1; exit $$failed

.PHONY: $(LEVELS:%=test-%)
test-unit:  ## functions and models, small and fast
test-simulation:  ## the whole controller in virtual time, with faults
test-conformance:  ## the ledger's stores against one contract
test-cluster:  ## a real API server, kubelet and object store (needs root)
# The levels that talk to a real API server or a real S3 server build both first.
test-conformance test-cluster: cluster
# A worker for each core. On the cluster tests mostly wait; they are handed out one by one, the longest first.
SPREAD := -n logical --dist worksteal
test-cluster: SPREAD := -n 2 --dist load --maxschedchunk 1
$(LEVELS:%=test-%): test-%: install
	@mkdir -p out/tests
	$(RUN) pytest tests/$* --junit-xml=out/tests/$*.xml -o junit_suite_name=$* $(SPREAD) $(ARGS)

.PHONY: test-mutants
test-mutants: install  ## plants mistakes, one after another; the table of plan or the simulation must find each
	$(RUN) python tests/mutants/table.py
	$(RUN) python tests/mutants/run.py

MINUTES ?= 5
.PHONY: chaos
chaos: cluster  ## MINUTES=n of faults and tampering on the real cluster (SEED=n: those of an earlier run)
	$(RUN) python tests/chaos/run.py --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

# -- a cluster -----------------------------------------------------------------------------------------

.PHONY: cluster demo demo-down
cluster: install  ## bring up the one-node cluster of hack/cluster, with the project's images
	hack/cluster/cluster up --images

demo: install  ## a real cluster and a real study, from nothing (CONTEXT=name: on a cluster that exists)
	$(RUN) python hack/demo.py

demo-down:  ## remove the demo's cluster
	hack/cluster/cluster down --purge
