"""Items without events in models of events: weights and vectors from item features."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import cofactor
from cofactor.cold_start import add_item_weights, item_weights, learn_priors, supports_priors
from cofactor.data.interactions import Interactions
from cofactor.errors import DataError, KindError, ParameterError
from cofactor.estimators import REGISTRY
from cofactor.kernels.parallel import threads
from cofactor.kernels.sparse import SparseRows
from cofactor.models.neighborhood import ItemItemModel
from cofactor.models.prior import Priors, WeightPrior
from cofactor.models.similarity import DenseSimilarity, NeighborSimilarity
from cofactor.models.user_batch import UserBatch
from cofactor.recommender.recommender import Recommender

GROUPS, ITEMS_PER_GROUP, USERS_PER_GROUP = 3, 12, 30
N_ITEMS = GROUPS * ITEMS_PER_GROUP
COLD = np.arange(N_ITEMS) % ITEMS_PER_GROUP == 5
"""One item of each group has no events; its group follows from its genre."""

ITEM_ITEM = ["ease", "sparse-ease", "item-knn", "rp3beta", "graph-filter", "sequential-item-knn"]
PLACED = [*ITEM_ITEM, "implicit-als", "bpr"]


def group_of(items: Any) -> Any:
    return np.asarray(items) // ITEMS_PER_GROUP


def events_of(names: Any) -> Interactions:
    """Users who take items of one group; the items of a group have the same audience, and one of them no feature.

    names[n] is the ID of item n.
    """
    rng = np.random.default_rng(0)
    users, items, cold = np.arange(GROUPS * USERS_PER_GROUP), np.arange(N_ITEMS), np.flatnonzero(COLD)
    share = np.where(users[:, None] // USERS_PER_GROUP == group_of(items), 0.5, 0.02)
    u, i = np.nonzero((rng.random(share.shape) < share) & ~COLD)
    times = rng.permutation(len(u) + len(cold))
    genres = [None if item % ITEMS_PER_GROUP == 7 else f"group {group_of(item)}" for item in items]
    table = pl.DataFrame({"item": names, "genres": genres, "empty": [None] * N_ITEMS})
    every = Interactions.from_columns(np.append(u, 0 * cold), names[np.append(i, cold)], times=times, kind="events")
    return every.select(~np.isin(every.items.all.to_numpy()[every.i], names[cold])).with_item_table(table)


@pytest.fixture(scope="module")
def events() -> Interactions:
    return events_of(np.arange(N_ITEMS))


def estimator_of(name: str) -> Any:
    return REGISTRY[name](factors=4) if name in ("implicit-als", "bpr", "graph-filter") else REGISTRY[name]()


@pytest.fixture(scope="module")
def fitted(events: Interactions) -> Any:
    cache: dict[str, tuple[Recommender, Recommender]] = {}

    def fit(name: str) -> tuple[Recommender, Recommender]:
        if name not in cache:
            plain = Recommender.fit(estimator_of(name), events, seed=0)
            cache[name] = plain, plain.with_priors(item_features=["genres"])
        return cache[name]

    return fit


def scores(rec: Recommender) -> Any:
    model: Any = rec.model
    return model.scores(rec.batch(rec.users.rows(rec.users.all)))


@pytest.mark.parametrize("name", PLACED)
def test_an_item_without_events_is_ranked_for_the_audience_of_its_group(name: str, fitted: Any) -> None:
    plain, placed = fitted(name)
    cold = np.flatnonzero(COLD)
    assert plain.evidence is not None
    assert (plain.evidence == ~COLD).all()
    assert placed.evidence is None
    best = cold[scores(placed)[:, cold].argmax(axis=1)]
    assert (group_of(best) == np.arange(len(best)) // USERS_PER_GROUP).mean() > 0.95
    lists = placed.for_users(40).recommend(n=N_ITEMS)
    assert lists.filter(pl.col("item") == 17)["answered_by"].to_list() == ["model"]
    assert plain.for_users(40).recommend(n=N_ITEMS).filter(pl.col("item") == 17)["answered_by"][0] == "popularity"


@pytest.mark.parametrize("name", PLACED)
def test_the_scores_of_other_items_do_not_change(name: str, fitted: Any) -> None:
    plain, placed = fitted(name)
    assert np.array_equal(scores(plain)[:, ~COLD], scores(placed)[:, ~COLD])
    history = [3, 4, 20]
    before, after = (rec.for_history(history).recommend(n=N_ITEMS) for rec in (plain, replace(placed, priors=None)))
    warm = [item for item in after["item"] if not COLD[item]]
    if name != "bpr":  # whose users are folded in with negatives drawn from all items
        assert warm == [item for item in before["item"] if not COLD[item]]


@pytest.mark.parametrize("name", PLACED)
def test_only_features_place_items(name: str, fitted: Any, events: Interactions) -> None:
    plain, _ = fitted(name)
    for columns in ([], ["empty"]):
        if columns or name not in ITEM_ITEM:
            same = plain.with_priors(item_features=columns)
            assert np.array_equal(scores(plain), scores(same))
            assert same.evidence is not None
    table = events.item_table
    assert table is not None
    without = table.with_columns(genres=pl.when(pl.col("item") == 5).then(None).otherwise("genres"))
    some = replace(plain, item_table=without).with_priors(item_features=["genres"])
    assert np.flatnonzero(~some.evidence).tolist() == [5]


@pytest.mark.parametrize("name", PLACED)
def test_a_new_item_scores_as_an_item_of_the_catalog(name: str, fitted: Any) -> None:
    _, placed = fitted(name)
    wider = placed.with_items(pl.DataFrame({"item": [-3, 99], "genres": ["group 1", "group 2"]}))
    all_scores = scores(wider)
    assert np.allclose(all_scores[:, wider.items.row(-3)], scores(placed)[:, 17], rtol=1e-4, atol=1e-6)
    assert np.allclose(all_scores[:, wider.items.row(99)], scores(placed)[:, 29], rtol=1e-4, atol=1e-6)
    assert np.array_equal(all_scores[:, wider.items.rows(placed.items.all)], scores(placed))
    similar = wider.similar_items(99, n=5)["item"]
    assert (group_of(similar) == 2).mean() >= 0.8


@pytest.mark.parametrize("name", PLACED)
def test_a_saved_recommender_is_the_same(name: str, fitted: Any, tmp_path: Path) -> None:
    _, placed = fitted(name)
    placed.save(tmp_path / "m.cofactor")
    again = Recommender.load(tmp_path / "m.cofactor")
    assert np.array_equal(scores(again), scores(placed))
    new = pl.DataFrame({"item": [99], "genres": ["group 1"]})
    assert np.array_equal(scores(again.with_items(new)), scores(placed.with_items(new)))


@pytest.mark.parametrize("name", PLACED)
def test_a_user_folds_in_and_a_score_is_explained(name: str, fitted: Any) -> None:
    _, placed = fitted(name)
    user, cold = 40, 17
    history = placed.histories.row(user)
    view = placed.for_histories(placed.histories.take([user]))
    row = scores(placed)[user]
    terms = placed.explain(user, cold, method="contribution")
    assert terms["term"].sum() == pytest.approx(float(row[cold]), abs=1e-4)
    if name != "bpr":
        without_prior = replace(placed, priors=None).for_histories(placed.histories.take([user]))
        assert np.allclose(without_prior.model.scores(view.batch)[0], row, atol=1e-5)
        assert terms.filter(pl.col("part") == "not attributed")["term"][0] == pytest.approx(0, abs=1e-5)
    if name in ITEM_ITEM:
        own = terms.filter(pl.col("part") == "history")
        assert set(own["item"]) == set(history.columns.tolist())
        assert np.bincount(group_of(own["item"]), weights=own["term"]).argmax() == 1


@pytest.mark.parametrize("name", ITEM_ITEM)
def test_an_event_of_a_placed_item_counts(name: str, fitted: Any) -> None:
    _, placed = fitted(name)
    items = placed.for_history([17]).recommend(n=5)["item"]
    assert (group_of(items) == 1).mean() >= 0.8


@pytest.mark.parametrize("name", PLACED)
def test_learning_again_replaces_the_placement(name: str, fitted: Any) -> None:
    plain, placed = fitted(name)
    wrong = replace(plain, item_table=plain.item_table.with_columns(other=pl.col("genres").shift(ITEMS_PER_GROUP)))
    again = wrong.with_priors(item_features=["other"]).with_priors(item_features=["genres"])
    assert np.allclose(scores(again), scores(placed), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ITEM_ITEM)
def test_scores_do_not_depend_on_the_names_of_items(name: str, fitted: Any) -> None:
    _, placed = fitted(name)
    names = np.random.default_rng(1).permutation(N_ITEMS)
    other = Recommender.fit(estimator_of(name), events_of(names), seed=0).with_priors(item_features=["genres"])
    assert np.allclose(scores(other)[:, names], scores(placed), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ITEM_ITEM)
def test_any_number_of_threads_gives_the_same_bits(name: str, fitted: Any) -> None:
    plain, placed = fitted(name)
    with threads(3):
        again = plain.with_priors(item_features=["genres"])
    first, second = placed.model.arrays(), again.model.arrays()
    assert all(np.array_equal(first[key], second[key]) for key in first)


# the regression


def dense(W: Any) -> ItemItemModel:
    return ItemItemModel(3, DenseSimilarity(np.float32(W)))


def some_items(seed: int = 0) -> tuple[Any, pl.DataFrame, Any, pl.DataFrame]:
    rng = np.random.default_rng(seed)
    W = rng.normal(size=(30, 30)).astype(np.float32)
    np.fill_diagonal(W, 0)
    support = rng.integers(1, 40, 30)
    item_table, new = (pl.DataFrame({"item": range(n), "g": rng.choice(list("abc"), n)}) for n in (30, 4))
    return W, item_table, support, new


def least_squares(W: Any, item_table: pl.DataFrame, support: Any, new: pl.DataFrame, ridge: float) -> Any:
    """Solve the regression of the columns of W on the features by stacking the penalty below the data."""
    H, H_new = (np.array([[g == c for c in "abc"] for g in table["g"]], float) for table in (item_table, new))
    d = support / (support + 5)
    h = d @ H / d.sum()
    X = np.vstack(
        [np.column_stack([np.ones(30), H - h]) * np.sqrt(d)[:, None], np.c_[np.zeros(3), np.eye(3) * ridge**0.5]]
    )
    y = np.vstack([W.T * np.sqrt(d)[:, None], np.zeros((3, len(W)))])
    return (np.column_stack([np.ones(4), H_new - h]) @ np.linalg.lstsq(X, y, rcond=None)[0]).T


def test_columns_and_rows_are_regressions_on_the_features() -> None:
    W, item_table, support, new = some_items()
    prior = learn_priors(dense(W), SparseRows.empty(3), item_table=item_table, item_features=["g"]).items
    assert isinstance(prior, WeightPrior)
    take = np.append(np.arange(30), -1 - np.arange(4)).astype(np.int32)
    out = add_item_weights(dense(W), prior, item_table, support, new, take).similarity.arrays()["weights"]
    columns = least_squares(W, item_table, support, new, prior.ridge)
    rows = least_squares(W.T, item_table, support, new, prior.ridge).T
    assert np.array_equal(out[:30, :30], W)
    assert np.allclose(out[:30, 30:], columns, atol=1e-5)
    assert np.allclose(out[30:, :30], rows, atol=1e-5)
    between_new = least_squares(rows, item_table, support, new, prior.ridge)
    np.fill_diagonal(between_new, 0)
    assert np.allclose(out[30:, 30:], between_new, atol=1e-5)
    order = np.random.default_rng(1).permutation(34)
    shuffled = add_item_weights(dense(W), prior, item_table, support, new, take[order]).similarity.arrays()["weights"]
    assert np.array_equal(shuffled, out[np.ix_(order, order)])


def test_sparse_weights_are_the_dense_ones_up_to_a_maximum_number(monkeypatch: pytest.MonkeyPatch) -> None:
    W, item_table, support, new = some_items()
    prior = learn_priors(dense(W), SparseRows.empty(3), item_table=item_table, item_features=["g"]).items
    assert isinstance(prior, WeightPrior)
    take = np.append(-1 - np.arange(4), np.arange(30)).astype(np.int32)
    source, target = np.nonzero(W)
    sparse = ItemItemModel(3, NeighborSimilarity(SparseRows.of(source, target, W[source, target], 30)))

    def matrix() -> Any:
        rows = add_item_weights(sparse, prior, item_table, support, new, take).similarity.rows  # type: ignore[union-attr]
        out = np.zeros((34, 34), np.float32)
        out[rows.owners, rows.columns] = rows.values
        return out

    expected = add_item_weights(dense(W), prior, item_table, support, new, take).similarity.arrays()["weights"]
    monkeypatch.setattr(item_weights, "BLOCK_ITEMS", 3)
    full = matrix()
    assert np.allclose(full, expected, atol=1e-5)
    monkeypatch.setattr(item_weights, "MAX_WEIGHTS", 10)
    limited = matrix()
    assert np.array_equal(limited[4:, 4:], W)
    for new_item in range(4):
        for part, whole in ((limited[4:, new_item], full[4:, new_item]), (limited[new_item], full[new_item])):
            assert (part != 0).sum() == 10
            assert np.abs(part[part != 0]).min() >= np.abs(whole[part == 0]).max()
            assert np.array_equal(part[part != 0], whole[part != 0])


def test_items_without_events_are_not_used() -> None:
    W, item_table, support, new = some_items()
    W[9], W[:, 9] = 1e6, -1e6
    support[9] = 0
    prior = learn_priors(dense(W), SparseRows.empty(3), item_table=item_table, item_features=["g"]).items
    assert isinstance(prior, WeightPrior)
    take = np.append(np.delete(np.arange(30), 9), -1 - np.arange(4)).astype(np.int32)
    out = add_item_weights(dense(W), prior, item_table, support, new, take).similarity.arrays()["weights"]
    assert np.abs(out).max() < 10


# what has no weights


def test_features_are_required(events: Interactions) -> None:
    ratings = Interactions.from_columns([0, 0, 1], [1, 2, 1], [3.0, 4.0, 5.0])
    item_item = cofactor.ItemKNN()
    assert supports_priors(item_item.fit(events), ["genres"])
    assert not supports_priors(item_item.fit(events))
    assert not supports_priors(item_item.fit(ratings), ["genres"])
    assert not supports_priors(cofactor.UserKNN().fit(events), ["genres"])
    rec = Recommender.fit(item_item, events)
    assert rec.ensure_priors() is rec
    with pytest.raises(KindError, match="item_features and an item-item event model"):
        rec.with_priors()
    with pytest.raises(DataError, match="no feature column 'color'"):
        rec.with_priors(item_features=["color"])
    with pytest.raises(KindError, match="item prior"):
        rec.with_items(pl.DataFrame({"item": [99]}))


def test_arguments_are_checked() -> None:
    W, item_table, support, new = some_items()
    prior = learn_priors(dense(W), SparseRows.empty(3), item_table=item_table, item_features=["g"]).items
    assert isinstance(prior, WeightPrior)
    take = np.append(np.arange(30), -1 - np.arange(4)).astype(np.int32)
    with pytest.raises(DataError, match="item_table must have n_items=30 rows"):
        add_item_weights(dense(W), prior, item_table[:29], support, new, take)
    with pytest.raises(ParameterError, match="support must be 30 integers"):
        add_item_weights(dense(W), prior, item_table, support[:29], new, take)
    ratings = Interactions.from_columns([0, 0, 1], [1, 2, 1], [3.0, 4.0, 5.0])
    with pytest.raises(KindError, match="rating model"):
        add_item_weights(cofactor.ItemKNN().fit(ratings), prior, item_table, support, new, take)
    again = Priors.from_parts(Priors(None, prior).arrays(), Priors(None, prior).settings())
    assert isinstance(again.items, WeightPrior)
    assert (again.items.encoder, again.items.ridge) == (prior.encoder, prior.ridge)


def test_a_paired_model_places_items_in_both_models(events: Interactions) -> None:
    """An item that was rated but never liked is new for the ranker only."""
    u, i, table = events.u, events.i, events.item_table
    assert table is not None
    table = table.filter(pl.col("item") != 29)
    extra = np.full(20, 5), np.arange(20)
    ratings = Interactions.from_columns(
        np.concatenate([u, extra[1], [0]]),
        np.concatenate([i, extra[0], [17]]),
        np.concatenate([np.full(len(u), 5.0), np.full(20, 1.0), [5.0]]),
    )
    ratings = ratings.with_item_table(table)
    paired = cofactor.PairedModels(ranker=cofactor.EASE(), rating_model=cofactor.BiasedMF(factors=2, epochs=3))
    rec = Recommender.fit(paired, ratings, seed=0)
    placed = rec.with_priors(item_features=["genres"])
    plain_scores, placed_scores = scores(rec), scores(placed)
    row = rec.items.row(5)
    assert rec.evidence is not None
    assert not rec.evidence[row]
    assert placed.evidence is None
    assert plain_scores[:, row].any() != placed_scores[:, row].any()
    others = np.delete(np.arange(len(rec.items)), row)
    assert np.array_equal(plain_scores[:, others], placed_scores[:, others])
    users = UserBatch.trained(np.zeros(len(rec.items), np.int32), rec.histories)
    items = np.arange(len(rec.items), dtype=np.int32)
    model: Any = rec.model
    other: Any = placed.model
    assert np.array_equal(model.predict(users, items), other.predict(users, items))  # all items have ratings


def test_a_known_user_without_events_is_placed_by_features(events: Interactions) -> None:
    """The list of a user without events is that of a new user with the same features; other users do not change."""
    groups = [f"group {user // USERS_PER_GROUP}" for user in range(events.n_users)]
    groups[1] = None  # type: ignore[call-overload]
    users = pl.DataFrame({"user": events.users.all, "group": groups}, schema_overrides={"group": pl.String})
    train = events.select(~np.isin(events.u, [0, 1, 35])).with_user_table(users)
    plain = Recommender.fit(cofactor.ImplicitALS(factors=4), train, seed=0)
    placed = plain.with_priors(user_features=["group"])
    for user, group in ((0, 0), (35, 1)):
        listed = placed.recommend(user, n=8)
        assert (group_of(listed["item"]) == group).all()
        assert set(listed["answered_by"]) == {"model"}
        new = placed.for_history([], user_features={"group": f"group {group}"}).recommend(n=8)
        assert new["item"].to_list() == listed["item"].to_list()
    others = np.delete(np.arange(events.n_users), [0, 35])
    assert np.array_equal(scores(plain)[others], scores(placed)[others])
    assert np.array_equal(scores(plain.with_priors()), scores(plain))
