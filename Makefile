# One target for each thing a person wants; the work is in the files they name.
# FLYTE_ONPREM_CACHE says where built artefacts are kept (default: ~/.cache/flyte-onprem).

PYTHON_BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help venv lock check unit build matrix test test-all bench bench-site bench-modules bench-cluster demo demo-down docs changelog

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: ## Make .venv, or bring it up to date (10 to 60 s the first time)
	@tests/venv.sh

lock: ## Write the pins of the tools and of the task image anew from what is chosen
	@tests/venv.sh --lock

check: venv ## Lint, types, unit and contract tests, documents up to date (3 to 5 min)
	@python3 tests/run.py check

unit: venv ## Unit and contract tests only (2 to 4 min)
	@$(PYTHON_BIN)/pytest tests/unit

build: venv ## Build the tarball, install it elsewhere and run from it (about 30 s)
	@$(PYTHON_BIN)/pytest tests/integration/collection/test_build.py

matrix: venv ## Try the collection on every ansible-core that it admits (about 4 min)
	@$(PYTHON_BIN)/pytest tests/integration/collection/test_ansible_core.py

test: ## All tests, one scenario for each behaviour; what CI runs
	@python3 tests/run.py test

test-all: ## The tests with every scenario
	@python3 tests/run.py test-all

bench: bench-site bench-cluster ## All measurements (about 35 min, on a machine that does nothing else)

bench-site: venv ## Measure a first run, a second run, a plain script that does the same, workflows and checks (about 15 min)
	@$(PYTHON_BIN)/python tests/testbed/bench.py

bench-modules: venv ## Measure the checks on healthy services and on dead addresses (about 1 min)
	@$(PYTHON_BIN)/python tests/testbed/bench_modules.py

bench-cluster: venv ## Measure how the time of clusters grows with hosts and with sites (about 20 min)
	@$(PYTHON_BIN)/python tests/testbed/bench_cluster.py

demo: ## A whole Flyte site in a container of this machine, ready to try
	@tests/venv.sh && exec $(PYTHON_BIN)/python tests/testbed/demo.py

demo-down: ## Remove the demo
	@tests/venv.sh && exec $(PYTHON_BIN)/python tests/testbed/demo.py down

docs: venv ## Write the generated parts of the documents anew
	@$(PYTHON_BIN)/python docs/generate.py

changelog: venv ## Show what the next changelog entry would be
	@$(PYTHON_BIN)/antsibull-changelog lint && ls changelogs/fragments
