"""EASE and the neighbor models against closed forms and dense references, and inside their bands on MovieLens-100k."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.sparse import csr_array

import cofactor
from cofactor.data.interactions import Interactions
from cofactor.datasets.synthetic import MOVIELENS_20M_SHAPE, generate
from cofactor.errors import CofactorError, DataError, ParameterError
from cofactor.estimators import Epoch, ease
from cofactor.evaluate.movielens_splits import i0_rows, s0_rows, split_rows
from cofactor.evaluate.split import Split
from cofactor.kernels import reference
from cofactor.kernels.cholesky import negative_inverse
from cofactor.kernels.sparse import SparseRows
from cofactor.metrics.rating import rmse
from cofactor.metrics.registry import ranking_metrics
from cofactor.models.base import FoldsIn, Model, PredictsRatings, ScoresItems
from cofactor.models.neighborhood import ItemItemModel
from cofactor.models.similarity import NeighborSimilarity
from cofactor.models.user_batch import UserBatch


def dense(table: Interactions) -> np.ndarray:
    X = np.zeros((table.n_users, table.n_items))
    X[table.u, table.i] = 1
    return X


def ease_weights(X: np.ndarray, l2_ratio: float, dropout: float) -> np.ndarray:
    """B = -P / diag(P) off the diagonal, P = (X'X + L)^-1 (Steck 2019, eq. 8; Steck 2020)."""
    squares = (X**2).sum(axis=0)
    L = l2_ratio * squares[squares > 0].mean() + dropout / (1 - dropout) * squares
    P = np.linalg.inv(X.T @ X + np.diag(L))
    B = -P / np.diag(P)
    np.fill_diagonal(B, 0)
    return B


@pytest.mark.parametrize("dropout", [0, 0.4])
def test_ease_is_its_closed_form(dropout: float, small_events: Interactions) -> None:
    X = dense(small_events)
    B = ease_weights(X, 2, dropout)
    model = cofactor.EASE(l2_ratio=2, dropout=dropout).fit(small_events)
    users = np.arange(small_events.n_users, dtype=np.int32)
    np.testing.assert_allclose(model.scores(UserBatch.of(users, small_events.by_user)), X @ B, atol=1e-5)


@pytest.mark.parametrize(("alpha", "beta", "damping"), [(1, 0, 0), (1, 0.4, 0), (0.7, 0.6, 2)])
def test_rp3beta_is_a_walk_of_three_steps(
    alpha: float, beta: float, damping: float, small_events: Interactions
) -> None:
    rng = np.random.default_rng(0)
    counts, weights = rng.integers(1, 9, len(small_events)), rng.choice([-1.0, 0.5, 1.0], len(small_events))
    table = replace(small_events, values=counts.astype(np.float32)).with_weights(weights)
    X = np.zeros((table.n_users, table.n_items))
    X[table.u, table.i] = counts * weights
    positive = np.maximum(X, 0)
    users, items = positive.sum(axis=1, keepdims=True), positive.sum(axis=0)
    to_user = np.divide(positive, items, out=np.zeros_like(X), where=items > 0) ** alpha * (positive > 0)
    to_item = np.divide(positive, users, out=np.zeros_like(X), where=users > 0) ** alpha * (positive > 0)
    popularity = items + damping * (items**2).sum() / items.sum()
    W = to_user.T @ to_item / np.where(items > 0, popularity, 1) ** beta
    np.fill_diagonal(W, 0)
    model = cofactor.RP3beta(alpha=alpha, beta=beta, damping=damping, neighbors=1000, counts="raw").fit(table)
    scores = model.scores(UserBatch.of(all_users(table), table.by_user))
    np.testing.assert_allclose(scores, X @ W / W.max(), rtol=1e-4, atol=1e-5)


def test_rp3beta_keeps_the_largest_weights_of_each_item(small_events: Interactions) -> None:
    all_weights = cofactor.RP3beta().fit(small_events).similarity.rows
    largest = cofactor.RP3beta(neighbors=5).fit(small_events).similarity.rows
    for item in range(small_events.n_items):
        expected = np.sort(all_weights.row(item).values)[::-1][:5]
        np.testing.assert_allclose(
            np.sort(largest.row(item).values)[::-1] / expected[: len(largest.row(item).values)], 1
        )


@pytest.mark.parametrize("n_users", [20, 50])
def test_ease_inverts_the_smaller_matrix(n_users: int, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = []
    monkeypatch.setattr(ease, "negative_inverse", lambda A, *rest: shapes.append(A.shape) or negative_inverse(A, *rest))
    X = np.random.default_rng(0).poisson(0.2, (n_users, 100))
    X[:, 7] = 0
    weights = cofactor.EASE(l2_ratio=0.5, dropout=0.1, counts="raw").fit(csr_array(X)).similarity.weights
    np.testing.assert_allclose(weights, ease_weights(X, 0.5, 0.1), atol=1e-6)
    assert shapes == [(20, 20) if n_users == 20 else (100, 100)]


def test_sparse_ease_with_all_items_as_neighbors_is_ease() -> None:
    rng = np.random.default_rng(0)
    X = rng.random((40, 25)).astype(np.float32)  # all cosines are positive and different
    settings = {"l2_ratio": 0.1, "dropout": 0.2}
    rows = cofactor.SparseEASE(neighbors=25, **settings).fit(csr_array(X)).similarity.rows
    weights = np.zeros((25, 25))
    weights[rows.owners, rows.columns] = rows.values
    assert weights.min() < -0.01
    np.testing.assert_allclose(weights, cofactor.EASE(**settings).fit(csr_array(X)).similarity.weights, atol=1e-5)


def test_sparse_ease_is_a_ridge_regression_on_the_most_similar_items(small_events: Interactions) -> None:
    X = dense(small_events)
    G, squares = X.T @ X, X.sum(axis=0)
    L = 2 * squares[squares > 0].mean() + 0.5 / 0.5 * squares
    parts: list[Epoch] = []
    rows = cofactor.SparseEASE(neighbors=7, l2_ratio=2, dropout=0.5).fit(small_events, callback=parts.append)
    by_target = rows.similarity.rows.transpose(small_events.n_items)
    cosine = G / np.sqrt(np.maximum(np.outer(squares, squares), 1)) - 2 * np.eye(len(G))
    for item in range(small_events.n_items):
        K, weights = by_target.row(item).columns, by_target.row(item).values
        assert len(K) <= 7
        assert cosine[K, item].min(initial=2) >= np.sort(cosine[:, item])[-7] * (1 - 1e-6)
        np.testing.assert_allclose(weights, np.linalg.solve(G[np.ix_(K, K)] + np.diag(L[K]), G[K, item]), atol=1e-5)
    assert [(part.number, part.of) for part in parts] == [(1, 1)]


@pytest.mark.parametrize(("n_users", "n_items", "n_parts"), [(700, 300, 2), (300, 700, 2 + 3)])
def test_ease_reports_each_block_of_the_matrices_that_it_inverts_and_fills(
    n_users: int, n_items: int, n_parts: int
) -> None:
    """With fewer users than half the items, a matrix of users is inverted first; a block has 256 rows."""
    X = np.random.default_rng(0).random((n_users, n_items)) < 0.02
    parts: list[Epoch] = []
    cofactor.EASE().fit(csr_array(X.astype(np.float32)), callback=parts.append)
    assert [(part.number, part.of) for part in parts] == [(number + 1, n_parts) for number in range(n_parts)]


def test_negative_weights_explain_and_compare_items() -> None:
    rows = SparseRows.of([0, 1, 2], [1, 0, 0], [-0.5, 0.25, 0.4], 3)
    model = ItemItemModel(1, NeighborSimilarity(rows))
    history = SparseRows.of([0, 0], [0, 2], [1.0, 1.0], 1)
    user = UserBatch.of(np.zeros(1, np.int32), history)
    np.testing.assert_allclose(model.scores(user), [[0.4, -0.5, 0]])
    assert model.explain(user, 1).terms.tolist() == [-0.5, 0]
    similarity = model.item_similarity(np.array([[0, 1, 2]], np.int32))[0]
    np.testing.assert_allclose(similarity, [[1, -0.5, 0.4], [-0.5, 1, 0], [0.4, 0, 1]])


def test_ease_rejects_tables_that_do_not_fit_into_memory_and_names_alternatives(small_events: Interactions) -> None:
    with pytest.raises(CofactorError, match=r"ImplicitALS|implicit-als|ItemKNN|item-knn"):
        cofactor.EASE(max_memory=1e-5).fit(small_events)


def test_item_knn_from_events_sums_the_cosines_of_the_items_of_the_user(small_events: Interactions) -> None:
    X = dense(small_events)
    together, support = X.T @ X, X.sum(axis=0)
    cosine = together / np.sqrt(np.maximum(np.outer(support, support), 1))
    np.fill_diagonal(cosine, 0)
    estimator = cofactor.ItemKNN(event_shrink=0, event_neighbors=1000)
    model = estimator.fit(small_events)
    users = np.arange(small_events.n_users, dtype=np.int32)
    np.testing.assert_allclose(
        model.scores(UserBatch.of(users, small_events.by_user)), X @ cosine, rtol=1e-4, atol=1e-4
    )


def all_users(table: Interactions) -> np.ndarray:
    return np.arange(table.n_users, dtype=np.int32)


def by_hand(table: Interactions, damping: float) -> tuple[np.ndarray, np.ndarray]:
    """b_ui at the least-squares minimum, by a dense solve, and the ratings above it with nan for blanks."""
    mean = table.values.astype(np.float64).mean()
    A = np.zeros((len(table), table.n_users + table.n_items))
    A[np.arange(len(table)), table.u] = A[np.arange(len(table)), table.n_users + table.i] = 1
    b = np.linalg.solve(A.T @ A + damping * np.eye(A.shape[1]), A.T @ (table.values - mean))
    level = mean + b[: table.n_users, None] + b[None, table.n_users :]
    above = np.full(level.shape, np.nan)
    above[table.u, table.i] = table.values - level[table.u, table.i]
    return level, above


def pearson(above: np.ndarray, shrink: float) -> np.ndarray:
    """Shrunk correlations of the columns over their common rows, those at or below 0 left out."""
    has, x = np.isfinite(above).astype(float), np.nan_to_num(above)
    common, dot = has.T @ has, x.T @ x
    length = np.sqrt((x.T**2 @ has) * (has.T @ x**2))
    s = np.divide(dot, length, out=np.zeros_like(dot), where=length > 0)
    s *= np.divide(common, common + shrink, out=np.zeros_like(dot), where=common > 0)
    np.fill_diagonal(s, 0)
    return np.maximum(s, 0)


def averaged(level: np.ndarray, above: np.ndarray, s: np.ndarray, k: int, damping: float) -> np.ndarray:
    """level + sum_j s_ij x_uj / (damping + sum_j s_ij) over the k most similar columns that the row has."""
    out = level.copy()
    for u in range(len(level)):
        own = np.flatnonzero(np.isfinite(above[u]))
        for i in range(level.shape[1]):
            best = own[np.argsort(-s[i, own], kind="stable")[:k]]
            out[u, i] += s[i, best] @ above[u, best] / (damping + s[i, best].sum())
    return out


def test_item_knn_from_ratings_is_the_damped_average_around_the_baseline(small_ratings: Interactions) -> None:
    level, above = by_hand(small_ratings, 5.0)
    model = cofactor.ItemKNN(k=1000, shrink=20.0, damping=0.3).fit(small_ratings)  # ties decide nothing
    expected = averaged(level, above, pearson(above, 20.0), 1000, 0.3)
    np.testing.assert_allclose(
        model.scores(UserBatch.of(all_users(small_ratings), small_ratings.by_user)), expected, atol=2e-3
    )
    predicted = model.predict(UserBatch.trained(small_ratings.u, small_ratings.by_user), small_ratings.i)
    clipped = np.clip(expected[small_ratings.u, small_ratings.i], 1, 5)
    np.testing.assert_allclose(predicted, clipped, atol=2e-3)


def test_user_knn_from_ratings_is_the_damped_average_around_the_baseline(small_ratings: Interactions) -> None:
    level, above = by_hand(small_ratings, 5.0)
    model = cofactor.UserKNN(k=7, shrink=20.0, damping=0.3).fit(small_ratings)
    has = np.isfinite(above).astype(int)
    s = np.where(has @ has.T == has.sum(axis=1)[None, :], 0, pearson(above.T, 20.0))  # who has nothing that u lacks
    expected = level.copy()
    for u in range(len(level)):
        for i in range(level.shape[1]):
            others = np.flatnonzero(has[:, i])
            ws = s[u, others] * reference.top_k_membership(s[u, others], 7)
            expected[u, i] += ws @ above[others, i] / (0.3 + ws.sum())
    error = np.abs(model.scores(UserBatch.of(all_users(small_ratings), small_ratings.by_user)) - expected)
    assert np.quantile(error, 0.999) < 1e-4
    assert error.max() < 0.02  # rounding changes how neighbors close to the 7th one share its position


@pytest.mark.parametrize("name", ["cosine", "jaccard"])
def test_user_knn_from_events_sums_over_similar_users(name: str, small_events: Interactions) -> None:
    X = dense(small_events)
    dot, size = X @ X.T, X.sum(axis=1)
    length = np.sqrt(np.outer(size, size)) if name == "cosine" else size[:, None] + size[None, :] - dot
    s = np.divide(dot, length, out=np.zeros_like(dot), where=length > 0)
    s[dot == size[None, :]] = 0
    model = cofactor.UserKNN(k=1000, neighbors=1000, event_shrink=0, similarity=name).fit(small_events)
    np.testing.assert_allclose(
        model.scores(UserBatch.of(all_users(small_events), small_events.by_user)), s @ X, rtol=1e-4, atol=1e-4
    )


def test_the_baseline_of_a_user_follows_from_the_history_passed_in(small_ratings: Interactions) -> None:
    level, _ = by_hand(small_ratings, 5.0)
    for estimator in (cofactor.ItemKNN(), cofactor.UserKNN()):
        model = estimator.fit(small_ratings)
        nothing = SparseRows.empty(1)
        fresh = model.fold_in(nothing).scores(UserBatch.of(np.zeros(1, np.int32), nothing))[0]
        bias = model.baseline.user_bias(small_ratings.by_user)
        np.testing.assert_allclose(fresh + bias[:, None], level, atol=2e-3)


@pytest.mark.parametrize(
    "estimator",
    [
        cofactor.EASE(l2_ratio=0.5),
        cofactor.SparseEASE(),
        cofactor.RP3beta(),
        cofactor.GraphFilter(),
        cofactor.ItemKNN(),
        cofactor.UserKNN(),
    ],
    ids=str,
)
def test_a_dislike_lowers_similar_items(estimator: Any, small_events: Interactions) -> None:
    model = estimator.fit(small_events)
    zero, plus = np.zeros(1, np.int32), [1.0, 1.0]
    liked = SparseRows.of([0, 0], [0, 2], plus, 1)
    disliked = SparseRows.of([0, 0], [0, 2], plus, 1, [1.0, -1.0])
    with_it, against = (model.fold_in(h).scores(UserBatch.of(zero, h))[0] for h in (liked, disliked))
    assert np.abs(with_it - against).max() > 0.01
    if isinstance(model, ItemItemModel):  # additive, with its sign
        without = model.scores(UserBatch.of(zero, SparseRows.of([0], [0], [1.0], 1)))[0]
        np.testing.assert_allclose(with_it - without, without - against, atol=1e-5)


def test_dislikes_enter_ease_as_their_negative(small_events: Interactions) -> None:
    weights = np.where(np.random.default_rng(0).random(len(small_events)) < 0.2, -1.5, 1.0)
    table = small_events.with_weights(weights)
    X = np.zeros((table.n_users, table.n_items))
    X[table.u, table.i] = weights
    B = ease_weights(X, 2, 0.3)
    model = cofactor.EASE(l2_ratio=2, dropout=0.3).fit(table)
    np.testing.assert_allclose(model.scores(UserBatch.of(all_users(table), table.by_user)), X @ B, atol=1e-5)


@pytest.mark.parametrize("estimator", [cofactor.ItemKNN(), cofactor.UserKNN()], ids=str)
def test_rows_of_weight_zero_are_ignored(estimator: Any, small_ratings: Interactions) -> None:
    keep = np.random.default_rng(1).random(len(small_ratings)) < 0.8
    left = small_ratings.select(keep)
    muted = small_ratings.with_weights(keep.astype(np.float32))
    plain, weighted = estimator.fit(left), estimator.fit(muted)
    users = all_users(small_ratings)
    scores = plain.scores(UserBatch.of(users, left.by_user))
    np.testing.assert_allclose(weighted.scores(UserBatch.of(users, muted.by_user)), scores, atol=1e-3)


def test_models_have_the_declared_capabilities(small_ratings: Interactions, small_events: Interactions) -> None:
    for estimator, table in (
        (cofactor.EASE(), small_events),
        (cofactor.ItemKNN(), small_ratings),
        (cofactor.UserKNN(), small_ratings),
    ):
        model = estimator.fit(table)
        for protocol in (Model, PredictsRatings, ScoresItems, FoldsIn):
            assert isinstance(model, protocol)
        assert hasattr(model, "item_similarity") == isinstance(model, ItemItemModel)
        assert f"{table.n_users} users" in repr(model)


def test_similar_items_are_the_most_similar_by_the_model_itself(
    small_ratings: Interactions, small_events: Interactions
) -> None:
    for model in (cofactor.ItemKNN().fit(small_ratings), cofactor.EASE(l2_ratio=0.5).fit(small_events)):
        items = np.arange(0, 120, 7, dtype=np.int32)
        rows, how = model.similar_items(items, 5)
        assert rows.shape == how.shape == (len(items), 5)
        assert (np.diff(how, axis=1) <= 0).all()
        assert not (rows == items[:, None]).any()
    model = cofactor.ItemKNN(shrink=20.0).fit(small_ratings)
    s = pearson(by_hand(small_ratings, 5.0)[1], 20.0)
    np.testing.assert_allclose(model.similar_items(np.array([3], np.int32), 5)[1][0], -np.sort(-s[3])[:5], atol=1e-3)
    similarity = model.item_similarity(np.array([[3, 8, -1, 3]], np.int32))[0]
    expected = [[1, s[3, 8], 0, 1], [s[3, 8], 1, 0, s[3, 8]], [0, 0, 0, 0], [1, s[3, 8], 0, 1]]
    np.testing.assert_allclose(similarity, expected, atol=1e-3)


def test_item_similarity_of_ease_is_the_partial_correlation(small_events: Interactions) -> None:
    X = dense(small_events)
    P = np.linalg.inv(X.T @ X + X.sum() / X.any(axis=0).sum() * np.eye(X.shape[1]))
    partial = -P / np.sqrt(np.outer(np.diag(P), np.diag(P)))
    np.fill_diagonal(partial, 1)
    items = np.arange(10, dtype=np.int32)
    similarity = cofactor.EASE(l2_ratio=1, dropout=0).fit(small_events).item_similarity(items[None])[0]
    np.testing.assert_allclose(similarity, partial[:10, :10], atol=1e-5)


@pytest.mark.parametrize("estimator", [cofactor.EASE(), cofactor.ItemKNN(), cofactor.UserKNN()])
@pytest.mark.parametrize("other", [None, "model", cofactor.Bias()])
def test_users_are_taken_from_a_model_of_the_same_class(estimator: Any, other: Any, small_events: Interactions) -> None:
    model = estimator.fit(small_events)
    with pytest.raises(DataError, match=f"other must be of type {type(model).__name__}, not "):
        model.with_users(other, np.zeros(1, np.int32))


@pytest.mark.parametrize("estimator", [cofactor.EASE(), cofactor.ItemKNN(), cofactor.UserKNN()])
def test_misaligned_histories_are_rejected(estimator: Any, small_events: Interactions) -> None:
    model, histories = estimator.fit(small_events), small_events.by_user
    few = np.zeros(2, np.int32)
    with pytest.raises(DataError, match="histories must have 2 rows, one for each user in the batch; got 200"):
        UserBatch.of(few, histories)
    part = UserBatch.trained(few, histories.take([2, 3]))  # the histories of users 2 and 3 as those of all users
    items = np.zeros(2, np.int32)
    for call in (
        lambda: model.scores(part),
        lambda: model.predict(part, items),
        lambda: model.top(part, 3, exclude=part.histories, allowed=np.zeros(0, bool)),
        lambda: model.explain(part.take([0]), 0),
    ):
        with pytest.raises(DataError, match="histories must have 200 rows; got 2"):
            call()


def test_similar_users_keep_their_ids_after_an_update(small_ratings: Interactions) -> None:
    rec = cofactor.Recommender.fit(cofactor.UserKNN(), small_ratings)
    before = rec.similar_users("user 7", n=5)
    assert before["score"].is_sorted(descending=True)
    new = Interactions.from_columns(["a newcomer"] * 3, ["item 1", "item 2", "item 5"], [5.0, 1.0, 4.0])
    after = rec.updated(new)
    assert after.similar_users("user 7", n=5).equals(before)
    assert len(after.recommend("a newcomer", n=3)) == 3
    changed = Interactions.from_columns([before["user"][0]], ["item 100"], [3.0])
    assert rec.updated(changed).similar_users("user 7", n=4)["user"].to_list() == before["user"][1:].to_list()


def test_a_new_user_of_user_knn_gets_the_neighbors_of_the_same_history(small_ratings: Interactions) -> None:
    model = cofactor.UserKNN(max_item_support=40).fit(small_ratings)  # sampled: some lists are longer
    folded = model.fold_in(small_ratings.by_user.take([7, 8]))
    np.testing.assert_array_equal(folded.neighbors, model.neighbors[7:9])
    np.testing.assert_array_equal(folded.similarity, model.similarity[7:9])


def test_sampled_item_lists_still_find_most_of_the_true_neighbors() -> None:
    table = generate(
        replace(MOVIELENS_20M_SHAPE, n_users=3000, n_items=2000, n_ratings=150_000, max_ratings_per_user=1000)
    ).interactions
    support = np.bincount(table.i)
    full = cofactor.UserKNN(neighbors=50, max_item_support=3000).fit(table)
    sampled = cofactor.UserKNN(neighbors=50, max_item_support=int(support.max()) // 2).fit(table)
    positive = full.similarity > 0  # elsewhere similarities tie at the end of the list
    last = np.where(positive, full.similarity, np.inf).min(axis=1, keepdims=True)
    recall = (sampled.similarity >= last * (1 - 1e-5))[positive].mean()
    assert 0.9 <= recall < 1
    assert (sampled.similarity <= full.similarity + 1e-6)[positive].all()


def test_ease_reports_the_required_memory_to_the_byte(small_events: Interactions) -> None:
    needed = 24 * small_events.n_items**2 / 1e9
    cofactor.EASE(max_memory=needed).fit(small_events)
    with pytest.raises(ParameterError, match=rf"{small_events.n_items} items \(24 bytes"):
        cofactor.EASE(max_memory=needed * 0.999).fit(small_events)


def columns_in_file_order() -> pl.DataFrame:
    path = cofactor.datasets.fetch("movielens-100k") / "ratings.tsv"
    return pl.read_csv(path, separator="\t", has_header=False, new_columns=["user", "item", "value", "time"])


@pytest.fixture(scope="module")
def i0(movielens: Interactions) -> Split:
    table = columns_in_file_order()
    _, test = i0_rows(table["user"], table["value"].to_numpy())
    return split_rows(movielens.to_events(min_rating=4), test, users=table["user"], items=table["item"]).excluding(
        "positives"
    )


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("EASE", 0.3222, 0.3262),
        ("SparseEASE", 0.31, 0.33),
        ("RP3beta", 0.28, 0.30),
        ("ItemKNN", 0.26, 0.31),
        ("UserKNN", 0.26, 0.31),
    ],
)
def test_accuracy_on_events(name: str, least: float, most: float, i0: Split) -> None:
    users = np.flatnonzero(i0.test.by_user.counts).astype(np.int32)
    ranked, _ = cofactor.Recommender.fit(getattr(cofactor, name)(), i0.train).for_rows(users).rank(10)
    ndcg = ranking_metrics(ranked, i0.test.by_user.take(users), ks=(10,))["ndcg@10"].mean()
    assert least <= ndcg <= most


@pytest.mark.parametrize(("name", "most"), [("ItemKNN", 0.925), ("UserKNN", 0.94)])
def test_accuracy_on_ratings(name: str, most: float, movielens: Interactions) -> None:
    table = columns_in_file_order()
    split = split_rows(movielens, s0_rows()[1], users=table["user"], items=table["item"])
    rec = cofactor.Recommender.fit(getattr(cofactor, name)(), split.train)
    error = rmse(split.test.values, rec.model.predict(UserBatch.trained(split.test.u, rec.histories), split.test.i))
    assert 0.905 < error <= most
