"""Newcomers: kinds, prior and posterior against textbook formulas worked out anew, the questions against chance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cofactor import BPR, BayesianMF, Bias, BiasedMF, ExplicitALS, Interactions, Recommender
from cofactor.cold_start import Population, Questionnaire
from cofactor.cold_start.bernoulli_mixture import PSEUDO, BernoulliMixture
from cofactor.data.scale import Scale
from cofactor.errors import KindError, ParameterError
from cofactor.kernels.sparse import SparseRows

ESTIMATORS = [
    BayesianMF(factors=4, iterations=20, burn_in=5, kept_samples=4),
    BiasedMF(factors=8),
    ExplicitALS(factors=8),
]


def together(n: int = 100) -> Interactions:
    """Every other user has items 0 and 1; everybody has three of the other eight at random."""
    rng = np.random.default_rng(0)
    both = np.concatenate([np.stack([np.full(2, u), [0, 1]], axis=1) for u in range(0, n, 2)])
    others = np.concatenate([np.stack([np.full(3, u), 2 + rng.choice(8, 3, replace=False)], axis=1) for u in range(n)])
    pairs = np.concatenate([both, others])
    return Interactions.from_columns(pairs[:, 0], pairs[:, 1], rng.integers(1, 6, len(pairs)))


# who knows what


def test_kinds_follow_bayes_rule_on_a_table_worked_out_by_hand() -> None:
    """Kind 0 is a quarter of all and knows item 0 with 0.8; it was asked for 0, known, and 1, not known."""
    crowd = BernoulliMixture(np.array([0.25, 0.75]), np.array([[0.8, 0.5, 0.9], [0.2, 0.25, 0.1]]), np.zeros((0, 2)))
    first, second = 0.25 * 0.8 * (1 - 0.5), 0.75 * 0.2 * (1 - 0.25)
    np.testing.assert_allclose(crowd.like([0, 1], [True, False]), np.array([first, second]) / (first + second))
    np.testing.assert_allclose(crowd.like([], []), crowd.share)


def test_one_kind_is_everybody() -> None:
    table = together()
    crowd = BernoulliMixture.of(table.by_user, table.n_items, kinds=1)
    counts = np.bincount(table.i, minlength=table.n_items)
    known = (counts + 0.5) / (table.n_users + 1)
    np.testing.assert_allclose(crowd.knows[0], (counts + PSEUDO * known) / (table.n_users + PSEUDO))
    np.testing.assert_allclose(crowd.belonging, 1)


def test_each_pass_makes_the_histories_likelier(small_ratings: Interactions, monkeypatch: pytest.MonkeyPatch) -> None:
    """Expectation and maximization: the likelihood with its prior only rises."""
    rows, known = small_ratings.by_user, np.bincount(small_ratings.i, minlength=small_ratings.n_items)
    has = np.zeros((len(rows), small_ratings.n_items))
    has[small_ratings.u, small_ratings.i] = 1
    prior, reached = PSEUDO * (known + 0.5) / (len(rows) + 1), []
    for passes in range(1, 8):
        monkeypatch.setattr("cofactor.cold_start.bernoulli_mixture.PASSES", passes)
        crowd = BernoulliMixture.of(rows, small_ratings.n_items, kinds=6)
        log = np.log(crowd.share) + has @ np.log(crowd.knows).T + (1 - has) @ np.log1p(-crowd.knows).T
        peak = log.max(axis=1)
        likely = np.sum(peak + np.log(np.exp(log - peak[:, None]).sum(axis=1)))
        likely += np.sum(prior * np.log(crowd.knows) + (PSEUDO - prior) * np.log1p(-crowd.knows))
        reached.append(likely + np.log(crowd.share).sum())
    assert (np.diff(reached) >= -1e-6).all()
    assert reached[-1] > reached[0]


def test_kinds_are_told_apart() -> None:
    table = together()
    crowd = BernoulliMixture.of(table.by_user, table.n_items, kinds=2)
    fans = crowd.belonging[::2].mean(axis=0).argmax()
    assert crowd.belonging[::2, fans].min() > 0.9
    assert crowd.belonging[1::2, fans].max() < 0.1
    assert crowd.share.sum() == pytest.approx(1)
    np.testing.assert_allclose(crowd.belonging.sum(axis=1), 1)


@pytest.mark.parametrize("n_users", [0, 1, 2])
def test_hardly_any_users(n_users: int) -> None:
    one = np.zeros(min(n_users, 1), np.int64)
    rows = SparseRows.of(one, one, np.ones(len(one)), n_users)
    crowd = BernoulliMixture.of(rows, 2, kinds=5)
    assert ((crowd.knows > 0) & (crowd.knows < 1)).all()
    assert crowd.share.sum() == pytest.approx(1)
    assert len(crowd.share) == max(n_users, 1)


# the interview


@pytest.fixture(scope="module", params=ESTIMATORS, ids=lambda estimator: estimator.name)
def population(request: pytest.FixtureRequest, small_ratings: Interactions) -> Population:
    return Population.of(Recommender.fit(request.param, small_ratings), kinds=6)


def test_the_posterior_is_that_of_bayesian_regression_about_the_mixed_prior(population: Population) -> None:
    interview = Questionnaire(population).answered(3, 5.0).answered(7, None).answered(2, 1.0)
    w = population.crowd.share.copy()
    for item, known in ((3, True), (7, False), (2, True)):
        w *= population.crowd.knows[:, item] if known else 1 - population.crowd.knows[:, item]
    w /= w.sum()
    m = sum(part * mean for part, mean in zip(w, population.means, strict=True))
    P = population.covariance + sum(
        part * np.outer(mean - m, mean - m) for part, mean in zip(w, population.means, strict=True)
    )
    f, t, v = population.features[[3, 2]], np.array([5.0, 1.0]), population.noise[[3, 2]]
    precision = np.linalg.inv(P) + (f.T / v) @ f
    shift = np.linalg.solve(P, m) + (f.T / v) @ (t - population.level[[3, 2]])
    np.testing.assert_allclose(interview.chances, w @ population.crowd.knows)
    np.testing.assert_allclose(interview.prior[0], m, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(interview.posterior[1], np.linalg.inv(precision), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(interview.posterior[0], np.linalg.solve(precision, shift), rtol=1e-6, atol=1e-9)
    expected = population.level + population.features @ np.linalg.solve(precision, shift)
    np.testing.assert_allclose(interview.predictions(), expected, rtol=1e-6)


def test_without_an_answer_somebody_new_is_of_any_kind(population: Population) -> None:
    interview = Questionnaire(population)
    np.testing.assert_allclose(interview.kinds, population.crowd.share)
    np.testing.assert_allclose(interview.posterior[0], interview.prior[0])
    np.testing.assert_allclose(interview.posterior[1], interview.prior[1])


def test_a_gain_is_what_the_doubt_falls_by(population: Population) -> None:
    interview = Questionnaire(population).answered(0, 4.0)
    weight = interview.chances / interview.chances.sum()

    def doubt(covariance: np.ndarray) -> float:
        return float(weight @ np.einsum("ij,jk,ik->i", population.features, covariance, population.features))

    C = interview.posterior[1]
    assert interview.doubt() == pytest.approx(doubt(C))
    for item in (1, 5, 30):
        f = population.features[item]
        after = C - np.outer(C @ f, C @ f) / (f @ C @ f + population.noise[item])
        assert interview.gains()[item] == pytest.approx(doubt(C) - doubt(after), rel=1e-6)
    assert interview.worth()[0] == 0
    np.testing.assert_allclose(interview.worth()[1:], (interview.gains() * interview.chances)[1:])


def test_questions_are_different_adapt_and_end(population: Population) -> None:
    likes = dislikes = Questionnaire(population, stop=0)
    for _ in range(6):
        for answer in (5.0, None):
            interview = dislikes if answer is None else likes
            item = interview.next()
            assert item is not None
            assert item not in interview.asked
            if answer is None:
                dislikes = interview.answered(item, answer)
            else:
                likes = interview.answered(item, answer)
    assert likes.asked != dislikes.asked
    assert Questionnaire(population, stop=1.0).next() is None
    with pytest.raises(ParameterError, match="asked already"):
        likes.answered(likes.asked[0], 3.0)
    with pytest.raises(ParameterError, match="no item row"):
        likes.answered(len(population.level), 3.0)
    with pytest.raises(ParameterError, match="rating must be a finite number, not nan"):
        dislikes.answered(next(i for i in range(99) if i not in dislikes.asked), float("nan"))


def test_everything_asked_is_the_end(population: Population) -> None:
    n = len(population.level)
    answers = tuple(3.0 if item % 2 else None for item in range(n))
    interview = replace(Questionnaire(population, stop=0), asked=tuple(range(n)), answers=answers)
    assert interview.next() is None
    assert sorted(interview.best(n)) == list(range(0, n, 2))
    assert np.isfinite(interview.predictions()).all()


def test_who_knows_one_of_two_that_go_together_is_thought_to_know_the_other() -> None:
    before = Questionnaire(Population.of(Recommender.fit(ExplicitALS(factors=2), together()), kinds=2))
    after, never = before.answered(0, 4.0), before.answered(0, None)
    assert after.chances[1] > 0.75 > before.chances[1] > 0.25 > never.chances[1]
    assert ((after.chances > 0) & (after.chances < 1)).all()
    assert abs(after.chances[5] - before.chances[5]) < 0.15


def test_not_knowing_an_item_moves_what_is_expected(population: Population) -> None:
    before = Questionnaire(population)
    after = before.answered(5, None)
    assert not np.allclose(after.predictions(), before.predictions(), atol=1e-4)
    assert not np.allclose(after.chances, before.chances, atol=1e-4)


def test_answers_bring_predictions_nearer(population: Population, small_ratings: Interactions) -> None:
    """People whose answers are their own ratings: the mean error falls."""
    before, later = [], []
    for u in range(0, 200, 10):
        own = small_ratings.by_user.row(u)
        asked, scored = slice(0, None, 2), slice(1, None, 2)
        interview = Questionnaire(population)
        start = interview.predictions()[own.columns[scored]]
        for item, value in zip(own.columns[asked], own.values[asked], strict=True):
            interview = interview.answered(int(item), float(value))
        end = interview.predictions()[own.columns[scored]]
        before.append(np.mean((start - own.values[scored]) ** 2))
        later.append(np.mean((end - own.values[scored]) ** 2))
    assert np.mean(later) < 0.8 * np.mean(before)
    assert not np.isin(interview.best(5), own.columns[asked]).any()


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda estimator: estimator.name)
def test_the_same_seed_asks_the_same(estimator: object, small_ratings: Interactions) -> None:
    recommender = Recommender.fit(estimator, small_ratings)
    one, same, other = (Population.of(recommender, kinds=6, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(Questionnaire(one).worth(), Questionnaire(same).worth())
    np.testing.assert_array_equal(one.means, same.means)
    assert not np.array_equal(one.crowd.knows, other.crowd.knows)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda estimator: estimator.name)
@pytest.mark.parametrize("rows", [[(0, 0, 3.0)], [(0, 0, 1.0), (0, 1, 5.0)], [(0, 0, 2.0), (1, 0, 4.0)]])
def test_one_user_or_one_item(estimator: object, rows: list[tuple[int, int, float]]) -> None:
    users, items, values = zip(*rows, strict=True)
    table = Interactions.from_columns(users, items, values, scale=Scale.from_levels([1, 2, 3, 4, 5]))
    interview = Questionnaire(Population.of(Recommender.fit(estimator, table)), stop=0)
    for answer in (None, 4.0, 4.0):
        item = interview.next()
        if item is None:
            break
        interview = interview.answered(item, answer)
        assert np.isfinite(interview.predictions()).all()
    assert np.isfinite(interview.chances).all()
    assert interview.next() is None


@pytest.mark.parametrize("estimator", [BPR(epochs=1), Bias()], ids=["bpr", "bias"])
def test_an_interview_needs_factors_of_ratings(
    estimator: object, small_ratings: Interactions, small_events: Interactions
) -> None:
    with pytest.raises(KindError, match="factors of ratings"):
        Population.of(Recommender.fit(estimator, small_ratings if isinstance(estimator, Bias) else small_events))
