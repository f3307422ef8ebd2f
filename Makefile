# `make help` lists the targets. Each sets up what it needs first (scripts/setup.sh) and is quick when that is done.
#   PYTHON=python3.12 make ...   selects the interpreter
#   make test ARGS="-k name"     hands arguments to pytest

MAKEFLAGS += --no-print-directory
PYTHONBIN := .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help setup demo run test test-long versions lint package chaos bench bench-peers bench-report screenshots clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: ## Make .venv and install what is missing (every other target does so too)
	@scripts/setup.sh runtime

demo: ## See it work: requests by plain SQL, three services, the three commands, in seconds
	@scripts/setup.sh runtime
	@$(PYTHONBIN) -m demo.run

run: ## Web, worker and three services on var/tasker.sqlite3, until Ctrl-C
	@scripts/setup.sh runtime
	@exec $(PYTHONBIN) -m demo.serve

test: ## All tests: on SQLite, then on a private MariaDB, or on the server that DB_* name
	@scripts/setup.sh test
	@scripts/test.sh $(ARGS)

test-long: ## What takes long by nature, all of it: every fault, every malformed input, storms (about 50 minutes)
	@scripts/setup.sh test
	@scripts/test_long.sh

versions: ## The tests on each Python that is here, with each Django: docs/versions.md (about 3 minutes a pair)
	@scripts/setup.sh test
	@scripts/versions.sh $(ARGS)

lint: ## Ruff, mypy, import contracts, missing migrations, Dockerfile, docker-compose.yml
	@scripts/setup.sh lint
	@scripts/lint.sh

package: ## The wheel and the sdist, into dist/ (docs/your-own-project.md)
	@scripts/setup.sh lint
	@$(PYTHONBIN) -m hatchling build

chaos: ## Kill passes 2,000 times and judge what is left (about 8 minutes)
	@scripts/setup.sh test
	@$(PYTHONBIN) -m tests.chaos.storm --kills 2000 --requests 2000 $(ARGS)

bench: ## Measure every goal beside a raw SQL loop, on a private MariaDB with full durability (about 15 minutes)
	@scripts/setup.sh test
	@$(PYTHONBIN) -m benchmarks.run $(ARGS)

bench-peers: ## The same work on other engines, each with a server of its own (about 15 minutes)
	@scripts/setup.sh test
	@$(PYTHONBIN) -m benchmarks.peers $(ARGS)

bench-report: ## Tables and plots of docs/benchmarks.md, from what was measured (var/bench/*.json)
	@scripts/setup.sh test
	@$(PYTHONBIN) -m pip install -q --disable-pip-version-check -r benchmarks/requirements.txt
	@$(PYTHONBIN) -m benchmarks.report $(ARGS)

screenshots: ## Make the README's pictures anew (docs/images)
	@scripts/setup.sh test
	@$(PYTHONBIN) -m demo.screenshots

clean: ## Remove .venv, caches and the demo's database; var/tasker.sqlite3 stays
	rm -rf .venv var/demo .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
