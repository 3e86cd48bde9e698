"""Explanations: the parts of a score add up to it, for every estimator, and have the expected contents."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cofactor import Interactions, Recommender
from cofactor.errors import KindError, UnknownIdError
from cofactor.estimators import REGISTRY
from cofactor.kernels.sparse import SparseRows
from cofactor.models.explanation import Explanation, ridge_terms
from cofactor.models.user_batch import UserBatch

CASES = [
    (name, kind)
    for name, estimator in REGISTRY.items()
    for kind in (("ratings", "events") if estimator.kind == "any" else (estimator.kind,))
]


@pytest.fixture(scope="module")
def fitted(small_ratings: Interactions, small_events: Interactions) -> Any:
    recommenders: dict[Any, Recommender] = {}

    def fit(case: tuple[str, str]) -> Recommender:
        if case not in recommenders:
            name, kind = case
            table = small_ratings if kind == "ratings" else small_events
            recommenders[case] = Recommender.fit(REGISTRY[name](), table, seed=2)
        return recommenders[case]

    return fit


@pytest.mark.parametrize("case", CASES, ids="-from-".join)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_the_parts_add_up_to_the_score(case: tuple[str, str], fitted: Any, data: st.DataObject) -> None:
    rec = fitted(case)
    u, i = data.draw(st.integers(0, len(rec.users) - 1)), data.draw(st.integers(0, len(rec.items) - 1))
    why = rec.for_rows(np.array([u], np.int32)).explanation(i)
    score = rec.model.scores(UserBatch.of(np.array([u], np.int32), rec.histories.row(u)))[0, i]
    size = np.abs(why.contributions).sum()
    assert why.score == pytest.approx(score, abs=1e-5 * max(size, 1))
    assert abs(why.contributions.sum() - score) <= 1e-4 * size + 1e-9
    if REGISTRY[case[0]].exact_fold_in:  # the score is that of the history alone, and nothing may be left over
        assert why.rest == 0
    rounded = why.rounded(2)
    assert rounded.sum() == pytest.approx(round(why.score, 2), abs=1e-9)
    assert (np.abs(rounded - why.contributions) <= 0.01 + 1e-9).all()


@pytest.mark.parametrize(
    ("name", "most"),
    [("biased-mf", 0.25), ("bpr", 0.25), ("bayesian-mf", 0.25)],
    ids=["biased-mf", "bpr", "bayesian-mf"],
)
def test_little_is_not_attributed(name: str, most: float, movielens: Interactions) -> None:
    table = movielens if REGISTRY[name].kind == "ratings" else movielens.to_events(min_rating=4)
    rec = Recommender.fit(REGISTRY[name](), table)
    users = np.random.default_rng(0).choice(len(rec.users), 40, replace=False).astype(np.int32)
    best, _ = rec.for_rows(users).rank(5)
    shares = [
        rec.for_rows(np.array([u], np.int32)).explanation(int(i)).unattributed_fraction
        for u, row in zip(users, best, strict=True)
        for i in row
    ]
    assert np.median(shares) <= most


def test_history_terms_favor_items_of_the_same_group() -> None:
    """Two groups of items and of users: predictions of one group are explained by the user's ratings of that group."""
    u, i = np.nonzero(~np.eye(40, dtype=bool))
    match = u % 2 == i % 2
    rec = Recommender.fit(
        REGISTRY["explicit-als"](factors=4, l2=0.001), Interactions.from_columns(u, i, np.where(match, 5, 1))
    )
    explanation = rec.explain(6, 6, method="contribution")
    terms = explanation.filter(explanation["part"] == "history")
    assert len(terms) == 39
    assert (terms["item"].to_numpy()[:19] % 2 == 0).mean() > 0.4
    assert terms["term"].sum() > 0.5
    assert explanation["term"].sum() == pytest.approx(rec.predict(6, 6), abs=0.05)


def test_a_term_is_the_effect_of_leaving_out_a_target() -> None:
    """The solution of a ridge regression is linear in its targets."""
    rng = np.random.default_rng(1)
    F, t, c, goal = rng.normal(size=(9, 4)), rng.normal(size=9), rng.random(9), rng.normal(size=4)
    ridge, gram = np.full(4, 0.3), np.eye(4) * 0.1
    A = (F * c[:, None]).T @ F + gram + np.diag(ridge)
    terms = ridge_terms(F, t, c, goal, gram=gram, ridge=ridge)
    for j in range(9):
        without = t.copy()
        without[j] = 0
        change = goal @ np.linalg.solve(A, F.T @ (c * t)) - goal @ np.linalg.solve(A, F.T @ (c * without))
        assert terms[j] == pytest.approx(change)


@given(
    st.lists(st.floats(-5, 5), max_size=12),
    st.floats(-5, 5),
    st.integers(0, 3),
)
def test_rounded_parts_add_up_to_the_rounded_score(terms: list[float], rest: float, digits: int) -> None:
    parts = np.array([3.5, -0.1, 0.2, *terms, rest])
    why = Explanation(float(parts.sum()), 3.5, -0.1, 0.2, np.arange(len(terms)), np.array(terms), rest)
    rounded = why.rounded(digits)
    assert rounded.sum() == pytest.approx(round(why.score, digits), abs=1e-6)
    assert (np.abs(rounded - why.contributions) < 10.0**-digits + 1e-9).all()


def test_neighbors_are_named_and_a_history_has_its_values(small_ratings: Interactions) -> None:
    rec = Recommender.fit(REGISTRY["user-knn"](), small_ratings)
    explanation = rec.explain(rec.users.ids([0])[0], rec.items.ids([1])[0], method="contribution")
    assert explanation.columns == ["part", "user", "term"]
    rec = Recommender.fit(REGISTRY["item-knn"](), small_ratings)
    user = rec.users.ids([0])[0]
    explanation = rec.explain(user, rec.items.ids([1])[0], method="contribution")
    frame = small_ratings.frame().filter(small_ratings.frame()["user"] == user)
    values_by_item = dict(zip(frame["item"], frame["value"], strict=True))
    history = explanation.filter(explanation["part"] == "history")
    assert dict(zip(history["item"], history["value"], strict=True)) == values_by_item


def test_errors_name_unknown_ids(small_ratings: Interactions) -> None:
    rec = Recommender.fit(REGISTRY["bias"](), small_ratings)
    user, item = rec.users.ids([0])[0], rec.items.ids([0])[0]
    with pytest.raises(UnknownIdError, match="user 'nobody'"):
        rec.explain("nobody", item)
    with pytest.raises(UnknownIdError, match="item 'nothing'"):
        rec.explain(user, "nothing")


def test_a_model_without_explanations_is_rejected(small_ratings: Interactions) -> None:
    rec = Recommender.fit(REGISTRY["bias"](), small_ratings)
    unsupported = Recommender(object(), rec.users, rec.items, rec.histories, "ratings")
    with pytest.raises(KindError, match="cannot explain"):
        unsupported.for_rows(np.zeros(1, np.int32)).explanation(0)


def test_an_explanation_without_a_history_has_no_parts_of_items(small_ratings: Interactions) -> None:
    rec = Recommender.fit(REGISTRY["bayesian-mf"](factors=2, iterations=6, burn_in=3), small_ratings)
    nothing = SparseRows.empty(1)
    unknown = rec.model.fold_in(nothing)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        why = unknown.explain(UserBatch.trained([0], nothing), 3)
    assert len(why.rows) == len(why.terms) == 0
    assert why.contributions.sum() == pytest.approx(why.score)


def test_terms_do_not_change_when_all_ratings_are_shifted(small_ratings: Interactions) -> None:
    """A posterior mean is relative to the average rating, so the same constant in every rating moves no term."""
    users, items = small_ratings.users.ids(small_ratings.u), small_ratings.items.ids(small_ratings.i)
    terms = []
    for shift in (0, 8):
        table = Interactions.from_columns(users, items, small_ratings.values + shift)
        rec = Recommender.fit(REGISTRY["bayesian-mf"](factors=2, iterations=6, burn_in=3), table)
        terms.append(rec.for_rows(np.zeros(1, np.int32)).explanation(3).terms)
    assert np.abs(terms[0]).max() > 1e-3
    np.testing.assert_allclose(terms[0], terms[1], rtol=0.02, atol=0.02 * np.abs(terms[0]).max())
