# Commands for users and contributors. Each target creates .venv on first use.
PYTHON ?= python3
BIN := .venv/bin
SPHINX := $(BIN)/sphinx-build --quiet --doctree-dir docs/_build/doctrees

# Write bytecode in any environment: tests start 150 processes, which otherwise compile all modules.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test test-long quick-tests check style types docs linkcheck bench accuracy roofline bench-peers clean

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -e .
	touch $@

.venv/installed-dev: .venv/installed constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev,neural]"
	touch $@

demo: .venv/installed        ## describe, split, fit, compare and recommend on MovieLens-100k
	$(BIN)/cofactor demo

check: style types           ## style, spelling, types and layers of packages

style: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/lint-imports

types: .venv/installed-dev
	$(BIN)/mypy

test: style                  ## the checks and all tests that are not marked long, in two processes
	$(MAKE) --jobs 2 types quick-tests  # mypy uses one core for half a minute

quick-tests: .venv/installed-dev
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-long: .venv/installed-dev ## the tests marked long: full fuzzes, simulations, accuracy bands (minutes)
	$(BIN)/python -m pytest -m long -n 2 --dist worksteal

docs: .venv/installed-dev    ## build docs/_build/html: run every page, check its numbers and its references (minutes)
	rm -rf docs/_build docs/generated
	$(SPHINX) --fail-on-warning --keep-going docs docs/_build/html

linkcheck: .venv/installed-dev ## check the external links of the documentation; needs the network
	$(SPHINX) -b linkcheck docs docs/_build/linkcheck

bench: .venv/installed-dev   ## compare the CPU time of the kernels with the recorded ratios (two minutes)
	$(BIN)/python -m benchmarks.guard

accuracy: .venv/installed-dev ## measure the accuracy of every estimator and write it to docs/estimators.md (four minutes)
	$(BIN)/python -m benchmarks.accuracy

roofline: .venv/installed-dev ## compare each kernel with the limits of this machine (a few minutes)
	$(BIN)/python -m benchmarks.roofline

bench-peers: .venv/installed-dev ## compare with other libraries, each in its own environment (about an hour)
	$(BIN)/python -m benchmarks.bench_peers

clean:
	rm -rf docs/_build docs/generated .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
