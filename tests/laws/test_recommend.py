"""The Recommender: ids of any type, new users, new ratings and files."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cofactor.cold_start import Questionnaire
from cofactor.data.artifact import read_artifact, write_artifact
from cofactor.data.interactions import Interactions
from cofactor.data.scale import Scale
from cofactor.errors import ArtifactError, CofactorError, DataError, KindError, ParameterError, UnknownIdError
from cofactor.estimators import BayesianMF, Bias, BiasedMF, ExplicitALS, ImplicitALS, ItemKNN, Popularity, UserKNN
from cofactor.kernels.sparse import SparseRows
from cofactor.models.user_batch import UserBatch
from cofactor.recommender.recommender import Recommender
from tests.support.priors import without_prior

ALS = ExplicitALS(factors=4, epochs=5)


def with_titles(table: Interactions) -> Interactions:
    titles = pl.DataFrame({"item": table.items.all, "title": [f"The {i}" for i in table.items.all]})
    ages = pl.DataFrame({"user": table.users.all, "age": np.arange(table.n_users)})
    return table.with_item_table(titles).with_user_table(ages)


@pytest.fixture(scope="module")
def rec(small_ratings: Interactions) -> Recommender:
    return Recommender.fit(ALS, with_titles(small_ratings), seed=1)


@pytest.fixture(scope="module")
def of_events(small_events: Interactions) -> Recommender:
    return Recommender.fit(ImplicitALS(factors=4, epochs=5), small_events, seed=1)


@pytest.fixture(scope="module")
def numbered_ratings() -> Interactions:
    """Ratings of 1..5 whose ids are the integers 0..29 (users) and 100..119 (items)."""
    rng = np.random.default_rng(0)
    u, i = np.nonzero(rng.random((30, 20)) < 0.4)
    return Interactions.from_columns(u, i + 100, rng.integers(1, 6, len(u)))


@pytest.fixture(scope="module")
def numbered(numbered_ratings: Interactions) -> Recommender:
    return Recommender.fit(ALS, numbered_ratings)


def history_of(rec: Recommender, user: Any) -> dict[Any, float]:
    history = rec.histories.row(rec.users.row(user))
    return dict(zip(rec.items.ids(history.columns).to_list(), history.values.tolist(), strict=True))


def table_of(rec: Recommender) -> pl.DataFrame:
    """All rows of the recommender, as a sorted frame."""
    rows = np.repeat(np.arange(len(rec.users)), rec.histories.counts)
    weights = rec.histories.weights
    return pl.DataFrame(
        {
            "user": rec.users.ids(rows),
            "item": rec.items.ids(rec.histories.columns),
            "value": rec.histories.values,
            "weight": np.ones(len(rows), np.float32) if weights is None else weights,
        }
    )


def same_rows(a: Recommender, b: Recommender, ids: Any) -> bool:
    mine, theirs = a.users.rows(ids), b.users.rows(ids)
    return all(
        getattr(a.model, name)[mine].tobytes() == getattr(b.model, name)[theirs].tobytes()
        for name in ("user_factors", "user_bias")
    )


# recommending


def test_one_user_gets_the_best_items_that_were_not_seen(rec: Recommender) -> None:
    top = rec.recommend("user 7", n=5)
    assert top.columns == ["user", "item", "rank", "score", "prediction", "support", "answered_by", "title"]
    assert top["user"].to_list() == ["user 7"] * 5
    assert top["rank"].to_list() == [1, 2, 3, 4, 5]
    assert top["title"].to_list() == [f"The {item}" for item in top["item"]]
    seen = history_of(rec, "user 7")
    others = [item for item in rec.items.all if item not in seen]
    scores = rec.model.scores(UserBatch.trained(np.array([rec.users.row("user 7")], np.int32), rec.histories))[0]
    best = sorted(others, key=lambda item: -scores[rec.items.row(item)])[:5]
    assert top["item"].to_list() == best
    assert not set(top["item"]) & set(seen)


def test_several_users_get_the_list_of_each_in_the_order_of_the_argument(rec: Recommender) -> None:
    users = ["user 9", "user 1", "user 9"]
    assert rec.recommend(users, n=4).equals(pl.concat([rec.recommend(user, n=4) for user in users]))


def test_all_are_in_row_order(rec: Recommender) -> None:
    assert rec.recommend_all(3).equals(rec.recommend(rec.users.all, n=3))


def test_no_users_give_an_empty_frame(rec: Recommender) -> None:
    none = rec.recommend([], n=3)
    assert none.shape == (0, 8)
    assert none.schema == rec.recommend("user 1", n=3).schema


def test_seen_items_are_included_on_request(rec: Recommender) -> None:
    everything = rec.recommend("user 7", n=10_000, exclude_seen=False)
    assert sorted(everything["item"]) == sorted(rec.items.all)
    assert everything["score"].is_sorted(descending=True)
    unseen = rec.recommend("user 7", n=10_000)
    assert len(unseen) == len(rec.items) - len(history_of(rec, "user 7"))


def test_lists_contain_only_the_candidates(rec: Recommender) -> None:
    unseen = rec.recommend("user 7", n=10_000)["item"].to_list()
    few = [unseen[40], unseen[3], unseen[20], unseen[3]]
    expected = [unseen[3], unseen[20], unseen[40]]
    for candidates in (few, np.array(few), pl.Series(few), pd.Series(few), iter(few), set(few)):
        top = rec.recommend("user 7", n=10, candidates=candidates)
        assert top["item"].to_list() == expected
        assert top["rank"].to_list() == [1, 2, 3]
    assert rec.recommend("user 7", candidates=unseen[3])["item"].to_list() == [unseen[3]]
    assert len(rec.recommend("user 7", candidates=[])) == 0
    assert len(rec.recommend("user 7", candidates=list(history_of(rec, "user 7")))) == 0
    assert set(rec.recommend_all(2, candidates=few)["item"]) <= set(few)
    with pytest.raises(UnknownIdError, match="candidates: item 'no such film' is not a known ID"):
        rec.recommend("user 7", candidates=[*few, "no such film"])


@pytest.mark.parametrize("n", [0, -1, 2.0, 2.5, "3", None, True, float("nan")])
def test_n_must_be_a_positive_integer(rec: Recommender, n: Any) -> None:
    calls: list[Any] = [
        lambda: rec.recommend("user 1", n=n),
        lambda: rec.recommend_all(n),
        lambda: rec.for_history([("item 1", 5)]).recommend(n=n),
        lambda: rec.similar_items("item 1", n=n),
        lambda: rec.similar_users("user 1", n=n),
        lambda: rec.for_rows(np.zeros(1, np.int32)).rank(n),
    ]
    for call in calls:
        with pytest.raises(ParameterError, match="n must be an integer >= 1, not"):
            call()


def test_n_may_be_a_number_of_numpy(rec: Recommender) -> None:
    assert len(rec.recommend("user 1", n=np.int64(3))) == 3


# ids in all their wrappings


@pytest.mark.parametrize(
    "users",
    [
        3, np.int64(3), np.uint8(3), [3], (3,), np.array([3]), np.array([3], np.uint16), pl.Series([3]), {3: "x"},
        pl.Series([3], dtype=pl.UInt8), pd.Series([3]), pd.Index([3]), range(3, 4), iter([3]), {3}, [np.int32(3)],
    ],
    ids=lambda users: f"{type(users).__module__}.{type(users).__name__}",
)  # fmt: skip
def test_integer_ids_in_any_wrapping(numbered: Recommender, users: Any) -> None:
    expected = numbered.recommend(3, n=4)
    assert len(expected) == 4
    assert numbered.recommend(users, n=4).equals(expected)


@pytest.mark.parametrize(
    "wrap",
    [
        list, tuple, np.array, pl.Series, pd.Series, pd.Index, iter, lambda ids: np.array(ids, object),
        lambda ids: pl.Series(ids, dtype=pl.Categorical), lambda ids: pd.Series(ids, dtype="category"),
        lambda ids: pd.Series(ids, dtype=object), lambda ids: [np.str_(id_) for id_ in ids],
    ],
)  # fmt: skip
def test_string_ids_in_any_wrapping(rec: Recommender, wrap: Any) -> None:
    users, items = ["user 3", "user 11"], ["item 2", "item 0"]
    assert rec.recommend(wrap(users), n=4).equals(rec.recommend(users, n=4))
    assert rec.predict(wrap(users), wrap(items)).equals(rec.predict(users, items))
    assert rec.unknown(wrap(users), wrap(items)) == (0, 0)


@pytest.mark.parametrize("users", [None, 1.5, [1.5], b"user 3", [None], True, [True], object(), [["user 3"]]])
def test_values_that_are_not_ids_are_rejected(rec: Recommender, numbered: Recommender, users: Any) -> None:
    for recommender in (rec, numbered):
        with pytest.raises(
            DataError, match=r"users must be an ID|is not an ID|IDs must be|not a known ID|the ID is missing"
        ):
            recommender.recommend(users)
        with pytest.raises(DataError):
            recommender.predict(users, users)


@pytest.mark.parametrize("id_", [None, 1.5, ["item 1"], b"item 1", np.array(["item 1"])])
def test_similar_takes_one_id(rec: Recommender, id_: Any) -> None:
    with pytest.raises(DataError, match=r"(item|user) must be an ID"):
        rec.similar_items(id_)
    with pytest.raises(DataError, match=r"(item|user) must be an ID"):
        rec.similar_users(id_)


def test_errors_for_unknown_ids_name_them_and_the_call_for_new_users(rec: Recommender, numbered: Recommender) -> None:
    advice = "for a new user, call for_history"
    for call, message in (
        (lambda: rec.recommend("zed"), f"^user 'zed' is not a known ID; {advice}"),
        (lambda: rec.recommend(["zed"]), f"^user 'zed' is not a known ID; {advice}"),
        (lambda: rec.recommend(["user 1", "zed", "amy"]), "^user 'zed' is not a known ID .2 of 3 are unknown.; for"),
        (lambda: rec.recommend(7), f"^user 7 is not a known ID; {advice}"),
        (lambda: numbered.recommend("07"), "^user '07' is not a known ID: known IDs are integers; did you mean 7"),
        (lambda: numbered.recommend(2**70), "does not fit into 64 bits"),
        (lambda: rec.recommend("\ud800"), "contains an unpaired surrogate"),
        (lambda: rec.recommend(""), "the ID is empty"),
        (lambda: rec.similar_items("zed"), "^item 'zed' is not a known ID"),
        (lambda: rec.similar_users("zed"), "^user 'zed' is not a known ID"),
        (lambda: rec.similar_users("\ud800"), "^user: the ID contains an unpaired surrogate"),
    ):
        with pytest.raises(CofactorError, match=message):
            call()


def test_ids_of_any_script_are_kept_apart(tmp_path: Path) -> None:
    users = [
        "Zoë",
        "Zoe\u0308",
        "山田",
        "\N{GRINNING FACE}",
        "a,b",
        " ana",
        "ana ",
        "ana",
        "ANA",
        "007",
        "7",
    ]
    items = ["é", "e\u0301", "\u200b", "Ω", "\uffff", "\U0010ffff"]
    pairs = [(user, item) for place, user in enumerate(users) for item in items[place % 3 :]]
    table = Interactions.from_columns(*zip(*pairs, strict=True), np.arange(len(pairs)) % 5 + 1.0)
    rec = Recommender.fit(ALS, table)
    rec.save(tmp_path / "Zoë \N{GRINNING FACE}.cofactor")
    loaded = Recommender.load(tmp_path / "Zoë \N{GRINNING FACE}.cofactor")
    assert loaded.users.all.to_list() == sorted(users)
    for user in users:
        top = loaded.recommend(user, n=10, exclude_seen=False)
        assert top["user"].unique().to_list() == [user]
        assert sorted(top["item"]) == sorted(items)
        assert top.equals(rec.recommend([user], n=10, exclude_seen=False))


# predicting


def test_predict_takes_one_pair_many_or_one_with_many(rec: Recommender) -> None:
    users, items = ["user 1", "user 2", "user 1"], ["item 5", "item 0", "item 3"]
    frame = rec.predict(users, items)
    assert frame.columns == ["user", "item", "prediction"]
    assert frame["user"].to_list() == users
    assert frame["item"].to_list() == items
    for row in frame.iter_rows():
        assert rec.predict(*row[:2]) == row[2]
    direct = rec.model.predict(UserBatch.trained(rec.users.rows(users), rec.histories), rec.items.rows(items))
    np.testing.assert_array_equal(frame["prediction"], direct)
    assert isinstance(rec.predict("user 1", "item 5"), float)
    assert rec.predict("user 1", items).equals(rec.predict(["user 1"] * 3, items))
    assert rec.predict(users, "item 3").equals(rec.predict(users, ["item 3"] * 3))
    assert rec.predict([], []).shape == (0, 3)
    with pytest.raises(DataError, match="users and items must have the same length; got 2 users and 3 items"):
        rec.predict(users[:2], items)


def test_predict_takes_numbers_of_numpy(numbered: Recommender) -> None:
    assert numbered.predict(np.int64(3), np.int32(105)) == numbered.predict(3, 105)
    assert len(numbered.predict(3, np.arange(100, 105))) == 5


def test_predict_uses_the_biases_of_known_ids_and_the_mean(rec: Recommender) -> None:
    rec = without_prior(rec)
    model, item = rec.model, rec.items.row("item 5")
    level = np.float32(model.mean) + model.item_bias[item]
    assert rec.predict("nobody", "item 5") == pytest.approx(np.clip(level, 1, 5), rel=1e-6)
    assert rec.predict("nobody", "nothing") == pytest.approx(model.mean, rel=1e-6)
    bias = model.user_bias[rec.users.row("user 1")]
    assert rec.predict("user 1", "nothing") == pytest.approx(np.clip(model.mean + bias, 1, 5), rel=1e-6)
    assert rec.unknown(["nobody", "user 1", "me"], ["nothing", "item 5", "item 5"]) == (2, 1)
    assert rec.unknown("nobody", "item 5") == (1, 0)
    assert rec.predict(1, "item 5") == rec.predict("nobody", "item 5")


# neighbors


def test_similar_items_and_users(rec: Recommender) -> None:
    near = rec.similar_items("item 4", n=6)
    assert near.columns == ["item", "rank", "score", "title"]
    assert "item 4" not in near["item"]
    assert near["score"].is_between(-1.00001, 1.00001).all()
    assert near["score"].is_sorted(descending=True)
    assert len(rec.similar_items("item 4", n=10_000)) == len(rec.items) - 1
    even = rec.similar_users("user 4", n=30)
    assert even.columns == ["user", "rank", "score"]
    assert np.mean([int(user.split()[1]) % 2 == 0 for user in even["user"]]) > 0.8  # the two tastes of the data


def test_a_model_without_vectors_has_no_neighbors(small_ratings: Interactions, small_events: Interactions) -> None:
    for recommender in (Recommender.fit(Bias(), small_ratings), Recommender.fit(Popularity(), small_events)):
        with pytest.raises(KindError, match="no vectors to compare"):
            recommender.similar_items("item 4")
        with pytest.raises(UnknownIdError, match="item 'nothing'"):
            recommender.similar_items("nothing")


# new users


def test_a_new_user_with_the_history_of_a_user_gets_the_same_list(rec: Recommender, of_events: Recommender) -> None:
    for recommender in (rec, of_events):
        for user in ("user 4", "user 15"):
            expected = recommender.recommend(user, n=8).drop("user")
            new = recommender.for_history(list(history_of(recommender, user).items())).recommend(n=8)
            assert new.columns == expected.columns
            assert new["item"].to_list() == expected["item"].to_list()
            np.testing.assert_allclose(new["score"], expected["score"], atol=1e-5)


def test_a_history_comes_as_pairs_as_a_mapping_or_as_items(rec: Recommender, of_events: Recommender) -> None:
    pairs = [("item 3", 5), ("item 0", 2)]
    expected = rec.for_history(pairs).recommend(n=4)
    assert not set(expected["item"]) & {"item 3", "item 0"}
    assert rec.for_history(dict(pairs)).recommend(n=4).equals(expected)
    assert rec.for_history(iter(pairs)).recommend(n=4).equals(expected)
    assert (
        rec.for_history([[item, np.float32(value)] for item, value in reversed(pairs)]).recommend(n=4).equals(expected)
    )
    taken = of_events.for_history(["item 3", "item 0"]).recommend(n=4)
    assert of_events.for_history(np.array(["item 0", "item 3"])).recommend(n=4).equals(taken)
    assert of_events.for_history([("item 0", 1), "item 3"]).recommend(n=4).equals(taken)
    assert not of_events.for_history([("item 0", 9), "item 3"]).recommend(n=4).equals(taken)


def test_a_dislike_of_a_new_user_lowers_similar_items(of_events: Recommender) -> None:
    similar = of_events.similar_items("item 4", n=1)["item"][0]
    liked, disliked = (
        of_events.for_history([("item 4", sign), ("item 3", 1)])
        .recommend(n=1000)
        .filter(pl.col("item") == similar)["score"][0]
        for sign in (5, -5)
    )
    assert liked > disliked


def test_nothing_of_a_new_user_is_stored(rec: Recommender) -> None:
    before = rec.recommend_all(3)
    rec.for_history([("item 3", 5)]).recommend(n=4)
    assert rec.recommend_all(3).equals(before)


def test_a_new_user_without_a_history_gets_a_full_list(rec: Recommender) -> None:
    rec = without_prior(rec)
    top = rec.for_history([]).recommend(n=5)
    level = np.argsort(-rec.model.item_bias, kind="stable")[:5]
    assert top["item"].to_list() == rec.items.ids(level).to_list()
    assert len(rec.for_history([]).recommend(n=3, candidates=["item 1", "item 2"])) == 2


@pytest.mark.parametrize(
    ("history", "message"),
    [
        ([("item 3", 5), ("nothing", 4)], "item 'nothing' is not known"),
        ([("item 3", 5), ("item 3", 4)], "item 'item 3' occurs twice"),
        (["item 3"], "must contain .item, rating. pairs: this model was trained on ratings"),
        ("item 3", "history must be a list"),
        (None, "history must be a list"),
        (5, "history must be a list"),
        ([("item 3", float("nan"))], "finite number"),
        ([("item 3", float("inf"))], "finite number"),
        ([("item 3", 1e39)], "finite number"),
        ([("item 3", "5")], "finite number"),
        ([("item 3", None)], "finite number"),
        ([("item 3", True)], "finite number"),
        ([("item 3", 5, 7)], r"\('item 3', 5, 7\) is not an .item, rating. pair"),
        ([("item 3",)], "is not an .item, rating. pair"),
        ([("item 3", 5), (3, 5)], "IDs must be all integers or all strings"),
        ([(None, 5)], "history: row 1: the ID is missing"),
    ],
)
def test_the_error_for_an_invalid_history_gives_the_reason(rec: Recommender, history: Any, message: str) -> None:
    with pytest.raises(CofactorError, match=message):
        rec.for_history(history).recommend()


# new ratings


def ratings(*rows: tuple[Any, Any, float], **rest: Any) -> Interactions:
    users, items, values = zip(*rows, strict=True)
    return Interactions.from_columns(users, items, values, **rest)


def test_updated_folds_in_changed_and_new_users_only(rec: Recommender) -> None:
    rec = without_prior(rec)
    old, new_item = next(iter(history_of(rec, "user 4"))), rec.recommend("user 4", n=1)["item"][0]
    new = ratings(("user 4", old, 1), ("user 4", new_item, 5), ("aaron", "item 3", 5), ("user 40a", "item 3", 1))
    before = table_of(rec)
    later = rec.updated(new)
    assert len(later.users) == len(rec.users) + 2
    assert later.users.all.is_sorted()
    assert history_of(later, "user 4") == {**history_of(rec, "user 4"), old: 1.0, new_item: 5.0}
    assert history_of(later, "aaron") == {"item 3": 5.0}
    untouched = rec.users.all.filter(rec.users.all != "user 4")
    assert same_rows(rec, later, untouched)
    assert not same_rows(rec, later, ["user 4"])
    for user in ("user 4", "aaron", "user 40a"):
        row = later.users.row(user)
        alone = rec.model.fold_in(later.histories.row(row))
        np.testing.assert_array_equal(later.model.user_factors[row], alone.user_factors[0])
        assert later.model.user_bias[row] == alone.user_bias[0]
        assert not set(later.recommend(user, n=50)["item"]) & set(history_of(later, user))
    assert later.recommend("aaron", n=4).drop("user").equals(rec.for_history([("item 3", 5)]).recommend(n=4))
    assert later.model.item_factors is rec.model.item_factors
    assert table_of(rec).equals(before)  # the old one is as it was
    assert later.recommend("user 7", n=4)["title"].to_list() == rec.recommend("user 7", n=4)["title"].to_list()
    assert later.user_table is not None
    ages = dict(later.user_table.iter_rows())
    assert list(ages) == later.users.all.to_list()
    assert ages["aaron"] is None
    assert ages["user 4"] == rec.users.row("user 4")
    assert later.support.sum() == rec.support.sum() + 3


@settings(max_examples=60, deadline=None)
@given(data=st.data(), kind=st.sampled_from(["ratings", "events"]), integers=st.booleans())
def test_histories_after_an_update_are_those_of_one_table_with_all_rows(
    data: st.DataObject, kind: Any, integers: bool
) -> None:
    pair = st.tuples(
        st.integers(0, 5), st.integers(0, 4), st.integers(1, 5), st.sampled_from([-2.0, -1.0, 0.5, 1.0, 2.0])
    )

    def drawn(weighted: bool, users: int) -> tuple[list[Any], list[Any], list[float], Any]:
        rows = [row for row in data.draw(st.lists(pair, min_size=1, max_size=12)) if row[0] < users] or [(0, 0, 3, 1.0)]
        ids = [[row[at] if integers else f"id {row[at]}" for row in rows] for at in (0, 1)]
        weights = [row[3] if kind == "events" else abs(row[3]) for row in rows] if weighted else [1.0] * len(rows)
        return *ids, [float(row[2]) for row in rows], weights

    every_item = [(0, item, 1, 1.0) for item in range(5)]
    first_weighted, then_weighted = data.draw(st.booleans()), data.draw(st.booleans())
    first, second = drawn(first_weighted, 4), drawn(then_weighted, 6)
    for at in range(4):
        first[at].extend((row[at] if integers or at > 1 else f"id {row[at]}") for row in every_item)
    estimator = Bias() if kind == "ratings" else Popularity()

    def table(columns: Any, weighted: bool) -> Interactions:
        scale = Scale.from_levels([1, 2, 3, 4, 5]) if kind == "ratings" else None
        return Interactions.from_columns(*columns[:3], kind=kind, weights=columns[3] if weighted else None, scale=scale)

    rec = Recommender.fit(estimator, table(first, first_weighted)).updated(table(second, then_weighted))
    together = Recommender.fit(estimator, table([a + b for a, b in zip(first, second, strict=True)], True))
    mine, theirs = table_of(rec), table_of(together)
    assert mine.drop("weight").equals(theirs.drop("weight"))
    np.testing.assert_allclose(mine["value"] * mine["weight"], theirs["value"] * theirs["weight"], atol=1e-5)


def test_a_dislike_cancels_a_like(of_events: Recommender) -> None:
    item = next(iter(history_of(of_events, "user 4")))
    dislike = ratings(("user 4", item, 1), kind="events").with_weights([-1.0])
    later = of_events.updated(dislike)
    history = later.histories.row(later.users.row("user 4"))
    assert history.weights is not None
    confidence = dict(zip(later.items.ids(history.columns), history.values * history.weights, strict=True))
    assert confidence[item] == 0
    assert all(c == 1 for other, c in confidence.items() if other != item)
    assert same_rows(of_events, later, of_events.users.all.filter(of_events.users.all != "user 4"))


def test_consecutive_updates_equal_one_update(rec: Recommender, of_events: Recommender) -> None:
    for recommender, kind in ((rec, "ratings"), (of_events, "events")):
        first: list[Any] = [("user 4", "item 9", 2), ("amy", "item 3", 5), ("amy", "item 4", 1)]
        second: list[Any] = [("amy", "item 3", 1), ("zoe", "item 3", 4), ("user 5", "item 30", 3)]
        twice = recommender.updated(ratings(*first, kind=kind)).updated(ratings(*second, kind=kind))
        once = recommender.updated(ratings(*first, *second, kind=kind))
        assert table_of(twice).equals(table_of(once))
        assert same_rows(twice, once, once.users.all)
        assert twice.recommend_all(5).equals(once.recommend_all(5))


@pytest.mark.parametrize("estimator", [Bias(), BiasedMF(factors=4, epochs=3), BiasedMF(factors=4, rating_range=None)])
def test_updated_works_for_every_rating_model(estimator: Any, small_ratings: Interactions) -> None:
    original = Recommender.fit(estimator, small_ratings)
    later = original.updated(ratings(("amy", "item 3", 5), ("amy", "item 4", 1)))
    assert np.isfinite(later.predict("amy", original.items.all)["prediction"].to_numpy()).all()
    assert later.predict("amy", "item 3") > later.predict("amy", "item 4")
    assert same_rows(original, later, original.users.all)


def test_ids_of_the_new_table_without_a_row_are_not_added(rec: Recommender) -> None:
    new = ratings(("amy", "item 3", 5), ("bob", "no such item", 4))
    later = rec.updated(new.select(new.values == 5))
    assert "amy" in later.users
    assert "bob" not in later.users
    nothing = rec.updated(new.select(new.values > 5))
    assert table_of(nothing).equals(table_of(rec))
    assert same_rows(rec, nothing, rec.users.all)


def test_the_error_for_an_invalid_update_gives_the_reason(rec: Recommender, numbered: Recommender) -> None:
    with pytest.raises(UnknownIdError, match="item 'brand new' is new: call with_items"):
        rec.updated(ratings(("amy", "brand new", 5)))
    with pytest.raises(UnknownIdError, match="item 'a' and 1 more are new: call with_items"):
        rec.updated(ratings(("amy", "a", 5), ("amy", "b", 5), ("amy", "item 3", 5)))
    with pytest.raises(KindError, match="was trained on ratings, but the table contains events"):
        rec.updated(ratings(("amy", "item 3", 1), kind="events"))
    with pytest.raises(DataError, match="integer IDs such as 0 and string IDs such as 'amy'"):
        numbered.updated(ratings(("amy", 100, 5)))
    with pytest.raises(UnknownIdError, match="item '0100' is new"):
        numbered.updated(ratings((1, "0100", 5)))
    fixed = replace(rec, model=object())
    with pytest.raises(KindError, match="cannot fold in"):
        fixed.updated(ratings(("amy", "item 3", 5)))


# files


@pytest.mark.parametrize("weighted", [False, True])
def test_a_loaded_recommender_does_all_that_the_saved_one_did(
    rec: Recommender, small_ratings: Interactions, tmp_path: Path, weighted: bool
) -> None:
    saved = Recommender.fit(ALS, small_ratings.with_weights(np.arange(1, len(small_ratings) + 1))) if weighted else rec
    path = tmp_path / "m.cofactor"
    saved.save(path)
    loaded = Recommender.load(path)
    assert repr(loaded) == repr(saved)
    assert loaded.estimator == saved.estimator
    assert (loaded.kind, loaded.model.scale, loaded.model.loss) == (saved.kind, saved.model.scale, saved.model.loss)
    assert loaded.recommend_all(5).equals(saved.recommend_all(5))
    assert loaded.similar_items("item 4").equals(saved.similar_items("item 4"))
    assert loaded.for_history([("item 3", 5)]).recommend().equals(saved.for_history([("item 3", 5)]).recommend())
    assert table_of(loaded).equals(table_of(saved))
    for table in ("user_table", "item_table"):
        mine, theirs = getattr(saved, table), getattr(loaded, table)
        assert (mine is None and theirs is None) or theirs.equals(mine)
    new = ratings(("user 4", "item 9", 2), ("amy", "item 3", 5))
    assert loaded.updated(new).recommend_all(5).equals(saved.updated(new).recommend_all(5))
    loaded.save(tmp_path / "again")
    Recommender.load(tmp_path / "again").save(tmp_path / "and again")
    assert (tmp_path / "and again").read_bytes() == (tmp_path / "again").read_bytes()
    loaded.updated(new).save(path)  # over the file it is mapped from
    assert table_of(loaded).equals(table_of(saved))
    assert "amy" in Recommender.load(path).users


def test_loaded_arrays_are_memory_mapped_and_read_only(rec: Recommender, tmp_path: Path) -> None:
    rec.save(tmp_path / "m")
    loaded = Recommender.load(tmp_path / "m")
    arrays = [*loaded.model.arrays().values(), loaded.histories.columns, loaded.users.text, loaded.items.offsets]
    for array in arrays:
        assert not array.flags.writeable
        while isinstance(array.base, np.ndarray):
            array = array.base
        assert isinstance(array, np.memmap)


def test_a_recommender_in_use_can_be_sent_to_another_process(rec: Recommender) -> None:
    used = rec.recommend("user 4", n=5)
    assert pickle.loads(pickle.dumps(rec)).recommend("user 4", n=5).equals(used)
    assert copy.deepcopy(rec).recommend("user 4", n=5).equals(used)


def test_a_model_put_together_by_hand_is_saved_too(tmp_path: Path) -> None:
    table = ratings((1, 1, 5), (1, 2, 3), (2, 2, 4))
    by_hand = replace(Recommender.fit(Bias(), table), estimator=None)
    by_hand.save(tmp_path / "m")
    loaded = Recommender.load(tmp_path / "m")
    assert loaded.estimator is None
    assert loaded.recommend_all(3).equals(by_hand.recommend_all(3))


def test_settings_that_are_tuples_come_back(small_ratings: Interactions, tmp_path: Path) -> None:
    estimator = BiasedMF(factors=2, epochs=1, rating_range=(0, 5.5))
    Recommender.fit(estimator, small_ratings).save(tmp_path / "m")
    loaded = Recommender.load(tmp_path / "m")
    assert loaded.estimator == estimator
    assert loaded.model.rating_range == (0.0, 5.5)


def test_files_of_another_kind_or_version_are_rejected(rec: Recommender, tmp_path: Path) -> None:
    path = tmp_path / "m"
    write_artifact(path, {"a": np.zeros(3)}, {"something": "else"})
    with pytest.raises(ArtifactError, match="lacks 'model': it was written by another version"):
        Recommender.load(path)
    rec.save(path)
    saved = read_artifact(path)

    def rewritten(**changes: Any) -> None:
        write_artifact(tmp_path / "changed", saved.arrays, {**saved.manifest, **changes})

    model, estimator = saved.manifest["model"], saved.manifest["estimator"]
    for change, message in (
        ({"model": {**model, "model_type": "hologram"}}, "lacks 'hologram'"),
        ({"model": {**model, "loss": {"type": "Hinge"}}}, "lacks 'Hinge'"),
        ({"estimator": {**estimator, "estimator": "magic"}}, "is not valid .*unknown model 'magic'"),
        ({"estimator": {**estimator, "dropout": 0.5}}, "is not valid .*dropout"),
        ({"estimator": {**estimator, "factors": -3}}, "is not valid .*factors must be"),
    ):
        rewritten(**change)
        with pytest.raises(ArtifactError, match=f"changed {message}"):
            Recommender.load(tmp_path / "changed")
    rewritten()
    assert Recommender.load(tmp_path / "changed").recommend_all(2).equals(rec.recommend_all(2))


# fitting


def test_an_initial_model_must_have_the_same_ids(rec: Recommender, small_ratings: Interactions) -> None:
    more = Recommender.fit(ALS, small_ratings, init_model=rec)
    assert not same_rows(rec, more, rec.users.all)
    with pytest.raises(DataError, match="init_model must have the same users and items"):
        Recommender.fit(ALS, ratings(("amy", "item 3", 5)), init_model=rec)


def test_values_that_are_not_estimators_are_rejected(small_ratings: Interactions) -> None:
    for what in ("bias", Bias, None):
        with pytest.raises(ParameterError, match="estimator must be an estimator instance, such as"):
            Recommender.fit(what, small_ratings)


def test_support_counts_the_rows_behind_each_item(rec: Recommender, small_ratings: Interactions) -> None:
    counts = small_ratings.frame()["item"].value_counts()
    assert dict(counts.iter_rows()) == dict(zip(rec.items.all, rec.support.tolist(), strict=True))


def test_rank_uses_row_numbers(rec: Recommender) -> None:
    rows, scores = rec.for_rows(np.array([3, 3], np.int32)).rank(4)
    assert rows.shape == scores.shape == (2, 4)
    assert rec.items.ids(rows[0]).to_list() == rec.recommend(rec.users.ids([3])[0], n=4)["item"].to_list()
    assert isinstance(rec.histories, SparseRows)


# the scale

OFF_SCALE = [99, -7, 1e30, 4.5, 0, 5.001]
RATING_ESTIMATORS = [
    Bias(),
    BiasedMF(factors=2, epochs=2),
    ExplicitALS(factors=2, epochs=2),
    BayesianMF(factors=2, iterations=4, burn_in=2),
    ItemKNN(),
    UserKNN(),
]


@pytest.mark.parametrize("estimator", RATING_ESTIMATORS, ids=lambda estimator: estimator.name)
@pytest.mark.parametrize("value", OFF_SCALE)
def test_a_rating_off_the_scale_is_rejected_wherever_it_comes_in(
    estimator: Any, value: float, numbered_ratings: Interactions
) -> None:
    rec = Recommender.fit(estimator, numbered_ratings)
    off = f"is {value:.7g}, which is not on the rating scale of 1 to 5 with levels 1, 2, 3, 4, 5".replace("+", r"\+")
    with pytest.raises(DataError, match=f"the rating of item 101 {off}"):
        rec.for_history([(100, 5), (101, value)]).recommend()
    with pytest.raises(DataError, match=f"the rating of item 101 {off}"):
        rec.for_history({101: np.float32(value)}).recommend()
    in_table = "ratings must be at most 1e\\+15" if value > 1e15 else f"the rating of user 77 and item 101 {off}"
    with pytest.raises(DataError, match=in_table):
        rec.updated(ratings((77, 100, 5), (77, 101, value)))


@pytest.mark.parametrize("value", OFF_SCALE)
def test_ratings_of_new_items_and_answers_to_questions_lie_on_the_scale(
    numbered_ratings: Interactions, value: float
) -> None:
    rec = Recommender.fit(ALS, numbered_ratings).with_priors()
    off = r"the rating of user 3 and item 900 is .* levels 1, 2, 3, 4, 5|ratings must be at most 1e\+15"
    with pytest.raises(DataError, match=off):
        rec.with_items(pl.DataFrame({"item": [900]}), ratings((3, 900, value)))
    questions, item = rec.for_history([]).questions(), rec.items.all[4]
    with pytest.raises(
        DataError, match=rf"the rating of item {item} is .* levels 1, 2, 3, 4, 5|ratings must be at most"
    ):
        questions.with_answer(item, value)
    questionnaire = questions.questionnaire
    with pytest.raises(DataError, match=r"the rating of item row 4 is .* levels 1, 2, 3, 4, 5"):
        questionnaire.with_answer(4, value)
    with pytest.raises(DataError, match=r"the rating of item row 4 is .* levels 1, 2, 3, 4, 5"):
        Questionnaire(questionnaire.population, (3, 4), (None, value))
    assert questionnaire.with_answer(4, 5.0).ratings[1].tolist() == [5.0]
    assert questions.with_answer(item, 5.0).ratings == {item: 5.0}


def test_a_rating_that_is_no_number_is_rejected(rec: Recommender) -> None:
    for value in (float("nan"), float("inf"), "5", None, True):
        with pytest.raises(DataError, match=r"is not an \(item, rating\) pair with a finite number"):
            rec.for_history([("item 3", value)]).recommend()  # type: ignore[list-item]


def test_the_scale_of_the_table_is_preserved(numbered_ratings: Interactions, tmp_path: Path) -> None:
    halves = Scale.from_levels([k / 2 for k in range(1, 11)])
    table = replace(numbered_ratings, scale=halves)
    rec = Recommender.fit(ALS, table).with_priors()
    rec.save(tmp_path / "m")
    loaded = Recommender.load(tmp_path / "m")
    later, wider = rec.updated(ratings((77, 100, 4.5))), rec.with_items(pl.DataFrame({"item": [900]}))
    for recommender in (rec, loaded, later, wider, loaded.updated(ratings((77, 100, 4.5)))):
        assert recommender.scale == halves
        assert len(recommender.for_history([(100, 4.5)]).recommend(n=3)) == 3
        with pytest.raises(DataError, match=r"is 4.7, .* levels 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5;"):
            recommender.for_history([(100, 4.7)]).recommend()


def test_a_scale_without_levels_takes_any_rating_within_its_range(numbered_ratings: Interactions) -> None:
    rng = np.random.default_rng(0)
    values = rng.random(len(numbered_ratings)).astype(np.float32) * 100
    table = Interactions.from_columns(numbered_ratings.u, numbered_ratings.i, values)
    rec = Recommender.fit(ALS, table)
    assert rec.scale is not None
    assert rec.scale.levels == ()
    assert len(rec.for_history([(0, float(values.max())), (1, 12.3456)]).recommend(n=2)) == 2
    with pytest.raises(DataError, match="is 101, which is not on the rating scale of"):
        rec.for_history([(0, 101)]).recommend()


def test_events_have_no_scale(of_events: Recommender, tmp_path: Path) -> None:
    of_events.save(tmp_path / "m")
    for recommender in (of_events, Recommender.load(tmp_path / "m")):
        assert recommender.scale is None
        assert len(recommender.for_history([("item 0", 99)]).recommend(n=3)) == 3
