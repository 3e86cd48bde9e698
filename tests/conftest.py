"""Data and servers that many tests share."""

from __future__ import annotations

import gc
import os
from collections.abc import Generator, Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import settings

import cofactor
from cofactor.data.interactions import Interactions
from cofactor.kernels.parallel import threads

if TYPE_CHECKING:
    from tests.support.postgresql import Server

collect_ignore = ["properties/fuzz", "support"]
"""Files without tests: programs that tests run in processes of their own, and modules that tests import."""

# no deadline: the first example may wait for a kernel to be compiled
settings.register_profile("cofactor", max_examples=50, deadline=None)
settings.load_profile("cofactor")


@pytest.fixture(scope="session")
def movielens() -> Interactions:
    """MovieLens-100k, fetched as a user fetches it."""
    return cofactor.datasets.load_movielens("100k")


@pytest.fixture
def one_thread() -> Iterator[None]:
    with threads(1):
        yield


@pytest.fixture(scope="session")
def small_ratings() -> Interactions:
    """200 users, 120 items, 4,000 ratings of 1..5 with real structure (two tastes), times and string ids."""
    rng = np.random.default_rng(5)
    u, i = rng.integers(0, 200, 9000), np.minimum(rng.zipf(1.3, 9000), 120) - 1
    pairs = np.unique(np.stack([u, i], axis=1), axis=0)
    pairs = pairs[rng.permutation(len(pairs))[:4000]]
    taste = np.where(pairs[:, 0] % 2 == pairs[:, 1] % 2, 1.0, -1.0)
    values = np.clip(np.round(3.3 + taste + rng.normal(0, 0.7, len(pairs))), 1, 5)
    users = [f"user {a}" for a in pairs[:, 0]]
    items = [f"item {b}" for b in pairs[:, 1]]
    return Interactions.from_columns(users, items, values, times=rng.integers(1e9, 2e9, len(pairs)))


@pytest.fixture(scope="session")
def small_events(small_ratings: Interactions) -> Interactions:
    """The liked rows of `small_ratings`."""
    return small_ratings.to_events(min_rating=4)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """PostgreSQL server shared by all tests, which must not stop it."""
    from tests.support.postgresql import running_server

    with running_server() as postgresql:
        yield postgresql


@pytest.fixture(scope="session")
def mortal_server() -> Iterator[Server]:
    """PostgreSQL server for tests that stop and start it; it has few files, so that its recovery is fast."""
    from tests.support.postgresql import running_server

    with running_server() as postgresql:
        yield postgresql


NO_TORCH = 'torch is not installed, so neural-mf is not tested: pip install "cofactor[neural]"'


def pytest_configure() -> None:
    if os.environ.get("CI") and find_spec("torch") is None:
        raise pytest.UsageError(f"{NO_TORCH} (CI requires it)")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Exempt modules and collected tests from garbage collection, and make full collections rare.

    Each full collection of these 700,000 objects takes 0.3 s.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(700, 10, 100)
        gc.enable()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Laws over the registry reach neural-mf too."""
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    if any("neural-mf" in str(value) for value in parameters.values()) and find_spec("torch") is None:
        pytest.skip(NO_TORCH)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if find_spec("torch") is None:
        terminalreporter.write_line(f"skipped: {NO_TORCH}")
