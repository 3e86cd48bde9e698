"""The feedback loop: laws, and small simulations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from cofactor import BayesianMF, Bias, BiasedMF, ImplicitALS, Interactions, Recommender
from cofactor.audit import (
    CAUTIOUS,
    PLAIN,
    Mitigation,
    Simulation,
    Tastes,
    UserBehavior,
    all_mitigations,
    average_summaries,
    growth_parts,
    item_categories,
    simulate,
)
from cofactor.datasets.synthetic import Synthetic, generate
from cofactor.datasets.synthetic_config import SyntheticConfig
from cofactor.errors import DataError, KindError, ParameterError
from cofactor.kernels.sparse import SparseRows
from cofactor.models.user_batch import UserBatch

SMALL = SyntheticConfig(n_users=60, n_items=80, n_ratings=900, genres=4, taste_std=0.6)
QUICK = BiasedMF(factors=4, epochs=4)
BAYES = BayesianMF(factors=3, iterations=8, burn_in=3, kept_samples=4)
COLUMNS = [
    *("mitigation", "round", "accuracy", "coverage", "gini", "diversity", "most_shown", "favorite", "active", "drift"),
]


@pytest.fixture(scope="module")
def synthetic() -> Synthetic:
    return generate(SMALL)


@pytest.fixture(scope="module")
def categories(synthetic: Synthetic) -> Any:
    return item_categories(synthetic.interactions.item_table, "genres")


@pytest.fixture(scope="module")
def plain(synthetic: Synthetic) -> Simulation:
    return simulate(QUICK, synthetic.interactions, tastes_of(synthetic), rounds=3, n=6, seed=1)


def tastes_of(synthetic: Synthetic) -> Tastes:
    expected = synthetic.expected(*np.indices((SMALL.n_users, SMALL.n_items)))
    return Tastes(expected, SMALL.noise_std, SMALL.rating_levels)


def named(mitigation: Mitigation) -> str:
    return mitigation.name


@pytest.mark.parametrize(
    "mitigation", [PLAIN, *all_mitigations("genres"), *all_mitigations()[-3:-1], CAUTIOUS], ids=named
)
def test_a_simulation_keeps_its_laws(mitigation: Mitigation, synthetic: Synthetic) -> None:
    views = np.where(np.arange(SMALL.n_users) < 5, 4, 1)
    estimator = BAYES if mitigation is CAUTIOUS else QUICK
    arguments: Any = {"mitigation": mitigation, "rounds": 3, "n": 6, "views": views, "seed": 1}
    runs = [simulate(estimator, synthetic.interactions, tastes_of(synthetic), **arguments) for _ in range(2)]
    run = runs[0]
    assert run.lists.tobytes() == runs[1].lists.tobytes()
    assert run.table.values.tobytes() == runs[1].table.values.tobytes()
    assert run.lists.shape == (3, SMALL.n_users, 6)
    assert run.mitigation == mitigation.name
    assert ((run.accuracy >= 0) & (run.accuracy <= 1 + 1e-9)).all()
    rated = set(zip(synthetic.interactions.u.tolist(), synthetic.interactions.i.tolist(), strict=True))
    for u, row in enumerate(run.lists[0].tolist()):
        assert len(set(row)) == 6
        assert not any((u, i) in rated for i in row)
    gained = np.bincount(run.table.u, minlength=SMALL.n_users) - synthetic.interactions.by_user.counts
    assert (gained >= 0).all()
    assert (gained <= 3 * views).all()
    assert gained.sum() > 0
    all_users, all_items = np.ones(SMALL.n_users, bool), np.ones(SMALL.n_items, bool)
    np.testing.assert_allclose(run.share(all_items, all_users), 1)


def test_mitigations_have_distinct_names() -> None:
    names = [mitigation.name for mitigation in (PLAIN, CAUTIOUS, *all_mitigations())]
    assert len(set(names)) == len(names)
    assert [mitigation.name for mitigation in all_mitigations("genres")] == [
        mitigation.name for mitigation in all_mitigations()
    ]


def test_only_a_distribution_can_be_cautious(synthetic: Synthetic) -> None:
    with pytest.raises(KindError, match="distribution"):
        simulate(QUICK, synthetic.interactions, tastes_of(synthetic), mitigation=CAUTIOUS, rounds=1)


def test_a_summary_has_a_row_for_each_round(plain: Simulation, categories: Any) -> None:
    frame = plain.summary(categories)
    assert frame.columns == COLUMNS
    assert frame["round"].to_list() == [1, 2, 3]
    assert set(frame["mitigation"]) == {"plain"}
    numbers = frame.select(COLUMNS[2:-1]).to_numpy()
    assert ((numbers >= 0) & (numbers <= 1)).all()
    np.testing.assert_allclose(frame["accuracy"], plain.accuracy.mean(axis=1))
    vstack = pl.concat([frame, replace(plain, mitigation="other").summary(categories)])
    assert vstack.group_by("mitigation").len()["len"].to_list() == [3, 3]


def test_a_summary_describes_the_lists(plain: Simulation, categories: Any) -> None:
    """Lists set by hand: round 1 has the favorite category of each user only, round 2 two categories in equal parts."""
    favorite = plain.tastes.favorites(categories)
    of_kind = [np.flatnonzero(categories[:, kind]) for kind in range(SMALL.genres)]
    first = np.stack([of_kind[kind][:6] for kind in favorite])
    second = np.stack([np.append(of_kind[kind][:3], of_kind[(kind + 1) % 4][:3]) for kind in favorite])
    fixed = replace(
        plain,
        lists=np.stack([first, second]).astype(np.int32),
        accuracy=plain.accuracy[:2],
        active=plain.active[:2],
    )
    frame = fixed.summary(categories)
    assert frame["favorite"].to_list() == [1.0, 0.5]
    assert frame["drift"].to_list() == [0.0, 0.5]
    np.testing.assert_allclose(frame["diversity"], [0, 9 / 15], atol=1e-12)  # of 15 pairs 9 are of two categories
    assert frame["most_shown"][0] == pytest.approx(np.bincount(favorite).max() / SMALL.n_users)
    few = fixed.summary(categories, users=np.arange(SMALL.n_users) == 0)
    assert few["coverage"].to_list() == [6 / SMALL.n_items] * 2
    assert few["most_shown"].to_list() == [1.0, 0.5]
    assert few["accuracy"].to_list() == plain.accuracy[:2, 0].tolist()


def test_a_summary_of_no_users_and_of_empty_lists(plain: Simulation, categories: Any) -> None:
    no_users = plain.summary(categories, users=np.zeros(SMALL.n_users, bool))
    assert np.isnan(no_users["accuracy"].to_numpy()).all()
    blank = replace(plain, lists=np.full_like(plain.lists, -1)).summary(categories)
    assert np.isnan(blank["diversity"].to_numpy()).all()
    assert blank["coverage"].to_list() == blank["most_shown"].to_list() == [0.0] * 3


def test_a_favorite_is_liked_most_on_average() -> None:
    tastes = Tastes(np.array([[5.0, 1.0, 4.0], [1.0, 5.0, 1.0]]), 1.0, (1.0, 5.0))
    categories = np.array([[1.0, 0, 0], [1.0, 0, 0], [0, 1.0, 0]])  # nothing is of the third kind
    assert tastes.favorites(categories).tolist() == [1, 0]


def test_tastes_of_a_model_are_its_predictions(synthetic: Synthetic) -> None:
    rec = Recommender.fit(Bias(), synthetic.interactions)
    tastes = Tastes.of(rec)
    u, i = (part.ravel().astype(np.int32) for part in np.indices((SMALL.n_users, SMALL.n_items)))
    np.testing.assert_array_equal(tastes.expected.ravel(), rec.model.predict(UserBatch.trained(u, rec.histories), i))
    table = synthetic.interactions
    errors = table.values - tastes.expected[table.u, table.i]
    assert tastes.noise_std == pytest.approx(np.sqrt(np.mean(errors**2)))
    assert tastes.levels == SMALL.rating_levels
    assert Tastes.of(rec, noise_std=0.0).noise_std == 0
    with pytest.raises(ParameterError, match="noise_std"):
        Tastes.of(rec, noise_std=-1)


def test_the_loop_runs_on_tastes_from_the_other_half(synthetic: Synthetic, categories: Any) -> None:
    half = np.random.default_rng(0).random(len(synthetic.interactions)) < 0.5
    tastes = Tastes.of(Recommender.fit(BiasedMF(factors=4), synthetic.interactions.select(half)))
    run = simulate(QUICK, synthetic.interactions.select(~half), tastes, rounds=2, n=5)
    assert len(run.table) > (~half).sum()
    assert set(run.table.values.tolist()) <= set(SMALL.rating_levels)
    assert run.summary(categories)["accuracy"].min() > 0.3


def test_tastes_of_ratings_without_levels_are_on_a_grid() -> None:
    values = np.random.default_rng(0).uniform(1, 5, 60)
    ratings = Interactions.from_columns(np.repeat(np.arange(6), 10), np.tile(np.arange(10), 6), values)
    levels = Tastes.of(Recommender.fit(Bias(), ratings)).levels
    assert len(levels) == 21
    assert (levels[0], levels[-1]) == pytest.approx((values.min(), values.max()))


def test_wrong_input_is_named(synthetic: Synthetic, small_events: Interactions) -> None:
    tastes = tastes_of(synthetic)
    with pytest.raises(KindError, match="ratings"):
        simulate(BiasedMF(), small_events, tastes)
    with pytest.raises(KindError, match="predicts ratings"):
        Tastes.of(Recommender.fit(ImplicitALS(factors=2), small_events))
    with pytest.raises(ParameterError, match="60 users and 80 items"):
        simulate(BiasedMF(), synthetic.interactions, Tastes(np.zeros((2, 2)), 1.0, (1.0, 2.0)))
    with pytest.raises(ParameterError, match="rounds"):
        simulate(BiasedMF(), synthetic.interactions, tastes, rounds=0)
    for views in ([1, 2], -1, 0.5, np.full(60, -1), "a"):
        with pytest.raises(ParameterError, match=r"views must be (an integer|60 integers) >= 0"):
            simulate(BiasedMF(), synthetic.interactions, tastes, views=views)  # type: ignore[arg-type]
    rec = Recommender.fit(Bias(), synthetic.interactions)
    no_rows = replace(rec, histories=SparseRows.empty(60))
    for noise_std in (None, 0.5):
        with pytest.raises(DataError, match="true preferences require a recommender with training rows"):
            Tastes.of(no_rows, noise_std=noise_std)


def test_acceptance_does_not_depend_on_the_scale(small_ratings: Interactions) -> None:
    """Stars from 0 to 100 are the stars from 1 to 5, stretched."""
    values = 25 * (small_ratings.values - 1)
    stretched = Interactions.from_columns(small_ratings.u, small_ratings.i, values)
    small_ratings = Interactions.from_columns(small_ratings.u, small_ratings.i, small_ratings.values)
    plain, other = (Tastes.of(Recommender.fit(Bias(), table)) for table in (small_ratings, stretched))
    pairs = np.arange(20), np.arange(20)
    assert plain.acceptance_probability(*pairs) == pytest.approx(other.acceptance_probability(*pairs), abs=0.02)


def test_a_control_differs_from_the_loop_after_round_1_only(synthetic: Synthetic, plain: Simulation) -> None:
    """Round 1 has the same lists, and users add the same number of items."""
    arguments: Any = {"n": 6, "seed": 1}
    control = simulate(QUICK, synthetic.interactions, tastes_of(synthetic), rounds=3, feedback=False, **arguments)
    np.testing.assert_array_equal(control.lists[0], plain.lists[0])
    assert (control.lists[1:] != plain.lists[1:]).any()
    after_one = [
        simulate(QUICK, synthetic.interactions, tastes_of(synthetic), rounds=1, feedback=feedback, **arguments).table
        for feedback in (True, False)
    ]
    np.testing.assert_array_equal(after_one[0].by_user.counts, after_one[1].by_user.counts)
    assert after_one[0].i.tolist() != after_one[1].i.tolist()
    parts = growth_parts(plain.accuracy.mean(axis=1)[None], control.accuracy.mean(axis=1)[None])
    assert parts["mean"][0] == pytest.approx(plain.accuracy[0].mean())
    assert parts["mean"][:3].sum() == pytest.approx(parts["mean"][3]) == pytest.approx(plain.accuracy[-1].mean())


def one_item_on_top() -> tuple[Interactions, Tastes]:
    """3,000 users who rated one of the items 0 and 1, where item 2 is the best for a model; all preferences are equal.

    Each user can still accept the items 2 to 9, of which the lists show item 2 first.
    """
    n_users, n_items = 3_000, 10
    u = np.arange(n_users)
    ratings = Interactions.from_columns(
        np.append(u, np.repeat(n_users, n_items)), np.append(u % 2, np.arange(n_items)),
        np.append(np.full(n_users, 3.0), [3, 3, 5, 4, 4, 4, 4, 4, 4, 4]),
    )  # fmt: skip
    return ratings, Tastes(np.full((n_users + 1, n_items), 20.0), 0.0, (1.0, 2.0, 3.0, 4.0, 5.0))


def test_choices_in_the_control_do_not_depend_on_the_lists() -> None:
    ratings, tastes = one_item_on_top()
    first_only = UserBehavior(position_bias=50.0)
    added = {}
    for feedback in (True, False):
        run = simulate(Bias(), ratings, tastes, behavior=first_only, feedback=feedback, rounds=1, n=5)
        added[feedback] = np.bincount(run.table.i, minlength=10) - np.bincount(ratings.i, minlength=10)
    assert added[True][2] == 3_000
    expected = np.array([1500 / 9] * 2 + [3000 / 9] * 8)  # each user has nine unseen items, with equal weights
    assert added[False].sum() == 3_000
    assert (np.abs(added[False] - expected) < 4.5 * np.sqrt(expected)).all()


def test_choices_in_the_control_follow_the_preferences() -> None:
    """Of two unseen items, with acceptance probabilities 0.9 and 0.3, the first is added by three of four users."""
    n_users = 4_000
    ratings = Interactions.from_columns([*range(n_users), 0, 0], [0] * n_users + [1, 2], [3.0] * (n_users + 2))
    log_odds = np.log(np.array([0.5, 0.9, 0.3]) / np.array([0.5, 0.1, 0.7]))
    tastes = Tastes(np.tile(log_odds, (n_users, 1)), 0.0, (1.0, 5.0), steepness=1.0, midpoint=0.0)
    run = simulate(Bias(), ratings, tastes, feedback=False, rounds=1, n=2)
    added = np.bincount(run.table.i, minlength=3) - np.bincount(ratings.i, minlength=3)
    assert added[1] / added[1:].sum() == pytest.approx(0.75, abs=4.5 * np.sqrt(0.75 * 0.25 / added.sum()))


def test_excess_is_the_share_above_that_of_the_ideal_lists(plain: Simulation, synthetic: Synthetic) -> None:
    items, users = synthetic.genre == 0, np.ones(SMALL.n_users, bool)
    preference = plain.tastes.acceptance_probability(*np.indices((SMALL.n_users, SMALL.n_items)))
    preference[synthetic.interactions.u, synthetic.interactions.i] = -1
    best = np.argsort(-preference, axis=1)[:, :6]
    np.testing.assert_array_equal(plain.ideal_lists[0], best)
    assert plain.excess(items, users)[0] == pytest.approx(items[plain.lists[0]].mean() - items[best].mean())
    ideal = replace(plain, lists=plain.ideal_lists)
    np.testing.assert_array_equal(ideal.excess(items, users), 0)
    sums = [plain.excess(synthetic.genre == genre, users) for genre in range(SMALL.genres)]
    np.testing.assert_allclose(np.sum(sums, axis=0), 0, atol=1e-12)


def test_a_list_of_ideal_items_ends_where_the_unseen_items_end() -> None:
    ratings = Interactions.from_columns([0, 0, 1], [0, 1, 2], [5.0, 4.0, 3.0])
    run = simulate(Bias(), ratings, Tastes(np.array([[5.0, 4, 3], [3, 4, 5]]), 0.5, (1.0, 5.0)), rounds=1, n=3)
    assert run.ideal_lists[0].tolist() == [[2, -1, -1], [1, 0, -1]]
    assert run.accuracy[0, 0] == pytest.approx(1)


def test_an_estimator_of_events_learns_from_likes_and_lists_only_unseen_items(synthetic: Synthetic) -> None:
    run = simulate(ImplicitALS(factors=3), synthetic.interactions, tastes_of(synthetic), rounds=2, n=6)
    rated = np.zeros((SMALL.n_users, SMALL.n_items), bool)
    rated[synthetic.interactions.u, synthetic.interactions.i] = True
    assert not np.take_along_axis(rated, run.lists[0], axis=1).any()
    assert run.table.kind == "ratings"
    likes = synthetic.interactions.to_events(min_rating=3.5)
    expected, _ = Recommender.fit(ImplicitALS(factors=3), likes, seed=0).for_rows(np.arange(SMALL.n_users)).rank(6)
    np.testing.assert_array_equal(run.lists[0], expected)


def test_position_bias_weights_the_ranks() -> None:
    """The first viewed position has weights rank^-position_bias."""
    n = 5
    for position_bias in (0.0, 1.0, 3.0):
        behavior = UserBehavior(position_bias=position_bias)
        u, positions = behavior.viewed_positions(np.full(20_000, 1), n, np.random.default_rng(0))
        weights = np.arange(1.0, n + 1) ** -position_bias
        assert u.tolist() == list(range(20_000))
        np.testing.assert_allclose(np.bincount(positions, minlength=n) / 20_000, weights / weights.sum(), atol=0.016)
    u, positions = UserBehavior().viewed_positions(np.array([9, 0, 3]), n, np.random.default_rng(0))
    assert np.bincount(u, minlength=3).tolist() == [5, 0, 3]
    assert sorted(positions[u == 0].tolist()) == [0, 1, 2, 3, 4]


def test_conformity_shifts_the_log_odds() -> None:
    preference = np.array([[0.2, 0.5, 0.9], [0.5, 0.5, 0.5]])
    support = np.array([0, 3, 80])
    logs = np.log1p(support)
    z = (logs - logs.mean()) / logs.std()
    changed = UserBehavior(conformity=0.7).acceptance_probability(preference, support)
    odds = [np.log(p / (1 - p)) for p in (preference, changed)]
    np.testing.assert_allclose(odds[1] - odds[0], np.tile(0.7 * z, (2, 1)))
    np.testing.assert_array_equal(UserBehavior().acceptance_probability(preference, support), preference)
    equal = UserBehavior(conformity=2.0).acceptance_probability(preference, [4, 4, 4])
    np.testing.assert_allclose(equal, preference)


def test_bored_users_leave_for_good(synthetic: Synthetic) -> None:
    n_rejected = np.repeat([0, 1, 3], 20_000)
    is_leaving = UserBehavior(boredom=0.3).leaves(n_rejected, np.random.default_rng(0)).reshape(3, -1)
    np.testing.assert_allclose(is_leaving.mean(axis=1), [0, 0.3, 1 - 0.7**3], atol=0.015)
    behavior = UserBehavior(boredom=1.0)
    run = simulate(QUICK, synthetic.interactions, tastes_of(synthetic), behavior=behavior, rounds=4, n=6, seed=1)
    assert run.active[0].all()
    assert (np.diff(run.active.astype(int), axis=0) <= 0).all()
    assert not run.active[-1].all()
    gained = np.bincount(run.table.u, minlength=SMALL.n_users) - synthetic.interactions.by_user.counts
    assert (gained <= run.active.sum(axis=0)).all()  # users leave at the first item that they do not accept
    assert (gained >= run.active.sum(axis=0) - 1).all()
    np.testing.assert_allclose(run.summary(np.ones((SMALL.n_items, 1)))["active"], run.active.mean(axis=1))


@pytest.mark.parametrize(
    "arguments", [{"position_bias": -1.0}, {"position_bias": 51.0}, {"conformity": float("nan")}, {"boredom": 1.5}]
)
def test_behavior_out_of_range_is_named(arguments: dict[str, float]) -> None:
    with pytest.raises(ParameterError, match=next(iter(arguments))):
        UserBehavior(**arguments)


def test_growth_is_split_for_each_run() -> None:
    loop, control = np.array([[0.1, 0.3, 0.5], [0.2, 0.4, 0.8]]), np.array([[0.1, 0.1, 0.2], [0.2, 0.2, 0.1]])
    parts = growth_parts(loop, control, last_rounds=2)
    np.testing.assert_allclose(parts["mean"], [0.15, 0.0, 0.35, 0.5], atol=1e-12)
    assert parts["part"].to_list() == ["round 1", "growth without feedback", "growth due to feedback", "last rounds"]
    half_width = 12.7062 * np.std([0.25, 0.45], ddof=1) / np.sqrt(2)
    np.testing.assert_allclose(parts.row(2)[2:], [0.35 - half_width, 0.35 + half_width], rtol=1e-5)
    assert np.isnan(growth_parts(loop[:1], control[:1])["low"].to_numpy()).all()
    for wrong in (control[:, :2], control[:1], control[0]):
        with pytest.raises(ParameterError, match="control"):
            growth_parts(loop, wrong)
    with pytest.raises(ParameterError, match="last_rounds"):
        growth_parts(loop, control, last_rounds=3)


def test_summaries_of_seeds_are_averaged(plain: Simulation, synthetic: Synthetic, categories: Any) -> None:
    other = simulate(QUICK, synthetic.interactions, tastes_of(synthetic), rounds=3, n=6, seed=2)
    frames = [run.summary(categories) for run in (plain, other)]
    average = average_summaries(frames)
    for name in COLUMNS[2:]:
        values = np.stack([frame[name].to_numpy() for frame in frames])
        np.testing.assert_allclose(average[name], values.mean(axis=0))
        half_width = 12.7062 * values.std(axis=0, ddof=1) / np.sqrt(2)
        np.testing.assert_allclose(average[f"{name}_high"] - average[name], half_width, rtol=1e-4, atol=1e-12)
        np.testing.assert_allclose(average[name] - average[f"{name}_low"], half_width, rtol=1e-4, atol=1e-12)
    for wrong in ([], [frames[0], frames[1].head(2)], [frames[0], frames[1].drop("gini")], [pl.DataFrame({"a": [1]})]):
        with pytest.raises(DataError, match="summaries must"):
            average_summaries(wrong)
