# make demo | test | check | bench: each makes its environment first, from a bare python3.
.DEFAULT_GOAL := help
.PHONY: help env demo test check format bench lock clean

BIN := .venv/bin
PACKAGES := schemas producers stream_processors consumers deploy cli
CODE := $(PACKAGES) tests
# pyright is pinned by the lock: a notice about newer ones is no news here.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1
# The servers are fetched by requests, which knows nothing of an authority of your company's own.
SYSTEM_CERTS := $(wildcard /etc/ssl/certs/ca-certificates.crt)
ifneq ($(SYSTEM_CERTS),)
export REQUESTS_CA_BUNDLE ?= $(SYSTEM_CERTS)
endif

help:                      ## this list
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/^([a-z]+):.*## /  make \1\t/'

env:                       ## .venv as requirements.lock says
	@deploy/bootstrap.sh

demo: env                  ## Kafka, a registry, PostgreSQL, Faust and the sinks, end to end
	@$(BIN)/nilo demo $(ARGS)

# Three processes, each with servers of its own, for two cores: most of the time a test waits.
test: env                  ## all tests: unit, property, integration (real servers)
	@$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder $(ARGS)

check: env                 ## format, lint, types, floors, contracts
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/nilo schemas check

format: env                ## let ruff format and fix
	$(BIN)/ruff format $(CODE)
	$(BIN)/ruff check --fix $(CODE)

bench: env                 ## the measurements of docs/benchmarks.md on this machine
	@$(BIN)/python -m tests.bench.run $(ARGS)

lock: env                  ## take the newest versions that pyproject.toml allows
	$(BIN)/uv pip compile pyproject.toml --quiet --all-extras --universal --generate-hashes \
		--no-emit-index-url --no-annotate --no-header --upgrade --python-version 3.11 \
		--output-file requirements.lock

clean:                     ## remove the environment and the caches, keep all data
	rm -rf .venv .bootstrap .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
