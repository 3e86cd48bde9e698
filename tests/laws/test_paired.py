"""A ranker and a rating model in one recommender: each answers its question as it does alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from cofactor import Interactions, PairedModels, Recommender
from cofactor.data.ids import IdMap
from cofactor.data.scale import Scale
from cofactor.errors import DataError, KindError, ParameterError
from cofactor.estimators import REGISTRY, Estimator
from cofactor.estimators.training import Epoch
from cofactor.evaluate import compare, evaluate, score, split_random, split_users
from cofactor.evaluate.split import Exclude
from cofactor.models import FactorModel, PairedModel, UncertainPairedModel
from cofactor.models.paired import default_min_rating
from tests.support.estimators import small

RANKERS = [name for name, cls in REGISTRY.items() if cls.kind in ("events", "any")]
RATING_MODELS = [name for name, cls in REGISTRY.items() if cls.kind in ("ratings", "any") and name != "paired-models"]
PAIRS = [
    *((ranker, "biased-mf") for ranker in RANKERS),
    *(("implicit-als", rating_model) for rating_model in RATING_MODELS),
    ("sequential-item-knn", "bayesian-mf"),
]
LIST = ["user", "item", "rank", "score", "answered_by"]
MIN_RATING = 4
NEW = "new user"


@pytest.fixture(scope="module")
def timed_ratings(small_ratings: Interactions) -> Interactions:
    """Ratings with a time that is not in row order."""
    return replace(small_ratings, times=np.random.default_rng(3).permutation(len(small_ratings)).astype(np.int64))


def fitted(ranker: Estimator, rating_model: Estimator, ratings: Interactions) -> tuple[Recommender, ...]:
    """The pair, the ranker alone, and the rating model alone."""
    return (
        Recommender.fit(PairedModels(ranker, rating_model, MIN_RATING), ratings, seed=1),
        Recommender.fit(ranker, ratings.to_events(min_rating=MIN_RATING), seed=1),
        Recommender.fit(rating_model, ratings, seed=1),
    )


@pytest.fixture(scope="module", params=PAIRS, ids="+".join)
def models(request: pytest.FixtureRequest, timed_ratings: Interactions) -> tuple[Recommender, ...]:
    return fitted(small(request.param[0]), small(request.param[1]), timed_ratings)


def all_lists(rec: Recommender) -> pl.DataFrame:
    return rec.recommend_all(len(rec.items)).select(LIST)


def all_predictions(rec: Recommender) -> pl.Series:
    users, items = rec.users.all.to_list(), rec.items.all.to_list()
    frame: pl.DataFrame = rec.predict([user for user in users for _ in items], items * len(users))
    return frame["prediction"]


def new_ratings(ratings: Interactions) -> Interactions:
    """Liked and disliked ratings of items that the users have not rated, by known and new users."""
    users, items, rated = ratings.users.all, ratings.items.all, set(ratings.frame().select("user", "item").rows())
    rows = [(users[user], items[item], 1 + (user + item) % 5) for user in (0, 3) for item in range(12)]
    rows += [(NEW, items[2], 5), (NEW, items[3], 2), ("z", items[8], 1)]
    rows = [row for row in rows if row[:2] not in rated]
    return Interactions.from_columns(*zip(*rows, strict=True), times=range(10**6, 10**6 + len(rows)))


# each model as it is alone


def test_lists_are_those_of_the_ranker_alone(models: tuple[Recommender, ...]) -> None:
    both, ranker, _ = models
    assert all_lists(both).equals(all_lists(ranker))


def test_predictions_are_those_of_the_rating_model_alone(models: tuple[Recommender, ...]) -> None:
    both, _, rating_model = models
    assert all_predictions(both).equals(all_predictions(rating_model))
    assert both.predict(NEW, both.items.id_at(0)) == rating_model.predict(NEW, both.items.id_at(0))
    lists = both.recommend_all(5)
    assert lists["prediction"].equals(rating_model.predict(lists["user"], lists["item"])["prediction"])


def test_explanations_and_neighbors_are_those_of_the_ranker_alone(models: tuple[Recommender, ...]) -> None:
    both, ranker, _ = models
    user = both.users.id_at(5)
    item = both.recommend(user, n=1)["item"][0]
    for method in ("removal", "contribution"):
        terms = both.explain(user, item, method=method)
        columns = [name for name in ("part", "item", "user", "term", "effect") if name in terms.columns]
        assert terms.select(columns).equals(ranker.explain(user, item, method=method).select(columns))
    for method, id_ in (("similar_items", item), ("similar_users", user)):
        try:
            expected = getattr(ranker, method)(id_)
        except KindError:
            with pytest.raises(KindError, match="vectors"):
                getattr(both, method)(id_)
        else:
            assert getattr(both, method)(id_).equals(expected)


def test_the_history_in_an_explanation_has_the_ratings_of_the_user(timed_ratings: Interactions) -> None:
    both, *_ = fitted(small("item-knn"), small("bias"), timed_ratings)
    user = both.users.id_at(5)
    terms = both.explain(user, both.recommend(user, n=1)["item"][0])
    rated = dict(timed_ratings.frame().filter(pl.col("user") == user).select("item", "value").rows())
    assert len(terms)
    assert [rated[item] for item in terms["item"]] == terms["value"].to_list()
    assert min(terms["value"]) >= MIN_RATING


def test_new_users_get_both(models: tuple[Recommender, ...]) -> None:
    both, ranker, rating_model = models
    history = [(both.items.id_at(row), float(value)) for row, value in ((3, 5), (1, 2), (7, 4), (2, 1))]
    mine = both.for_history(history)
    seen = [item for item, value in history if value < MIN_RATING]
    alone = ranker.for_history([(item, 1.0) for item, value in history if value >= MIN_RATING])
    columns = [name for name in LIST if name != "user"]
    expected = alone.recommend(500, exclude=seen)
    assert mine.recommend(500).select(columns).equals(expected.select(columns))
    items = both.items.all.to_list()
    assert np.array_equal(mine.predict(items), rating_model.for_history(history).predict(items))
    assert both.for_history([]).predict(items[0]) == rating_model.for_history([]).predict(items[0])
    assert both.for_history([]).recommend(9).select(columns).equals(ranker.for_history([]).recommend(9).select(columns))


def test_updating_folds_into_both(models: tuple[Recommender, ...], timed_ratings: Interactions) -> None:
    both, ranker, rating_model = models
    new = new_ratings(timed_ratings)
    updated = both.updated(new)
    assert all_predictions(updated).equals(all_predictions(rating_model.updated(new)))
    merged = ranker.updated(new.to_events(min_rating=MIN_RATING))
    assert all_lists(updated).equals(all_lists(merged))
    seen = updated.recommend(NEW, n=500)["item"].to_list()
    assert not {timed_ratings.items.id_at(2), timed_ratings.items.id_at(3)} & set(seen)


def test_a_saved_pair_is_the_same_bit_for_bit(models: tuple[Recommender, ...], tmp_path: Path) -> None:
    both, *_ = models
    both = both.ensure_priors()
    both.save(tmp_path / "pair.cofactor")
    again = Recommender.load(tmp_path / "pair.cofactor")
    assert again.estimator == both.estimator
    assert again.model.settings() == both.model.settings()
    arrays, saved = both.model.arrays(), again.model.arrays()
    assert arrays.keys() == saved.keys()
    assert all(arrays[name].tobytes() == saved[name].tobytes() for name in arrays)
    assert all_lists(again).equals(all_lists(both))
    assert all_predictions(again).equals(all_predictions(both))
    again.save(tmp_path / "again.cofactor")
    assert (tmp_path / "again.cofactor").read_bytes() == (tmp_path / "pair.cofactor").read_bytes()


def test_users_can_be_removed(models: tuple[Recommender, ...]) -> None:
    both, _, rating_model = models
    users = IdMap.of(both.users.all[3:9])
    rows = both.users.rows(users.all)
    remaining = both.with_users(users, both.histories.take(rows))
    by_model = pl.col("answered_by") == "model"  # popularity changes with the users
    before = all_lists(both).filter(pl.col("user").is_in(users.all.implode()))
    assert all_lists(remaining).filter(by_model).equals(before.filter(by_model))
    expected = rating_model.with_users(users, rating_model.histories.take(rows))
    assert all_predictions(remaining).equals(all_predictions(expected))


# everything seen is excluded, and hits are liked ratings


def test_disliked_items_are_not_listed(models: tuple[Recommender, ...]) -> None:
    both, *_ = models
    listed = both.recommend_all(500).select("user", "item")
    assert len(listed) == len(both.users) * len(both.items) - len(both.histories.columns)


def test_support_counts_all_ratings(timed_ratings: Interactions) -> None:
    both, *_ = fitted(small("ease"), small("bias"), timed_ratings)
    counts = dict(timed_ratings.frame().group_by("item").len().rows())
    lists = both.recommend_all(10)
    assert [counts.get(item, 0) for item in lists["item"]] == lists["support"].to_list()
    assert lists.equals(both.recommend_all(10, min_support=1))
    assert min(both.recommend_all(10, min_support=20)["support"]) >= 20


@pytest.mark.parametrize("exclude", ["seen", "positives"])
def test_both_kinds_of_metrics_are_those_of_each_model_alone(timed_ratings: Interactions, exclude: Exclude) -> None:
    split = split_random(timed_ratings, test=0.2, seed=0)
    pair = PairedModels(small("implicit-als"), small("biased-mf"), MIN_RATING)
    evaluation = evaluate(pair, split, ks=[5, 10], exclude=exclude)
    mine, baseline = evaluation["paired-models"].metrics, evaluation["bias"].metrics
    assert set(baseline) == {"rmse", "mae"}
    np.testing.assert_array_equal(mine["rmse"], evaluate(small("biased-mf"), split)["biased-mf"].metrics["rmse"])
    events = replace(
        split,
        train=split.train.to_events(min_rating=MIN_RATING),
        test=split.test.to_events(min_rating=MIN_RATING),
    )
    ranker = Recommender.fit(small("implicit-als"), events.train)
    alone = score(ranker, events, label="alone", ks=[5, 10], exclude=exclude).metrics
    for name in ("ndcg@5", "ndcg@10", "recall@10", "coverage@10"):
        assert np.array_equal(mine[name], alone[name], equal_nan=True)
    if exclude == "positives":  # disliked items take places in the lists
        assert mine["ndcg@10"].mean < evaluate(pair, split)["paired-models"].metrics["ndcg@10"].mean
    compared = compare(pair, split, ks=[5, 10], exclude=exclude)
    scores = {model.score.label: model.score.metrics for model in compared.models}
    np.testing.assert_array_equal(scores["paired-models"]["ndcg@10"], mine["ndcg@10"])


def test_users_without_training_rows_are_evaluated(timed_ratings: Interactions) -> None:
    split = split_users(timed_ratings, test=0.2, seed=0)
    metrics = evaluate(PairedModels(small("ease"), small("bias"), MIN_RATING), split)["paired-models"].metrics
    assert 0 < metrics["ndcg@10"].mean < 1
    np.testing.assert_array_equal(metrics["rmse"], evaluate(small("bias"), split)["bias"].metrics["rmse"])


# which ratings are liked


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ((1, 2, 3, 4, 5), 4),
        (np.arange(1, 11) / 2, 4),
        (range(11), 8),
        (np.arange(1, 9) / 2, 3.5),
        ((0, 1), 1),
        ((3,), 3),
    ],
)
def test_the_default_is_the_lowest_level_in_the_upper_quarter(levels: Any, expected: float) -> None:
    scale = Scale.from_levels(list(levels))
    assert default_min_rating(scale) == expected
    for a, b in ((0.01, 0), (20, -50), (100, 3)):
        rescaled = Scale.from_levels([a * level + b for level in levels])
        assert default_min_rating(rescaled) in rescaled.levels
        assert default_min_rating(rescaled) == pytest.approx(a * expected + b)


def test_the_default_is_the_same_as_naming_it(timed_ratings: Interactions) -> None:
    pair = PairedModels(small("ease"), small("bias"))
    default = Recommender.fit(pair, timed_ratings)
    assert default.model.min_rating == 4.0  # type: ignore[attr-defined]
    assert all_lists(default).equals(all_lists(Recommender.fit(pair.set_params(min_rating=4), timed_ratings)))


# estimator


def test_estimators_are_nested_in_json() -> None:
    pair = PairedModels(small("ease"), small("bayesian-mf"), 3.5)
    assert Estimator.from_dict(pair.to_dict()) == pair
    assert pair.to_dict()["ranker"] == small("ease").to_dict()
    named = Estimator.from_dict({"estimator": "paired-models", "ranker": "ease"})
    assert named == PairedModels(REGISTRY["ease"]()) == PairedModels("ease")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ranker": REGISTRY["biased-mf"]()}, "ranker must be an estimator for events"),
        ({"rating_model": REGISTRY["implicit-als"]()}, "rating_model must be an estimator for ratings"),
        ({"rating_model": PairedModels()}, "rating_model must be an estimator for ratings"),
        ({"ranker": 5}, "ranker must be an estimator, such as"),
        ({"ranker": "eas"}, "did you mean ease"),
        ({"min_rating": float("nan")}, "min_rating must be a finite number"),
        ({"min_rating": "4"}, "min_rating"),
    ],
)
def test_invalid_parts_are_rejected(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        PairedModels(**arguments)


def test_an_unknown_part_is_rejected_with_a_suggestion() -> None:
    with pytest.raises(ParameterError, match="did you mean ease"):
        Estimator.from_dict({"estimator": "paired-models", "ranker": "eas"})


def test_a_table_without_liked_ratings_is_rejected(small_ratings: Interactions) -> None:
    with pytest.raises(DataError, match="no rating is at or above min_rating=6"):
        PairedModels(small("ease"), small("bias"), 6).fit(small_ratings)


def test_training_continues_and_stops_early_in_both(timed_ratings: Interactions) -> None:
    split = split_random(timed_ratings, test=0.2, seed=0)
    pair = PairedModels(small("implicit-als"), small("biased-mf"), MIN_RATING)
    epochs: list[Epoch] = []
    first = Recommender.fit(pair, split.train, validation=split.test, callback=epochs.append)
    assert [epoch.number for epoch in epochs] == [1, 2, 3, 1, 2, 3]
    assert all(epoch.validation is not None for epoch in epochs)
    again = Recommender.fit(pair, split.train, init_model=first)
    alone = Recommender.fit(pair.rating_model, split.train, init_model=replace(first, model=first.model.rating_model))  # type: ignore[attr-defined]
    assert all_predictions(again).equals(all_predictions(alone))
    assert not all_lists(again)["score"].equals(all_lists(first)["score"])
    with pytest.raises(ParameterError, match="init_model must be a PairedModel"):
        pair.fit(split.train, init_model=alone.model)


# model


def test_the_models_must_have_the_same_rows(small_ratings: Interactions) -> None:
    fewer = Interactions.from_columns([1, 2], [1, 2], [5, 4])
    with pytest.raises(DataError, match="same n_users"):
        PairedModel.of(small("ease").fit(small_ratings.to_events(min_rating=4)), small("bias").fit(fewer), 4)


def test_intervals_are_those_of_the_rating_model(timed_ratings: Interactions) -> None:
    both, _, rating_model = fitted(small("ease"), small("bayesian-mf"), timed_ratings)
    assert isinstance(both.model, UncertainPairedModel)
    user, items = both.users.id_at(3), both.items.all.to_list()
    assert np.array_equal(both.for_users(user).interval(items), rating_model.for_users(user).interval(items))
    with pytest.raises(KindError, match="distribution"):
        both.recommend(user, rank_by="lower")
    point, *_ = fitted(small("ease"), small("biased-mf"), timed_ratings)
    assert not isinstance(point.model, UncertainPairedModel)
    with pytest.raises(KindError, match="distributions"):
        point.for_users(user).interval(items)


def test_questions_are_those_of_the_rating_model(timed_ratings: Interactions) -> None:
    both, _, rating_model = fitted(small("ease"), small("biased-mf"), timed_ratings)
    assert both.for_history([]).questions().next_item() == rating_model.for_history([]).questions().next_item()


# priors and new items


def test_priors_are_those_of_each_model_alone(timed_ratings: Interactions) -> None:
    both, ranker, rating_model = (
        rec.ensure_priors() for rec in fitted(small("implicit-als"), small("biased-mf"), timed_ratings)
    )
    items = both.items.all.to_list()
    assert both.for_history([]).recommend(500)["item"].equals(ranker.for_history([]).recommend(500)["item"])
    assert np.array_equal(both.for_history([]).predict(items), rating_model.for_history([]).predict(items))
    assert both.predict(NEW, items[0]) == rating_model.predict(NEW, items[0])
    table = pl.DataFrame({"item": ["new 1", "new 2"]})
    users = both.users.all[:3].to_list()
    rows = [(users[0], "new 1", 5.0), (users[1], "new 1", 2.0), (users[2], "new 2", 4.0)]
    ratings = Interactions.from_columns(*zip(*rows, strict=True), scale=timed_ratings.scale)
    larger = both.with_items(table, ratings)
    assert isinstance(larger.model, PairedModel)
    assert all_predictions(larger).equals(all_predictions(rating_model.with_items(table, ratings)))
    assert all_lists(larger).equals(all_lists(ranker.with_items(table, ratings.to_events(min_rating=MIN_RATING))))


@pytest.mark.parametrize(("ranker", "rating_model"), [("ease", "biased-mf"), ("implicit-als", "bayesian-mf")])
def test_one_of_the_models_may_have_priors(ranker: str, rating_model: str, timed_ratings: Interactions) -> None:
    both, ranks, rates = (rec.ensure_priors() for rec in fitted(small(ranker), small(rating_model), timed_ratings))
    assert both.priors is not None
    items = both.items.all.to_list()
    assert np.array_equal(both.for_history([]).predict(items), rates.for_history([]).predict(items))
    assert both.predict(NEW, items[0]) == rates.predict(NEW, items[0])
    columns = [name for name in LIST if name != "user"]
    lists = [rec.for_history([]).recommend(500).select(columns) for rec in (both, ranks)]
    assert lists[0].equals(lists[1])
    with pytest.raises(KindError, match="item prior"):
        both.with_items(pl.DataFrame({"item": ["new 1"]}))


def test_a_single_rating_model_lists_its_predictions(timed_ratings: Interactions) -> None:
    rec = Recommender.fit(small("biased-mf"), timed_ratings)
    assert isinstance(rec.model, FactorModel)
    lists = rec.recommend_all(3)
    assert lists["prediction"].equals(rec.predict(lists["user"], lists["item"])["prediction"])


def test_a_model_of_events_lists_no_predictions(small_events: Interactions) -> None:
    lists = Recommender.fit(small("implicit-als"), small_events).recommend_all(3)
    assert lists["prediction"].dtype == pl.Float32
    assert lists["prediction"].null_count() == len(lists) > 0
