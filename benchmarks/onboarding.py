"""Ten questions to a new user: errors after the answers, and the list of recommendations, on four tables of ratings.

    COFACTOR_DATA=folder python -m benchmarks.onboarding                    six splits of each, writes onboarding.md
    COFACTOR_DATA=folder python -m benchmarks.onboarding ml-100k --seeds 1  prints the results of one split

In each split up to 200 users with at least 4 ratings are held out (at most a third of them); the model is fitted to the
others. A random half of a held-out user's ratings is for scoring, and its items are never asked; questions are answered
from the other half, "don't know" if there is no rating. The RMSE is over the rows of the scoring halves, with
predictions clipped to the scale.

All strategies have the same predictor, `Questionnaire` with the answers, and differ only in their questions:

    questionnaire           `Questionnaire.question_values`, as in `Questionnaire.next_item`
    popularity              the items with most ratings, in order
    popularity x entropy    support times the entropy of an item's ratings
    log popularity x entropy
    oracle                  `Questionnaire.variance_reductions` of the items that the user can answer

The last three are computed for MovieLens-100k only. Lists: NDCG@10 of `Questionnaire.top_items` after the answers to
the questionnaire, and of the items with most ratings that the user has not rated in an answer. Relevant are items of
the scoring half that the user rated at least as high as the median rating of the table.

Gains are in percent of the other value, with 95 % intervals from paired resampling of users over all splits; a user who
was held out in several splits is resampled with all of their rows.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import cofactor
from benchmarks.fold_in import RATING_SETS, whole_table
from cofactor import Interactions, Recommender
from cofactor.cold_start import Questionnaire
from cofactor.metrics.intervals import bootstrap_interval, paired_rmse_difference

PAGE = Path(__file__).parent / "onboarding.md"
ESTIMATOR = cofactor.BayesianMF(factors=8, iterations=100, burn_in=30, kept_samples=16)
N_HELD_OUT, QUESTIONS, REPORTED = 200, 10, (1, 3, 5, 10)
OURS, OTHERS, ORACLE = "questionnaire", ("popularity", "popularity x entropy", "log popularity x entropy"), "oracle"
MOVIELENS = "ml-100k"


@dataclass(frozen=True, eq=False)
class HeldOutUser:
    """A held-out user: the answers by item, and the items and ratings for scoring."""

    answers: dict[int, float]
    items: Any
    ratings: Any

    def error(self, questionnaire: Questionnaire) -> float:
        """Return the sum of squared errors of the scoring half."""
        scale = questionnaire.population.scale
        assert scale is not None
        predictions = np.clip(questionnaire.predictions()[self.items], scale.low, scale.high)
        return float(np.sum((predictions - self.ratings) ** 2))

    def ndcg(self, items: Any, threshold: float) -> float:
        """Return NDCG@10 of a list; nan if no item of the scoring half has at least the rating `threshold`."""
        relevant = self.items[self.ratings >= threshold]
        discount = 1 / np.log2(np.arange(2, 12))
        hits = np.isin(items, relevant)
        return float(hits @ discount[: len(hits)] / discount[: len(relevant)].sum()) if len(relevant) else np.nan


@dataclass(frozen=True, eq=False)
class Split:
    """Results of a split.

    Attributes
    ----------
    errors : dict of str to ndarray of shape (questions + 1, n_users)
        Sums of squared errors after each question, by strategy.
    lists : dict of str to ndarray of shape (questions + 1, n_users)
        NDCG@10 of the list of the questionnaire and of the popular list, after each answer to the questionnaire.
    counts, users : ndarray of shape (n_users,)
        Number of scored ratings, and row of each held-out user.
    n_rated : dict of str to float
        Mean number of questions answered by a rating, by strategy.
    n_expected : float
        Number of answers by a rating that the questionnaire expects before the first question.
    """

    errors: dict[str, Any]
    lists: dict[str, Any]
    counts: Any
    users: Any
    n_rated: dict[str, float]
    n_expected: float


def held_out_users(table: Interactions, held: Any, rng: np.random.Generator) -> list[HeldOutUser]:
    users = []
    for user in held:
        row = table.by_user.row(int(user))
        order = rng.permutation(len(row.columns))
        answered, scored = order[: len(order) // 2], order[len(order) // 2 :]
        answers = dict(zip(row.columns[answered].tolist(), row.values[answered].tolist(), strict=True))
        users.append(HeldOutUser(answers, row.columns[scored], row.values[scored]))
    return users


def entropy(table: Interactions) -> Any:
    """Return the entropy of the ratings of each item: ndarray of shape (n_items,)."""
    _, level = np.unique(table.values, return_inverse=True)
    counts = np.zeros((table.n_items, level.max() + 1))
    np.add.at(counts, (table.i, level), 1)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return -np.sum(share * np.log(np.where(share > 0, share, 1)), axis=1)


def ask(start: Questionnaire, user: HeldOutUser, scores: Callable[[Questionnaire], Any]) -> list[Questionnaire]:
    """Ask about the item of the best score ten times; return the questionnaires before and after each answer."""
    states = [start]
    for _ in range(QUESTIONS):
        score = np.array(scores(states[-1]), np.float64)
        score[user.items] = score[list(states[-1].items)] = -np.inf
        item = int(score.argmax())
        states.append(states[-1].with_answer(item, user.answers.get(item)))
    return states


def popular_list(questionnaire: Questionnaire, support: Any) -> Any:
    """Return the ten items with most ratings that the user has not rated."""
    order = np.argsort(-support, kind="stable")
    return order[~np.isin(order, questionnaire.ratings[0])][:10]


def one_split(table: Interactions, seed: int, *, all_strategies: bool) -> Split:
    rng = np.random.default_rng(seed)
    eligible = np.flatnonzero(table.by_user.counts >= 4)
    held = np.sort(rng.choice(eligible, min(N_HELD_OUT, len(eligible) // 3), replace=False))
    train = table.select(~np.isin(table.u, held))
    users, threshold = held_out_users(table, held, rng), float(np.median(table.values))
    start = Questionnaire(Recommender.fit(ESTIMATOR, train, seed=0).catalog.population())
    support = train.by_item.counts
    fixed = {OTHERS[0]: support}
    if all_strategies:
        entropies = entropy(train)
        fixed |= dict(zip(OTHERS[1:], (support * entropies, np.log1p(support) * entropies), strict=True))
    names = (OURS, *fixed, ORACLE) if all_strategies else (OURS, *fixed)
    errors: dict[str, Any] = {name: [] for name in names}
    lists: dict[str, Any] = {name: [] for name in (OURS, OTHERS[0])}
    n_rated = dict.fromkeys(errors, 0.0)
    for user in users:
        has_answer = np.zeros(table.n_items)
        has_answer[list(user.answers)] = 1
        strategies: dict[str, Callable[[Questionnaire], Any]] = {OURS: Questionnaire.question_values}
        strategies |= {name: lambda _, order=order: order for name, order in fixed.items()}
        strategies[ORACLE] = lambda now, has_answer=has_answer: now.variance_reductions() * has_answer
        for name in names:
            states = ask(start, user, strategies[name])
            errors[name].append([user.error(state) for state in states])
            n_rated[name] += len(states[-1].ratings[0]) / len(users)
            if name == OURS:
                lists[OURS].append([user.ndcg(state.top_items(10), threshold) for state in states])
                lists[OTHERS[0]].append([user.ndcg(popular_list(state, support), threshold) for state in states])
    return Split(
        {name: np.array(curves).T for name, curves in errors.items()},
        {name: np.array(curves).T for name, curves in lists.items()},
        np.array([len(user.items) for user in users]),
        held,
        n_rated,
        start.expected_answers(QUESTIONS),
    )


# the page


def rmse(errors: Any, counts: Any) -> float:
    return float(np.sqrt(errors.sum() / counts.sum()))


def interval_text(mean: float, low: float, high: float) -> str:
    mean += 0.0  # -0.0 becomes 0.0
    return f"{mean:+.2f}" if np.isnan(low) else f"{mean:+.2f} ({low:+.2f} to {high:+.2f})"


def gain(splits: list[Split], other: str, question: int = QUESTIONS) -> str:
    """Return the reduction of the RMSE after some questions, in percent of the other RMSE, with its interval."""
    users = np.concatenate([s.users for s in splits])
    columns = [s.errors[OURS][question] for s in splits], [s.errors[other][question] for s in splits]
    ours, others, counts = (
        np.bincount(users, np.concatenate(column)) for column in (*columns, [s.counts for s in splits])
    )
    share = -100 / rmse(others, counts)
    difference = paired_rmse_difference(ours, others, counts)
    return interval_text(share * difference.mean, share * difference.high, share * difference.low)


def list_gain(splits: list[Split], question: int) -> str:
    """Return the difference of the NDCG@10 of both lists, in percent of that of the popular list, with its interval."""
    users = np.concatenate([s.users for s in splits])
    ours, popular = (np.concatenate([s.lists[name][question] for s in splits]) for name in (OURS, OTHERS[0]))
    has_value = np.isfinite(ours)
    sums = np.bincount(users[has_value], (ours - popular)[has_value])
    counts = np.bincount(users[has_value])
    interval = bootstrap_interval(sums / np.where(counts > 0, counts, np.nan))
    return interval_text(*(100 * value / float(np.nanmean(popular)) for value in interval))


def page(results: dict[str, list[Split]]) -> str:
    name = type(ESTIMATOR).__name__
    lines = [
        "# Ten questions to a new user",
        "",
        "Made by `python -m benchmarks.onboarding`, which describes the method: predictions from",
        f"`{name}(factors={ESTIMATOR.factors}, iterations={ESTIMATOR.iterations})`.",
        "",
        "## Questions",
        "",
        "Questions answered by a rating, of ten, and reduction of the RMSE compared with questions about the most",
        "popular items, in percent.",
        "",
        f"| data set | splits | expected | answered | popular | {' | '.join(f'gain after {q}' for q in REPORTED)} |",
        "|-" * (5 + len(REPORTED)) + "|",
    ]
    for data, splits in results.items():
        rated = [f"{np.mean([s.n_rated[who] for s in splits]):.2f}" for who in (OURS, OTHERS[0])]
        cells = [f"{np.mean([s.n_expected for s in splits]):.2f}", *rated]
        cells += [gain(splits, OTHERS[0], question) for question in REPORTED]
        lines.append(f"| {data} | {len(splits)} | {' | '.join(cells)} |")
    lines += [
        "",
        "Held-out users can answer about half of their ratings only, because the other half is for scoring.",
        "",
        "## Lists",
        "",
        "NDCG@10 of the list after so many answers, and in brackets the difference from the popular list, in percent.",
        "",
        f"| data set | {' | '.join(map(str, (0, *REPORTED)))} |",
        "|-" * (2 + len(REPORTED)) + "|",
    ]
    for data, splits in results.items():
        cells = []
        for question in (0, *REPORTED):
            value = np.nanmean(np.concatenate([s.lists[OURS][question] for s in splits]))
            cells.append(f"{value:.3f} [{list_gain(splits, question)}]")
        lines.append(f"| {data} | {' | '.join(cells)} |")
    if MOVIELENS in results:
        lines += movielens_part(results[MOVIELENS])
    return "\n".join([*lines, ""])


def movielens_part(splits: list[Split]) -> list[str]:
    """Return the gains over all strategies and the RMSE after each question, for MovieLens-100k."""
    names = list(splits[0].errors)
    lines = ["", "## All strategies on MovieLens-100k", ""]
    lines += [f"- gain over {other} after {QUESTIONS} questions: {gain(splits, other)} %" for other in OTHERS]
    ours, oracle, popular = (np.sqrt(sum(s.errors[who][-1].sum() for s in splits)) for who in (OURS, ORACLE, OTHERS[0]))
    lines += [f"- share of the oracle's gain over popularity: {(popular - ours) / (popular - oracle):.0%}", ""]
    lines += ["RMSE by number of questions, mean of the splits:", ""]
    lines += ["| questions | " + " | ".join(names) + " |", "|-" * (len(names) + 1) + "|"]
    for q in range(QUESTIONS + 1):
        cells = [f"{np.mean([rmse(s.errors[who][q], s.counts) for s in splits]):.4f}" for who in names]
        lines.append(f"| {q} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(RATING_SETS))
    parser.add_argument("--seeds", type=int, default=6)
    arguments = parser.parse_args()
    results: dict[str, list[Split]] = {}
    for name in arguments.names:
        table = whole_table(name)
        for seed in range(arguments.seeds):
            splits = results.setdefault(name, [])
            splits.append(one_split(table, seed, all_strategies=name == MOVIELENS))
            print(name, seed, gain(splits[-1:], OTHERS[0]), flush=True)
    text = page(results)
    if list(results) == list(RATING_SETS):
        PAGE.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
