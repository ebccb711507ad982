# The entry point for all tasks: `make` lists them. Needs Python, git and make; fetches everything else.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

TOOLS := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/comptroller/uv
UV := $(or $(shell command -v uv 2>/dev/null),$(TOOLS)/bin/uv)
RUN := $(UV) run --frozen
export UV_LINK_MODE ?= hardlink

# The CPU levels need the cores. The real levels mostly wait for a cluster, so they run in parallel with the CPU levels.
CPU_LEVELS := unit simulation
REAL_LEVELS := conformance cluster
LEVELS := $(CPU_LEVELS) $(REAL_LEVELS)
TYPED := crds operator trainer hack hack/cluster/cluster benchmarks \
         tests
CHECKS := lock lint language types imports generated light changelog
# Arguments for pytest: make test-unit ARGS='-k ceiling -x'
ARGS ?= -q

.PHONY: help
help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# -- tools ---------------------------------------------------------------------------------------------

$(TOOLS)/bin/uv:
	@python3 -c 'import ensurepip, venv' 2>/dev/null || { apt-get update -qq && apt-get install -y -qq python3-venv; }
	python3 -m venv $(TOOLS)
	$(TOOLS)/bin/pip install --quiet 'uv>=0.8'

.PHONY: install hooks
install: $(UV)  ## install the locked environment in .venv
	@$(UV) sync --frozen --quiet

hooks: install  ## install git hooks that run the checks of CI
	$(RUN) pre-commit install --hook-type pre-commit --hook-type pre-push

# -- checks --------------------------------------------------------------------------------------------

.PHONY: check $(CHECKS:%=check-%)
check: $(CHECKS:%=check-%)  ## check lock file, lint, English, types, layers, generated files, the operator's dependencies and changelog

check-lock: $(UV)
	$(UV) lock --check --quiet

check-lint: install
	$(RUN) ruff format --check .
	$(RUN) ruff check .

check-language: install
	$(RUN) python hack/language.py

check-types: install
	$(RUN) mypy $(TYPED)

check-imports: install
	$(RUN) lint-imports

check-generated: install
	$(RUN) python crds/generate.py --check
	@$(RUN) comptroller-trainer parameters | diff docs/reference/parameters.md - \
	    || { echo "docs/reference/parameters.md differs from the trainer's classes: run make generate"; exit 1; }
	@$(RUN) comptroller-trainer parameters --json | diff crds/comptroller_api/trainer.json - \
	    || { echo "crds/comptroller_api/trainer.json differs from the trainer's classes: run make generate"; exit 1; }

# The operator's image contains the packages that `uv export` prints. None may be a deep-learning framework.
check-light: $(UV)
	@export=$$($(UV) export --frozen --quiet --no-dev --no-hashes --no-header --no-annotate --package comptroller); \
	heavy=$$(grep -E '^(torch|torchvision|onnxruntime|triton|nvidia-|tensorflow|jax)' <<< "$$export" || true); \
	if [[ -n "$$heavy" ]]; then echo "the operator must not depend on:" $$heavy; exit 1; fi

check-changelog: install
	@$(RUN) towncrier build --draft --version next 2>/dev/null | grep -q '^- ' \
	    || { echo "changelog.d/ has no fragment: CONTRIBUTING.md shows how to write one"; exit 1; }

.PHONY: format
format: install  ## format the code, and apply automatic fixes
	$(RUN) ruff check --fix-only --quiet .
	$(RUN) ruff format .

.PHONY: generate
generate: install  ## write the CRDs, the chart's copies, and the lists of metrics and parameters
	$(RUN) python crds/generate.py
	$(RUN) comptroller-trainer parameters > docs/reference/parameters.md
	$(RUN) comptroller-trainer parameters --json > crds/comptroller_api/trainer.json

# -- tests ---------------------------------------------------------------------------------------------

# Every level runs, even if another one failed; then the tally prints the number of tests, and why some were skipped.
.PHONY: test
test: install  ## run the tests of every level and count them
	@rm -rf out/tests; failed=0; \
	$(RUN) python tests/levels.py '$(CPU_LEVELS)' '$(REAL_LEVELS)' || failed=1; \
	$(RUN) python tests/tally.py $(LEVELS) || failed=1; exit $$failed

.PHONY: $(LEVELS:%=test-%)
test-unit:  ## test functions and models, small and fast
test-simulation:  ## test the whole controller in virtual time, with faults
test-conformance:  ## test the ledger's stores against one contract
test-cluster:  ## test with a real API server, kubelet and object store (needs root)
# The levels that use a real API server or a real S3 server build both first.
test-conformance test-cluster: cluster
# One worker for each core. Tests on the cluster mostly wait; they are assigned one by one, the longest first.
SPREAD := -n logical --dist worksteal
test-cluster: SPREAD := -n 2 --dist load --maxschedchunk 1
$(LEVELS:%=test-%): test-%: install
	@mkdir -p out/tests
	$(RUN) pytest tests/$* --junit-xml=out/tests/$*.xml -o junit_suite_name=$* $(SPREAD) $(ARGS)

.PHONY: test-mutants
test-mutants: install  ## plant mistakes one by one; the table of plan or the simulation must find each
	$(RUN) python tests/mutants/table.py
	$(RUN) python tests/mutants/run.py

MINUTES ?= 5
.PHONY: chaos
chaos: cluster  ## inject faults and tamper on the real cluster for MINUTES=n (SEED=n: repeat an earlier run's faults)
	$(RUN) python tests/chaos/run.py --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

# -- a cluster -----------------------------------------------------------------------------------------

.PHONY: cluster demo demo-down
cluster: install  ## start the one-node cluster of hack/cluster, with the project's images
	hack/cluster/cluster up --images

demo: install  ## start a cluster and run a study (CONTEXT=name: on an existing cluster)
	$(RUN) python hack/demo.py

demo-down:  ## remove the demo's cluster
	hack/cluster/cluster down --purge
