"""Removal effects: differences of two fold-ins, for every estimator, and closed forms of item-item models."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cofactor import Interactions, Recommender
from cofactor.arrays import ALL_ROWS
from cofactor.estimators import REGISTRY
from cofactor.kernels.sparse import SparseRows
from cofactor.models import removal
from cofactor.models.paired import ranking_part
from cofactor.models.removal import item_scores, leave_one_out, removal_effects
from cofactor.models.user_batch import UserBatch
from cofactor.recommender.users import UserView
from tests.support.estimators import small

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
            recommenders[case] = Recommender.fit(small(name), table, seed=2)
        return recommenders[case]

    return fit


def score(view: UserView, item: int) -> float:
    model, batch = ranking_part(view.model, view.batch)
    return float(model.scores(batch)[0, item])


@pytest.mark.parametrize("case", CASES, ids="-from-".join)
def test_an_effect_is_the_difference_of_two_fold_ins(case: tuple[str, str], fitted: Any) -> None:
    rec = fitted(case)
    rng = np.random.default_rng([18, CASES.index(case)])
    for u in rng.choice(np.flatnonzero(rec.histories.counts), 3, replace=False).tolist():
        items = rng.choice(len(rec.items), 4, replace=False).astype(np.int32)
        history = rec.histories.row(u)
        removed = removal_effects(*ranking_part(rec.model, rec.batch(np.array([u], np.int32))), items)
        size = np.abs(item_scores(*ranking_part(rec.model, rec.batch(np.array([u], np.int32))), items)).max() + 0.1
        for column, effects in zip(removed.rows.tolist(), removed.effects.T, strict=True):
            without = history.filter(history.columns != column)
            for item, effect in zip(items.tolist(), effects.tolist(), strict=True):
                expected = score(rec.for_histories(history), item) - score(rec.for_histories(without), item)
                assert effect == pytest.approx(expected, abs=1e-5 * size)


@pytest.mark.parametrize("case", CASES, ids="-from-".join)
def test_scores_of_some_items_are_columns_of_the_score_matrix(case: tuple[str, str], fitted: Any) -> None:
    rec = fitted(case)
    users, items = rec.batch(np.int32([5, 0, 5])), np.int32([3, 0, 3])
    matrix = rec.model.scores(users)
    np.testing.assert_allclose(item_scores(rec.model, users, items), matrix[:, items], rtol=1e-5, atol=1e-6)
    assert item_scores(rec.model, users, items[:0]).shape == (3, 0)


@pytest.mark.parametrize("name", ["biased-mf", "explicit-als", "implicit-als"])
def test_a_user_folded_in_with_a_prior_has_effects_with_this_prior(name: str, fitted: Any) -> None:
    rec = fitted((name, REGISTRY[name].kind)).with_priors()
    history = rec.histories.row(1)
    removed = rec.for_histories(history).removal_effects(np.int32([4]))
    for n, column in enumerate(removed.rows.tolist()):
        without = rec.for_histories(history.filter(history.columns != column))
        expected = score(rec.for_histories(history), 4) - score(without, 4)
        assert removed.effects[0, n] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("length", [1, 2, 5])
@pytest.mark.parametrize("name", ["biased-mf", "explicit-als"])
def test_a_short_history_has_effects_with_the_default_prior(name: str, length: int, fitted: Any) -> None:
    """The use of the default prior depends on the length of the history, which a removal changes."""
    rec = fitted((name, "ratings"))
    row = rec.histories.row(1)
    history = row.filter(np.arange(len(row.columns)) < length)
    effects = rec.for_histories(history).removal_effects(np.int32([4])).effects[0]
    for column, effect in zip(history.columns.tolist(), effects.tolist(), strict=True):
        without = rec.for_histories(history.filter(history.columns != column))
        assert effect == pytest.approx(score(rec.for_histories(history), 4) - score(without, 4), abs=1e-4)


@pytest.mark.parametrize("name", ["biased-mf", "explicit-als", "implicit-als"])
def test_a_trained_user_has_effects_without_a_prior_and_an_updated_user_with_it(name: str, fitted: Any) -> None:
    rec, row, items = fitted((name, REGISTRY[name].kind)).with_priors(), np.int32([1]), np.int32([4])
    trained = rec.for_rows(row).removal_effects(items)
    plain = removal_effects(rec.model, rec.batch(row), items, item_response=rec.catalog.item_response)
    np.testing.assert_array_equal(trained.effects, plain.effects)
    added = Interactions.from_columns([rec.users.id_at(1)], [rec.items.id_at(2)], [3], kind=rec.kind)
    later = rec.updated(added)
    updated_user = later.for_rows(row).removal_effects(items)
    new_user = later.for_histories(later.histories.row(1)).removal_effects(items)
    np.testing.assert_allclose(updated_user.effects, new_user.effects, atol=1e-6)


def test_blocks_of_histories_have_the_same_effects(fitted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rec = fitted(("item-knn", "ratings"))
    users, items = rec.batch(np.int32([2])), np.int32([1, 6])
    whole = removal_effects(rec.model, users, items)
    monkeypatch.setattr(removal, "MAX_ENTRIES", 2 * len(whole.rows))
    np.testing.assert_array_equal(removal_effects(rec.model, users, items).effects, whole.effects)


@pytest.mark.parametrize("implicit", [True, False])
@pytest.mark.parametrize("m", [1, 2, 40])
def test_updates_of_rank_one_equal_the_fold_in_of_each_history(m: int, implicit: bool, movielens: Interactions) -> None:
    weights = np.random.default_rng(3).uniform(0.2, 3, len(movielens)).astype(np.float32)
    table = Interactions.from_columns(movielens.u, movielens.i, movielens.values, weights=weights)
    model = REGISTRY["bayesian-mf"](factors=4, iterations=20, burn_in=10, implicit=implicit).fit(table, seed=1)
    row = table.by_user.row(int(np.argmax(table.by_user.counts)))
    history = row.filter(np.arange(len(row.columns)) % (len(row.columns) // m) == 0)
    items, users = np.arange(table.n_items, dtype=np.int32), len(history.columns) + 1
    updated = item_scores(model.fold_in_without(history), UserBatch.folded(SparseRows.empty(users)), items)
    for histories, rows in ((leave_one_out(history), updated[:-1]), (history, updated[-1:])):
        expected = item_scores(model.fold_in(histories), UserBatch.folded(histories), items)
        np.testing.assert_allclose(rows, expected, atol=2e-5)


def test_copies_without_one_row_keep_weights_and_times() -> None:
    history = SparseRows.of([0, 0, 0], [1, 4, 9], [3, 5, 2], 1, weights=[1, 2, 0.5], times=[30, 10, 20])
    copies = leave_one_out(history)
    for n in range(3):
        expected = history.filter(np.arange(3) != n)
        for name in ("columns", "values", "weights", "times"):
            np.testing.assert_array_equal(getattr(copies.row(n), name), getattr(expected, name))
    np.testing.assert_array_equal(leave_one_out(history, 1, 2).columns, [1, 9])
    assert len(leave_one_out(SparseRows.empty(1))) == 0


def test_item_sums_have_closed_forms(fitted: Any) -> None:
    """If a score is a sum over the history, the effect of a row is its contribution."""
    for name in ("ease", "rp3beta", "graph-filter"):
        rec = fitted((name, "events"))
        view = rec.for_rows(np.int32([3]))
        effects = view.removal_effects(np.int32([2]))
        explanation = view.explanation(2)
        np.testing.assert_array_equal(effects.rows, explanation.rows)
        np.testing.assert_allclose(effects.effects[0], explanation.terms, rtol=1e-5, atol=1e-7)


def test_a_ridge_regression_has_a_closed_form(fitted: Any) -> None:
    """Removing a row changes the normal equations by a matrix of rank one and by the penalty of one row."""
    rec = fitted(("explicit-als", "ratings"))
    model, loss, history = rec.model, rec.model.loss, rec.histories.row(3)
    Q, k = model.item_factors.astype(float), model.factors
    F = np.column_stack([Q, np.ones(len(Q))])[history.columns]
    target = history.values - model.mean - model.item_bias[history.columns]

    def solved(keep: Any) -> Any:
        penalty = np.append(np.full(k, loss.l2), loss.l2_bias) * (keep.sum() + loss.pseudo_ratings)
        penalty[k] += loss.damping
        return np.linalg.solve(F[keep].T @ F[keep] + np.diag(penalty), F[keep].T @ target[keep])

    m = len(history.columns)
    full, item = solved(np.ones(m, bool)), np.append(Q[7], 1)
    expected = [item @ (full - solved(np.arange(m) != n)) for n in range(m)]
    removed = removal_effects(model, rec.batch(np.int32([3])), np.int32([7]))
    np.testing.assert_allclose(removed.effects[0], expected, atol=2e-5)


def test_an_empty_history_has_no_effects(fitted: Any) -> None:
    model = fitted(("bayesian-mf", "ratings")).model
    nobody = SparseRows.empty(1)
    removed = removal_effects(model.fold_in(nobody), UserBatch.folded(nobody), np.int32([0, 1]))
    assert removed.effects.shape == (2, 0)
    assert len(removed.rows) == 0


def test_ratings_that_are_not_liked_have_no_effect_on_the_ranking(fitted: Any) -> None:
    rec = fitted(("paired-models", "ratings"))
    history = rec.histories.row(4)
    table = rec.explain(rec.users.ids([4])[0], rec.items.ids([0])[0])
    assert sorted(table["value"].to_list()) == sorted(v for v in history.values.tolist() if v >= rec.model.min_rating)


def test_frames_of_one_and_of_several_items(fitted: Any) -> None:
    rec = fitted(("item-knn", "ratings"))
    user, items = rec.users.ids([0])[0], rec.items.ids([1, 2])
    table = rec.explain(user, items[0])
    assert table.columns == ["item", "value", "effect"]
    assert table["effect"].abs().to_list() == sorted(table["effect"].abs().to_list(), reverse=True)
    for method in ("removal", "contribution"):
        both = rec.explain(user, items, method=method)
        assert both.columns[0] == "explained_item"
        assert both["explained_item"].unique().sort().equals(items.sort())
        for item in items:
            part = both.filter(both["explained_item"] == item).drop("explained_item")
            assert part.equals(rec.explain(user, item, method=method))
    effects = rec.for_rows(np.int32([0])).removal_effects(np.int32([1])).effects[0]
    assert sorted(table["effect"]) == sorted(effects)
    seen = dict(zip(rec.items.ids(rec.histories.row(0).columns), rec.histories.row(0).values.tolist(), strict=True))
    assert dict(zip(table["item"], table["value"], strict=True)) == seen


def test_an_unknown_method_is_rejected(fitted: Any) -> None:
    from cofactor.errors import ParameterError

    rec = fitted(("item-knn", "ratings"))
    with pytest.raises(ParameterError, match="method"):
        rec.explain(rec.users.ids([0])[0], rec.items.ids([1])[0], method="influence")


def test_the_score_of_a_view_is_that_of_its_list(fitted: Any) -> None:
    view = fitted(("biased-mf", "ratings")).for_rows(np.int32([6]))
    rows, scores = view.rank(1, allowed=ALL_ROWS)
    assert view.score(view.catalog.items.ids(rows[0])[0]) == pytest.approx(float(scores[0, 0]), abs=1e-5)
