# Everything a newcomer or a contributor types. Each target makes its own .venv on first use.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-long check docs bench accuracy roofline bench-peers clean

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -e .
	touch $@

.venv/installed-dev: .venv/installed constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev,neural]"
	touch $@

demo: .venv/installed        ## read, look at, split, learn, compare and recommend on MovieLens-100k
	$(BIN)/cofactor demo

check: .venv/installed-dev   ## style, types and the layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check                  ## everything that must hold, on real data, in two processes
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-long: .venv/installed-dev ## the tests marked long only: full sizes of the fuzzes, simulations (minutes)
	$(BIN)/python -m pytest -m long -n 2 --dist worksteal

docs: .venv/installed-dev    ## the documentation, into docs/_build/html: runs every page and checks its numbers (minutes)
	rm -rf docs/_build docs/generated
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going docs docs/_build/html
	$(BIN)/python docs/links.py docs/_build/html

bench: .venv/installed-dev   ## did a kernel get slower? CPU time beside the ratios on record (two minutes)
	$(BIN)/python benchmarks/guard.py

accuracy: .venv/installed-dev ## accuracy of every estimator, into docs/estimators.md (four minutes)
	$(BIN)/python benchmarks/accuracy.py

roofline: .venv/installed-dev ## what each kernel must do over what this machine can do (a few minutes)
	$(BIN)/python benchmarks/roofline.py

bench-peers: .venv/installed-dev ## beside the other libraries, each in its own environment (about an hour)
	$(BIN)/python benchmarks/bench_peers.py

clean:
	rm -rf docs/_build docs/generated .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
