# `make` lists what there is. Every target does its own set-up in .venv, inside this folder.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.ONESHELL:
.SHELLFLAGS := -euo pipefail -c

BIN := .venv/bin
READY := .venv/.ready
RIVALS := .venv/.ready-rivals
GOOGLEAPIS := build/googleapis

ROUNDS ?= 2000
BACKBONE ?= efficientnet_lite0
WEIGHTS ?=

.PHONY: help setup demo test test-slow faults bench quality lint format constraints clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## Make .venv with every dependency, as constraints.txt pins it

$(READY): constraints.txt pyproject.toml tools/setup $(wildcard protos/twinset/v1/*.proto)
	@tools/setup
	@touch $@

demo: $(READY) ## Show look-alikes of real pictures through the whole service, and write demo.html
	@$(BIN)/python -m benchmarks.demo --backbone $(BACKBONE) --weights "$(WEIGHTS)"

test: $(READY) ## Run the tests (about 10 minutes)
	@$(BIN)/python -m pytest -m "not slow"

test-slow: $(READY) ## Run the long tests too
	@$(BIN)/python -m pytest

faults: $(READY) ## Kill, cut, damage and fill; figures go to build/figures (hours on a small machine; ROUNDS=2000)
	@PYTHONPATH=tests:. $(BIN)/python -m faults --rounds $(ROUNDS)
	PYTHONPATH=tests:. $(BIN)/python -m faults.hostile
	export PYTHONPATH=tests:.
	$(BIN)/python -m faults.overload
	$(BIN)/python -m faults.deadlines
	$(BIN)/python -m faults.stalled
	$(BIN)/python -m faults.outages
	$(BIN)/python -m faults.drain
	unset PYTHONPATH
	TWINSET_FAULTS=all $(BIN)/python -m pytest tests/faults

bench: $(READY) $(RIVALS) ## Measure speed; figures go to build/figures (TWINSET_DATA names the data folder)
	@$(BIN)/python -m benchmarks.embed
	$(BIN)/python -m benchmarks.export
	$(BIN)/python -m benchmarks.catalog
	$(BIN)/python -m benchmarks.search_cpu
	$(BIN)/python -m benchmarks.search_filters --million
	$(BIN)/python -m benchmarks.search_rivals
	$(BIN)/python -m benchmarks.search_recall
	$(BIN)/python -m benchmarks.pages
	$(BIN)/python -m benchmarks.pairs_speed
	$(BIN)/python -m benchmarks.rank_speed
	$(BIN)/python -m benchmarks.import_load
	$(BIN)/python -m benchmarks.reembed_load
	$(BIN)/python -m benchmarks.overhead

# Other searches that ours is compared with. hnswlib has no wheel: it needs a C++ compiler.
$(RIVALS): $(READY) constraints-bench.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r constraints-bench.txt
	touch $@

quality: $(READY) ## Measure the quality of the answers; figures go to build/figures (TWINSET_DATA names the data folder)
	@$(BIN)/python -m benchmarks.products
	$(BIN)/python -m benchmarks.quality_products
	$(BIN)/python -m benchmarks.quality_fashion
	$(BIN)/python -m benchmarks.reduce --random-weights 1
	$(BIN)/python -m benchmarks.quality_ikea
	$(BIN)/python -m benchmarks.quality_pairs
	$(BIN)/python -m benchmarks.quality_direction
	$(BIN)/python -m benchmarks.quality_amazon
	$(BIN)/python -m benchmarks.quality_movielens
	$(BIN)/python -m benchmarks.quality_cold
	$(BIN)/python -m benchmarks.quality_ranking
	$(BIN)/python -m benchmarks.summary

lint: $(READY) $(GOOGLEAPIS) ## Check format, style, types, import rules, protos and what docker/ says
	@$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf format protos --diff --exit-code
	$(BIN)/buf lint
	PATH="$(CURDIR)/$(BIN):$$PATH" tools/breaking
	PATH="$(CURDIR)/$(BIN):$$PATH" tools/manifests

format: $(READY) $(GOOGLEAPIS) ## Format Python and protos
	@$(BIN)/ruff format .
	$(BIN)/ruff check --fix --quiet .
	$(BIN)/buf format protos --write

# buf resolves imports from folders, and Google's protos lie in the installed package.
$(GOOGLEAPIS): $(READY)
	@packages=$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
	rm -rf $@ && mkdir -p $@/google/api $@/google/rpc
	cp "$$packages"/google/api/{annotations,client,field_behavior,http,launch_stage}.proto $@/google/api/
	cp "$$packages/google/rpc/status.proto" $@/google/rpc/

PIN := $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --upgrade --quiet \
    --override constraints-overrides.txt --generate-hashes --no-emit-index-url --no-header --no-annotate

constraints: $(READY) ## Pin the newest dependencies that fit together in constraints.txt and constraints-bench.txt
	@$(PIN) --extra cli --extra server --extra embedded --extra exporter --extra traces --extra dev --output-file constraints.txt
	$(PIN) --extra bench --constraint constraints.txt --output-file constraints-bench.txt
	tools/pin-images

clean: ## Remove what was made here, .venv apart
	@rm -rf build dist demo.html demo-data .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
