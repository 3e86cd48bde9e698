"""Newcomers: the prior and the posterior against textbook formulas, the questions against chance."""

from __future__ import annotations

import numpy as np
import pytest

from cofactor import BPR, BiasedMF, ExplicitALS, Interactions, Recommender
from cofactor.errors import KindError, ParameterError
from cofactor.newcomers import Interview, Population


@pytest.fixture(scope="module", params=[BiasedMF(factors=8), ExplicitALS(factors=8)], ids=["biased-mf", "explicit-als"])
def population(request: pytest.FixtureRequest, small_ratings: Interactions) -> Population:
    return Population.of(Recommender.fit(request.param, small_ratings))


def test_the_posterior_is_that_of_bayesian_regression(population: Population) -> None:
    interview = Interview(population).answered(3, 5.0).answered(7, None).answered(2, 1.0)
    mean, covariance = interview.posterior
    f, t = population.features[[3, 2]], np.array([5.0, 1.0]) - population.level[[3, 2]]
    precision = np.linalg.inv(population.covariance) + f.T @ f / population.noise
    shift = np.linalg.solve(population.covariance, population.mean) + f.T @ t / population.noise
    np.testing.assert_allclose(covariance, np.linalg.inv(precision), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(mean, np.linalg.solve(precision, shift), rtol=1e-6, atol=1e-9)


def test_without_an_answer_somebody_new_is_average(population: Population) -> None:
    interview = Interview(population)
    np.testing.assert_allclose(interview.posterior[0], population.mean)
    np.testing.assert_allclose(interview.posterior[1], population.covariance)
    np.testing.assert_allclose(interview.chances, population.known)


def test_a_gain_is_what_the_mean_variance_falls_by(population: Population) -> None:
    interview = Interview(population).answered(0, 4.0)
    weight = population.known / population.known.sum()

    def doubt(covariance: np.ndarray) -> float:
        return float(weight @ np.einsum("ij,jk,ik->i", population.features, covariance, population.features))

    for item in (1, 5, 30):
        after = doubt(interview.answered(item, 3.0).posterior[1])
        assert interview.gains()[item] == pytest.approx(doubt(interview.posterior[1]) - after, rel=1e-6)


def test_questions_are_different_adapt_and_end(population: Population) -> None:
    likes = dislikes = Interview(population, stop=0)
    for _ in range(6):
        for name, answer in (("likes", 5.0), ("dislikes", None)):
            interview = likes if name == "likes" else dislikes
            item = interview.next()
            assert item is not None
            assert item not in interview.asked
            after = interview.answered(item, answer)
            likes, dislikes = (after, dislikes) if name == "likes" else (likes, after)
    assert likes.asked != dislikes.asked
    assert len(set(likes.asked)) == 6
    assert Interview(population, stop=1.0).next() is None
    with pytest.raises(ParameterError, match="asked already"):
        likes.answered(likes.asked[0], 3.0)


def test_who_knows_one_of_two_that_go_together_is_thought_to_know_the_other() -> None:
    rng = np.random.default_rng(0)
    together = np.concatenate([np.stack([np.full(2, u), [0, 1]], axis=1) for u in range(0, 100, 2)])
    others = np.concatenate(
        [np.stack([np.full(3, u), 2 + rng.choice(8, 3, replace=False)], axis=1) for u in range(100)]
    )
    pairs = np.concatenate([together, others])
    table = Interactions.from_columns(pairs[:, 0], pairs[:, 1], rng.integers(1, 6, len(pairs)))
    before = Interview(Population.of(Recommender.fit(ExplicitALS(factors=2), table)))
    after, never = before.answered(0, 4.0), before.answered(0, None)
    assert after.chances[1] > before.chances[1] > never.chances[1]
    assert after.chances[1] > 0.75
    assert ((after.chances > 0) & (after.chances < 1)).all()
    assert abs(after.chances[5] - before.chances[5]) < 0.15


def test_answers_bring_predictions_nearer(population: Population, small_ratings: Interactions) -> None:
    """People whose answers are their own ratings: the mean error falls."""
    before, later = [], []
    for u in range(0, 200, 10):
        own = small_ratings.by_user.row(u)
        asked, scored = slice(0, None, 2), slice(1, None, 2)
        interview = Interview(population)
        start = interview.predictions()[own.columns[scored]]
        for item, value in zip(own.columns[asked], own.values[asked], strict=True):
            interview = interview.answered(int(item), float(value))
        end = interview.predictions()[own.columns[scored]]
        before.append(np.mean((start - own.values[scored]) ** 2))
        later.append(np.mean((end - own.values[scored]) ** 2))
    assert np.mean(later) < 0.8 * np.mean(before)
    assert not np.isin(interview.best(5), own.columns[asked]).any()


def test_an_interview_needs_factors_of_ratings(small_events: Interactions) -> None:
    with pytest.raises(KindError, match="factors of ratings"):
        Population.of(Recommender.fit(BPR(epochs=1), small_events))
