# Works from a bare clone with python3 (3.11 or later) and make; everything is installed into .venv.

PYTHON ?= python3
# Where pip finds PyTorch besides PyPI: https://download.pytorch.org/whl/cpu is the build without CUDA.
TORCH_INDEX ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
  $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

.DEFAULT_GOAL := help
.PHONY: help install demo demo-attacks demo-privacy test check bench fuzz proto docs clean

help:  ## say what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{ printf "  make %-13s %s\n", $$1, $$2 }'

install: $(VENV)/.dev  ## make .venv with everything development needs

demo: $(VENV)/.demo  ## a server and five clients on this machine, one of them killed in mid-protocol (needs no torch)
	$(BIN)/secagg demo

demo-privacy: $(VENV)/.privacy  ## five hospitals train with example-level privacy, and the privacy budget report (installs torch)
	$(BIN)/python examples/private_digits/compare.py

demo-attacks: $(VENV)/.attacks  ## what a server reconstructs without protection and with it, in a minute (installs torch)
	$(BIN)/secagg attack matrix --budget 60s --out demo/attacks

test: $(VENV)/.dev  ## all tests (seven minutes on two cores)
	$(BIN)/python -m pytest --numprocesses 2

check: $(VENV)/.dev  ## lint, formatting and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: $(VENV)/.dev  ## measure every figure the documents claim, and hold it against its limit (an hour)
	$(BIN)/python benchmarks/claims.py

fuzz: $(VENV)/.dev  ## the property tests with twenty times as many examples, and new ones each time
	$(BIN)/python -m pytest --numprocesses 2 --hypothesis-profile fuzz --timeout 0 tests/masking tests/homomorphic tests/encoding \
	  tests/transport tests/privacy tests/test_credentials.py tests/test_plan.py tests/test_journal_crashes.py \
	  tests/test_participant_restarts.py tests/test_private_ledger.py

proto: $(VENV)/.dev  ## generate secagg/transport/secagg_pb2.py anew from protos/
	rm -rf build/proto && mkdir -p build/proto
	$(BIN)/python -m grpc_tools.protoc -Iprotos --python_out=build/proto --pyi_out=build/proto \
	  protos/secagg/v1/secagg.proto
	cp build/proto/secagg/v1/secagg_pb2.py build/proto/secagg/v1/secagg_pb2.pyi secagg/transport/

docs: $(VENV)/.dev  ## check what the documents say: links, error codes, layers, the README's quick start, the examples
	$(BIN)/python -m pytest tests/test_docs.py tests/test_layers.py tests/test_examples.py

clean:  ## remove what the other targets made, .venv included
	rm -rf $(VENV) build dist demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find secagg tests benchmarks examples -name __pycache__ -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("secagg needs Python 3.11 or later, and $(PYTHON) is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e '.[demo]'
	@touch $@

$(VENV)/.privacy: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e '.[demo,torch]'
	@touch $@ $(VENV)/.demo

$(VENV)/.attacks: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e '.[attacks]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e '.[dev]'
	@touch $@ $(VENV)/.demo $(VENV)/.privacy $(VENV)/.attacks
