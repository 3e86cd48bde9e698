"""Splits that tests of evaluation, comparison and tuning share."""

from __future__ import annotations

import pytest

from cofactor.data.interactions import Interactions
from cofactor.evaluate.split import Split, split_per_user, split_random


@pytest.fixture(scope="module")
def of_ratings(small_ratings: Interactions) -> Split:
    return split_random(small_ratings, test=0.2)


@pytest.fixture(scope="module")
def of_events(small_events: Interactions) -> Split:
    return split_per_user(small_events, test=0.3)
