# Needs Python 3.11 or later, and nothing else: `make search` and `make test` set up everything from nothing.
PYTHON ?= python3.11
ifeq (, $(shell command -v $(PYTHON) 2>/dev/null))
PYTHON := python3
endif
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
BENCH_READY := $(VENV)/.ready-bench
PEERS := .peers

.DEFAULT_GOAL := help
.PHONY: help setup search test check format pictures bench peers clean

help:
	@echo "make search   set up, then find the best configuration for the digits convnet"
	@echo "make test     set up, then run the tests"
	@echo "make check    lint, format and types"
	@echo "make format   format the code and mend what the linter can"
	@echo "make pictures draw the pictures of docs/schedules.md again"
	@echo "make bench    set up the peers too, and measure against them, rates and laws (three hours)"
	@echo "make peers    set up tuners of other libraries, each with an environment of its own, for tests/bench/search.py"
	@echo "make clean    remove the environment and caches; studies stay"

setup: $(READY)

# pip of the environment itself, so that an old one outside does not matter.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed, $(PYTHON) is %d.%d: make PYTHON=python3.11" % sys.version_info[:2])'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt "torch==2.13.0"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $(READY)

$(BENCH_READY): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev,bench]"
	@touch $(BENCH_READY)

search: $(READY)
	$(BIN)/hpo search digits

test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadgroup

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

pictures: $(READY)
	$(BIN)/python -m dashboards.gallery docs/pictures

bench: $(BENCH_READY)
	$(BIN)/python -m tests.bench.trials --trials 32
	$(BIN)/python -m tests.bench.trials --trials 128 --only hpo-cold hpo-warm hpo-mlflow optuna-1 optuna-2 ray
	$(BIN)/python -m tests.bench.laws
	$(BIN)/python -m tests.bench.race_wall
	$(BIN)/python -m tests.bench.rates --task transformer --seeds 5
	$(BIN)/python -m tests.bench.rates --task convnet --seeds 10
	$(BIN)/python -m tests.bench.predicted
	$(BIN)/python -m tests.bench.cluster

# Their versions of numpy and the like are not ours. Of Syne Tune, a module of CQR's imports the hub's client.
peers: $(READY)
	test -x $(PEERS)/syne/bin/python || $(PYTHON) -m venv $(PEERS)/syne
	$(PEERS)/syne/bin/python -m pip install --quiet --disable-pip-version-check "syne-tune[basic]==0.16.0" huggingface_hub
	test -x $(PEERS)/smac/bin/python || $(PYTHON) -m venv $(PEERS)/smac
	$(PEERS)/smac/bin/python -m pip install --quiet --disable-pip-version-check "smac==2.4.1"
	test -x $(PEERS)/ax/bin/python || $(PYTHON) -m venv $(PEERS)/ax
	$(PEERS)/ax/bin/python -m pip install --quiet --disable-pip-version-check "torch==2.13.0"
	$(PEERS)/ax/bin/python -m pip install --quiet --disable-pip-version-check "ax-platform==1.3.1"

clean:
	rm -rf $(VENV) $(PEERS) .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
