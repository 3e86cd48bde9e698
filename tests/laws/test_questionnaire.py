"""Bernoulli mixture and questionnaire against textbook formulas, and questions by item id."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from cofactor import BPR, BayesianMF, Bias, BiasedMF, ExplicitALS, Interactions, Recommender
from cofactor.cold_start import Population, Questionnaire
from cofactor.cold_start.bernoulli_mixture import PSEUDO_COUNT, BernoulliMixture
from cofactor.data.scale import Scale
from cofactor.errors import DataError, KindError, ParameterError, UnknownIdError
from cofactor.kernels.sparse import SparseRows

ESTIMATORS = [
    BayesianMF(factors=4, iterations=20, burn_in=5, kept_samples=4),
    BiasedMF(factors=8),
    ExplicitALS(factors=8),
]


def population_of(recommender: Recommender, *, n_clusters: int = 80, seed: int = 0) -> Population:
    model, scale = recommender.model, recommender.scale
    return Population.of(model, recommender.histories, scale=scale, n_clusters=n_clusters, seed=seed)


def two_clusters(n: int = 100) -> Interactions:
    """Every other user has items 0 and 1; each user has three of the other eight items at random."""
    rng = np.random.default_rng(0)
    both = np.concatenate([np.stack([np.full(2, u), [0, 1]], axis=1) for u in range(0, n, 2)])
    others = np.concatenate([np.stack([np.full(3, u), 2 + rng.choice(8, 3, replace=False)], axis=1) for u in range(n)])
    pairs = np.concatenate([both, others])
    return Interactions.from_columns(pairs[:, 0], pairs[:, 1], rng.integers(1, 6, len(pairs)))


# Bernoulli mixture


def test_memberships_follow_bayes_rule() -> None:
    """Cluster 0 has a quarter of the users and item 0 with probability 0.8; item 0 is rated and item 1 is not."""
    probabilities = np.array([[0.8, 0.5, 0.9], [0.2, 0.25, 0.1]])
    mixture = BernoulliMixture(np.array([0.25, 0.75]), probabilities, np.zeros((0, 2)))
    first, second = 0.25 * 0.8 * (1 - 0.5), 0.75 * 0.2 * (1 - 0.25)
    expected = np.array([first, second]) / (first + second)
    np.testing.assert_allclose(mixture.memberships([0, 1], [True, False]), expected)
    np.testing.assert_allclose(mixture.memberships([], []), mixture.weights)


def test_a_single_cluster_has_the_item_shares_of_all_users() -> None:
    table = two_clusters()
    mixture = BernoulliMixture.of(table.by_user, table.n_items, n_clusters=1)
    counts = np.bincount(table.i, minlength=table.n_items)
    shares = (counts + 0.5) / (table.n_users + 1)
    expected = (counts + PSEUDO_COUNT * shares) / (table.n_users + PSEUDO_COUNT)
    np.testing.assert_allclose(mixture.item_probabilities[0], expected)
    np.testing.assert_allclose(mixture.responsibilities, 1)


def test_each_iteration_increases_the_posterior(small_ratings: Interactions, monkeypatch: pytest.MonkeyPatch) -> None:
    """Expectation-maximization never decreases the likelihood times the prior."""
    rows, counts = small_ratings.by_user, np.bincount(small_ratings.i, minlength=small_ratings.n_items)
    has = np.zeros((len(rows), small_ratings.n_items))
    has[small_ratings.u, small_ratings.i] = 1
    prior, values = PSEUDO_COUNT * (counts + 0.5) / (len(rows) + 1), []
    for iterations in range(1, 8):
        monkeypatch.setattr("cofactor.cold_start.bernoulli_mixture.ITERATIONS", iterations)
        mixture = BernoulliMixture.of(rows, small_ratings.n_items, n_clusters=6)
        p = mixture.item_probabilities
        log = np.log(mixture.weights) + has @ np.log(p).T + (1 - has) @ np.log1p(-p).T
        peak = log.max(axis=1)
        log_likelihood = np.sum(peak + np.log(np.exp(log - peak[:, None]).sum(axis=1)))
        log_prior = np.sum(prior * np.log(p) + (PSEUDO_COUNT - prior) * np.log1p(-p)) + np.log(mixture.weights).sum()
        values.append(log_likelihood + log_prior)
    assert (np.diff(values) >= -1e-6).all()
    assert values[-1] > values[0]


def test_clusters_of_users_are_recovered() -> None:
    table = two_clusters()
    mixture = BernoulliMixture.of(table.by_user, table.n_items, n_clusters=2)
    fans = mixture.responsibilities[::2].mean(axis=0).argmax()
    assert mixture.responsibilities[::2, fans].min() > 0.9
    assert mixture.responsibilities[1::2, fans].max() < 0.1
    assert mixture.weights.sum() == pytest.approx(1)
    np.testing.assert_allclose(mixture.responsibilities.sum(axis=1), 1)


@pytest.mark.parametrize("n_users", [0, 1, 2])
def test_a_mixture_of_hardly_any_users(n_users: int) -> None:
    entry = np.zeros(min(n_users, 1), np.int64)
    rows = SparseRows.of(entry, entry, np.ones(len(entry)), n_users)
    mixture = BernoulliMixture.of(rows, 2, n_clusters=5)
    assert ((mixture.item_probabilities > 0) & (mixture.item_probabilities < 1)).all()
    assert mixture.weights.sum() == pytest.approx(1)
    assert len(mixture.weights) == max(n_users, 1)


# questionnaire


@pytest.fixture(scope="module", params=ESTIMATORS, ids=lambda estimator: estimator.name)
def recommender(request: pytest.FixtureRequest, small_ratings: Interactions) -> Recommender:
    return Recommender.fit(request.param, small_ratings)


@pytest.fixture(scope="module")
def population(recommender: Recommender) -> Population:
    return population_of(recommender, n_clusters=6)


def test_the_posterior_is_that_of_bayesian_regression_with_the_mixture_as_prior(population: Population) -> None:
    questionnaire = Questionnaire(population).with_answer(3, 5.0).with_answer(7, None).with_answer(2, 1.0)
    w = population.mixture.weights.copy()
    p = population.mixture.item_probabilities
    for item, rated in ((3, True), (7, False), (2, True)):
        w *= p[:, item] if rated else 1 - p[:, item]
    w /= w.sum()
    m = sum(weight * mean for weight, mean in zip(w, population.means, strict=True))
    P = population.covariance + sum(
        weight * np.outer(mean - m, mean - m) for weight, mean in zip(w, population.means, strict=True)
    )
    f, t, v = population.features[[3, 2]], np.array([5.0, 1.0]), population.noise[[3, 2]]
    precision = np.linalg.inv(P) + (f.T / v) @ f
    shift = np.linalg.solve(P, m) + (f.T / v) @ (t - population.intercept[[3, 2]])
    np.testing.assert_allclose(questionnaire.item_probabilities, w @ p)
    np.testing.assert_allclose(questionnaire.prior[0], m, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(questionnaire.posterior[1], np.linalg.inv(precision), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(questionnaire.posterior[0], np.linalg.solve(precision, shift), rtol=1e-6, atol=1e-9)
    expected = population.intercept + population.features @ np.linalg.solve(precision, shift)
    np.testing.assert_allclose(questionnaire.predictions(), expected, rtol=1e-6)


def test_conditioning_in_blocks_gives_the_same_posterior(
    population: Population, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = tuple(range(20))
    answers = tuple(float(1 + item % 5) for item in items)
    together = Questionnaire(population, items, answers).posterior
    monkeypatch.setattr("cofactor.cold_start.questionnaire.BLOCK_SIZE", 7)
    for expected, blocks in zip(together, Questionnaire(population, items, answers).posterior, strict=True):
        np.testing.assert_allclose(blocks, expected, rtol=1e-6, atol=1e-9)


def test_without_answers_the_posterior_is_the_prior(population: Population) -> None:
    questionnaire = Questionnaire(population)
    np.testing.assert_allclose(questionnaire.memberships, population.mixture.weights)
    np.testing.assert_allclose(questionnaire.posterior[0], questionnaire.prior[0])
    np.testing.assert_allclose(questionnaire.posterior[1], questionnaire.prior[1])


def test_variance_reductions_are_differences_of_expected_variances(population: Population) -> None:
    questionnaire = Questionnaire(population).with_answer(0, 4.0)
    weight = questionnaire.item_probabilities / questionnaire.item_probabilities.sum()

    def variance(covariance: np.ndarray) -> float:
        return float(weight @ np.einsum("ij,jk,ik->i", population.features, covariance, population.features))

    C, reductions = questionnaire.posterior[1], questionnaire.variance_reductions()
    assert questionnaire.expected_variance() == pytest.approx(variance(C))
    for item in (1, 5, 30):
        f = population.features[item]
        after = C - np.outer(C @ f, C @ f) / (f @ C @ f + population.noise[item])
        assert reductions[item] == pytest.approx(variance(C) - variance(after), rel=1e-6)
    assert questionnaire.acquisition()[0] == 0
    np.testing.assert_allclose(questionnaire.acquisition()[1:], (reductions * questionnaire.item_probabilities)[1:])


def test_questions_do_not_repeat_and_depend_on_the_answers(population: Population) -> None:
    likes = unfamiliar = Questionnaire(population, min_reduction=0)
    for _ in range(6):
        for answer in (5.0, None):
            questionnaire = unfamiliar if answer is None else likes
            item = questionnaire.next_item()
            assert item is not None
            assert item not in questionnaire.items
            if answer is None:
                unfamiliar = questionnaire.with_answer(item, answer)
            else:
                likes = questionnaire.with_answer(item, answer)
    assert likes.items != unfamiliar.items
    assert Questionnaire(population, min_reduction=1.0).next_item() is None
    with pytest.raises(ParameterError, match="already answered"):
        likes.with_answer(likes.items[0], 3.0)
    with pytest.raises(ParameterError, match="item must be a row number from 0 to"):
        likes.with_answer(len(population.intercept), 3.0)
    with pytest.raises(ParameterError, match="rating must be a finite number, not nan"):
        unfamiliar.with_answer(next(i for i in range(99) if i not in unfamiliar.items), float("nan"))


def test_there_is_no_question_after_all_items(population: Population) -> None:
    n = len(population.intercept)
    answers = tuple(3.0 if item % 2 else None for item in range(n))
    questionnaire = replace(Questionnaire(population, min_reduction=0), items=tuple(range(n)), answers=answers)
    assert questionnaire.next_item() is None
    assert sorted(questionnaire.top_items(n)) == list(range(0, n, 2))
    assert np.isfinite(questionnaire.predictions()).all()


def test_an_item_makes_items_of_the_same_users_more_probable() -> None:
    before = Questionnaire(population_of(Recommender.fit(ExplicitALS(factors=2), two_clusters()), n_clusters=2))
    rated, unrated = before.with_answer(0, 4.0), before.with_answer(0, None)
    assert rated.item_probabilities[1] > 0.75 > before.item_probabilities[1] > 0.25 > unrated.item_probabilities[1]
    assert ((rated.item_probabilities > 0) & (rated.item_probabilities < 1)).all()
    assert abs(rated.item_probabilities[5] - before.item_probabilities[5]) < 0.15


def test_an_unknown_item_changes_the_predictions(population: Population) -> None:
    before = Questionnaire(population)
    after = before.with_answer(5, None)
    assert not np.allclose(after.predictions(), before.predictions(), atol=1e-4)
    assert not np.allclose(after.item_probabilities, before.item_probabilities, atol=1e-4)


def test_answers_reduce_the_error_of_predictions(population: Population, small_ratings: Interactions) -> None:
    """The answers are half of each user's ratings; the mean squared error of the other half falls."""
    before, after = [], []
    for u in range(0, 200, 10):
        own = small_ratings.by_user.row(u)
        answered, scored = slice(0, None, 2), slice(1, None, 2)
        questionnaire = Questionnaire(population)
        start = questionnaire.predictions()[own.columns[scored]]
        for item, value in zip(own.columns[answered], own.values[answered], strict=True):
            questionnaire = questionnaire.with_answer(int(item), float(value))
        end = questionnaire.predictions()[own.columns[scored]]
        before.append(np.mean((start - own.values[scored]) ** 2))
        after.append(np.mean((end - own.values[scored]) ** 2))
    assert np.mean(after) < 0.8 * np.mean(before)
    assert not np.isin(questionnaire.top_items(5), own.columns[answered]).any()


def test_the_seed_determines_the_clusters(recommender: Recommender) -> None:
    first, same, other = (population_of(recommender, n_clusters=6, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(Questionnaire(first).acquisition(), Questionnaire(same).acquisition())
    np.testing.assert_array_equal(first.means, same.means)
    assert not np.array_equal(first.mixture.item_probabilities, other.mixture.item_probabilities)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda estimator: estimator.name)
@pytest.mark.parametrize("rows", [[(0, 0, 3.0)], [(0, 0, 1.0), (0, 1, 5.0)], [(0, 0, 2.0), (1, 0, 4.0)]])
def test_one_user_or_one_item(estimator: object, rows: list[tuple[int, int, float]]) -> None:
    users, items, values = zip(*rows, strict=True)
    table = Interactions.from_columns(users, items, values, scale=Scale.from_levels([1, 2, 3, 4, 5]))
    questionnaire = Questionnaire(population_of(Recommender.fit(estimator, table)), min_reduction=0)
    for answer in (None, 4.0, 4.0):
        item = questionnaire.next_item()
        if item is None:
            break
        questionnaire = questionnaire.with_answer(item, answer)
        assert np.isfinite(questionnaire.predictions()).all()
    assert np.isfinite(questionnaire.item_probabilities).all()
    assert questionnaire.next_item() is None


@pytest.mark.parametrize("estimator", [BPR(epochs=1), Bias()], ids=["bpr", "bias"])
def test_a_questionnaire_needs_factors_of_ratings(
    estimator: object, small_ratings: Interactions, small_events: Interactions
) -> None:
    rec = Recommender.fit(estimator, small_ratings if isinstance(estimator, Bias) else small_events)
    with pytest.raises(KindError, match="rating factors"):
        population_of(rec)
    with pytest.raises(KindError, match="rating factors"):
        rec.for_history([]).questions()


def test_histories_must_be_those_of_the_model(recommender: Recommender) -> None:
    for histories in (recommender.histories.take([0, 1]), SparseRows.of([0], [10**6], [3.0], len(recommender.users))):
        with pytest.raises(DataError, match="histories must have"):
            Population.of(recommender.model, histories)


def sparse_ratings(seed: int, n_users: int = 120, n_items: int = 400) -> Interactions:
    """One or two ratings of random items for each user."""
    rng = np.random.default_rng(seed)
    pairs = np.unique(np.stack([np.repeat(np.arange(n_users), 2), rng.integers(0, n_items, 2 * n_users)], 1), axis=0)
    return Interactions.from_columns(pairs[:, 0], pairs[:, 1], rng.integers(1, 6, len(pairs)))


@pytest.mark.parametrize("seed", range(3))
def test_questions_are_popular_items_where_few_answers_are_expected(seed: int) -> None:
    table = sparse_ratings(seed)
    questionnaire = Questionnaire(population_of(Recommender.fit(BiasedMF(factors=2), table, seed=seed), n_clusters=6))
    assert questionnaire.population.asks_popular_items
    assert 0 < questionnaire.expected_answers(10) < 1
    order = np.argsort(-table.by_item.counts, kind="stable")
    for item in order[:5]:
        assert questionnaire.next_item() == item
        questionnaire = questionnaire.with_answer(int(item), None)
    rest = [int(item) for item in order[5:] if table.by_item.counts[item]]
    items = (*questionnaire.items, *rest)
    assert replace(questionnaire, items=items, answers=(None,) * len(items)).next_item() is None
    assert replace(questionnaire, items=items, answers=(None,) * len(items)).expected_answers(10) == 0


def test_the_expected_answers_are_those_of_users_of_the_mixture(population: Population) -> None:
    """Users are drawn from the mixture; they are asked about the same ten items."""
    assert not population.asks_popular_items
    start, rng = Questionnaire(population), np.random.default_rng(0)
    best_items = np.argsort(-start.acquisition(), kind="stable")[:10]
    clusters = rng.choice(len(population.mixture.weights), 20_000, p=population.mixture.weights)
    is_rated = rng.random((len(clusters), 10)) < population.mixture.item_probabilities[clusters][:, best_items]
    assert start.expected_answers(10) == pytest.approx(is_rated.sum(axis=1).mean(), abs=0.05)
    assert start.expected_answers(0) == 0
    with pytest.raises(ParameterError, match="n must be"):
        start.expected_answers(-1)


def test_the_list_without_answers_is_the_popular_list_and_answers_change_it(
    population: Population, small_ratings: Interactions
) -> None:
    start = Questionnaire(population)
    np.testing.assert_array_equal(start.top_items(20), np.argsort(-small_ratings.by_item.counts, kind="stable")[:20])
    item = start.next_item()
    assert item is not None
    likes, dislikes = (start.with_answer(item, rating) for rating in (5.0, 1.0))
    better = likes.predictions() > dislikes.predictions()
    assert better.any()
    assert (likes.relevance()[better] > dislikes.relevance()[better]).all()


# questions by item id


@pytest.fixture(scope="module")
def titled(small_ratings: Interactions) -> Recommender:
    """A recommender with text ids and titles."""
    table = Interactions.from_columns(small_ratings.u, [f"film {i}" for i in small_ratings.i], small_ratings.values)
    titles = pl.DataFrame({"item": table.items.all, "title": [f"Title of {id_}" for id_ in table.items.all]})
    return Recommender.fit(ExplicitALS(factors=4), table.with_item_table(titles))


def test_questions_by_id_are_those_of_the_questionnaire(titled: Recommender) -> None:
    questions, questionnaire = titled.for_history([]).questions(), Questionnaire(population_of(titled))
    for answer in (5.0, None, 2.0, None):
        item, row = questions.next_item(), questionnaire.next_item()
        assert row is not None
        assert item == titled.items.ids([row])[0]
        questions, questionnaire = questions.with_answer(item, answer), questionnaire.with_answer(row, answer)
        assert questions.expected_variance() == questionnaire.expected_variance()
    frame, rows = questions.recommend(n=7), questionnaire.top_items(7)
    assert frame.columns == ["item", "rank", "prediction", "title"]
    assert frame["item"].to_list() == titled.items.ids(rows).to_list()
    assert frame["title"].to_list() == [f"Title of {item}" for item in frame["item"]]
    assert frame["rank"].to_list() == list(range(1, 8))
    np.testing.assert_array_equal(frame["prediction"], np.clip(questionnaire.predictions()[rows], 1, 5))
    assert list(questions.ratings.values()) == [5.0, 2.0]
    assert not set(frame["item"]) & set(questions.ratings)


def test_the_history_of_a_view_counts_as_answers(titled: Recommender) -> None:
    start = titled.for_history([]).questions()
    history = {"film 7": 5.0, "film 3": 2.0}
    answered = start.with_answer("film 3", 2.0).with_answer("film 7", 5.0)
    view = titled.for_history(history).questions()
    assert view.ratings == history
    np.testing.assert_allclose(view.questionnaire.predictions(), answered.questionnaire.predictions())
    user = titled.users.all[0]
    user_questions = titled.for_users(user).questions()
    assert set(titled.items.rows(list(user_questions.ratings))) == set(titled.histories.row(0).columns)
    assert user_questions.next_item() not in user_questions.ratings
    assert user_questions.expected_variance() < start.expected_variance()


def test_the_population_is_learned_once_for_each_seed(titled: Recommender) -> None:
    first, second = (titled.for_history([]).questions() for _ in range(2))
    assert first.questionnaire.population is second.questionnaire.population
    other = titled.for_history([]).questions(seed=1).questionnaire.population
    assert not np.array_equal(other.means, first.questionnaire.population.means)


def test_wrong_answers_are_rejected_by_id(titled: Recommender) -> None:
    questions = titled.for_history([]).questions().with_answer("film 3", None)
    with pytest.raises(ParameterError, match="item 'film 3' was already answered"):
        questions.with_answer("film 3", 4.0)
    with pytest.raises(UnknownIdError, match="item 'film x' is not a known ID"):
        questions.with_answer("film x", 4.0)
    with pytest.raises(DataError, match="the rating of item 'film 7' is"):
        questions.with_answer("film 7", 4.5)
    with pytest.raises(ParameterError, match="this method requires a view of exactly one user; got 2"):
        titled.for_rows(np.int32([0, 1])).questions()
