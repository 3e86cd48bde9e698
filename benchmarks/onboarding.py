"""Ten questions to a new user on MovieLens-100k: which choice of questions reduces the error most?

    python -m benchmarks.onboarding                       25 splits, writes benchmarks/onboarding.md
    python -m benchmarks.onboarding --seeds 1 --more 0    one split

In each split 200 users are held out; the model is fitted to the others. A random half of a held-out user's ratings is
for scoring, and its items are never asked; questions are answered from the other half, "don't know" if there is no
rating. The RMSE is over the rows of the scoring halves, with predictions clipped to the scale.

All strategies have the same predictor, `Questionnaire` with the answers, and differ only in their questions:

    questionnaire           `Questionnaire.acquisition`, as in `Questionnaire.next_item`
    popularity              the items with most ratings, in order
    popularity x entropy    support times the entropy of an item's ratings
    log popularity x entropy
    oracle                  `Questionnaire.variance_reductions` of the items that the user can answer

Bias: user and item averages, with the answers to the questionnaire. Gains are in percent of the other RMSE, with 95 %
intervals from paired resampling of users; over all splits, a user who was held out in several is resampled with all of
their rows. Settings were chosen on the splits of seeds 10 to 29. Seeds 0 to 4 are reported one by one; twenty more,
from 30 on, are reported together, because the interval of five splits is about as wide as the gain. All splits are of
the same 943 users.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import cofactor
from cofactor import Interactions, Recommender
from cofactor.cold_start import Questionnaire
from cofactor.kernels.sparse import SparseRows
from cofactor.metrics.intervals import paired_rmse_difference
from cofactor.models.user_batch import UserBatch

PAGE = Path(__file__).parent / "onboarding.md"
ESTIMATOR = cofactor.BayesianMF(factors=8, iterations=100, burn_in=30, kept_samples=16)
N_HELD_OUT, QUESTIONS, FIRST_EXTRA_SEED = 200, 10, 30
OURS, OTHERS, ORACLE = "questionnaire", ("popularity", "popularity x entropy", "log popularity x entropy"), "oracle"


@dataclass(frozen=True, eq=False)
class HeldOutUser:
    """A held-out user: the answers by item, and the items and ratings for scoring."""

    answers: dict[int, float]
    items: Any
    ratings: Any

    def error(self, predictions: Any) -> float:
        """Return the sum of squared errors of the scoring half."""
        return float(np.sum((np.clip(predictions[self.items], 1, 5) - self.ratings) ** 2))


@dataclass(frozen=True, eq=False)
class Split:
    """Results of a split.

    Attributes
    ----------
    errors : dict of str to ndarray of shape (questions + 1, n_users)
        Sums of squared errors after each question, by strategy.
    bias, counts, users : ndarray of shape (n_users,)
        Sum of squared errors of Bias, number of scored ratings, and row of each held-out user.
    n_rated : dict of str to float
        Mean number of questions answered by a rating, by strategy.
    """

    errors: dict[str, Any]
    bias: Any
    counts: Any
    users: Any
    n_rated: dict[str, float]


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


def ask(
    start: Questionnaire, user: HeldOutUser, scores: Callable[[Questionnaire], Any]
) -> tuple[Questionnaire, list[float]]:
    """Ask about the item of the best score ten times; return the answers and the errors after each of them."""
    questionnaire, errors = start, [user.error(start.predictions())]
    for _ in range(QUESTIONS):
        score = np.array(scores(questionnaire), np.float64)
        score[user.items] = score[list(questionnaire.items)] = -np.inf
        item = int(score.argmax())
        questionnaire = questionnaire.with_answer(item, user.answers.get(item))
        errors.append(user.error(questionnaire.predictions()))
    return questionnaire, errors


def one_split(table: Interactions, seed: int) -> Split:
    rng = np.random.default_rng(seed)
    held = np.sort(rng.choice(table.n_users, N_HELD_OUT, replace=False))
    train = table.select(~np.isin(table.u, held))
    users = held_out_users(table, held, rng)
    start = Questionnaire(Recommender.fit(ESTIMATOR, train, seed=0).catalog.population())
    support, entropies = train.by_item.counts, entropy(train)
    fixed = dict(zip(OTHERS, (support, support * entropies, np.log1p(support) * entropies), strict=True))
    errors: dict[str, Any] = {name: [] for name in (OURS, *OTHERS, ORACLE)}
    n_rated, ours = dict.fromkeys(errors, 0.0), []
    for user in users:
        has_answer = np.zeros(table.n_items)
        has_answer[list(user.answers)] = 1
        strategies: dict[str, Callable[[Questionnaire], Any]] = {OURS: Questionnaire.acquisition}
        strategies |= {name: lambda _, order=order: order for name, order in fixed.items()}
        strategies[ORACLE] = lambda now, has_answer=has_answer: now.variance_reductions() * has_answer
        for name, scores in strategies.items():
            questionnaire, curve = ask(start, user, scores)
            errors[name].append(curve)
            n_rated[name] += len(questionnaire.ratings[0]) / len(users)
            ours += [questionnaire.ratings] if name == OURS else []
    return Split(
        {name: np.array(curves).T for name, curves in errors.items()},
        np.array(bias_errors(train, users, ours)),
        np.array([len(user.items) for user in users]),
        held,
        n_rated,
    )


def bias_errors(train: Interactions, users: list[HeldOutUser], ratings: list[Any]) -> list[float]:
    """Return the errors of user and item averages with the same answers."""
    owner = np.repeat(np.arange(len(users)), [len(items) for items, _ in ratings])
    items, values = (np.concatenate([pair[at] for pair in ratings]) for at in (0, 1))
    histories = SparseRows.of(owner, items, values, len(users))
    model = Recommender.fit(cofactor.Bias(), train).model.fold_in(histories)
    scores = model.scores(UserBatch.folded(histories))
    return [user.error(row) for user, row in zip(users, scores, strict=True)]


# the page


def rmse(errors: Any, counts: Any) -> float:
    return float(np.sqrt(errors.sum() / counts.sum()))


def final_errors(split: Split, other: str) -> Any:
    """Return the sum of squared errors of each user after the last question of a strategy, or of Bias."""
    return split.bias if other == "Bias" else split.errors[other][-1]


def gain(splits: list[Split], other: str) -> str:
    """Return the reduction of the RMSE after the last question, in percent of the other RMSE, with its interval."""
    users = np.concatenate([s.users for s in splits])
    columns = (
        [s.errors[OURS][-1] for s in splits],
        [final_errors(s, other) for s in splits],
        [s.counts for s in splits],
    )
    ours, others, counts = (np.bincount(users, np.concatenate(column)) for column in columns)
    share = -100 / rmse(others, counts)
    difference = paired_rmse_difference(ours, others, counts)
    low, high = share * difference.high, share * difference.low
    return f"{share * difference.mean:+.2f} % ({low:+.2f} to {high:+.2f})"


def share_of_oracle(splits: list[Split]) -> float:
    """Return the gain over popularity as a share of the oracle's gain, over all rows."""
    ours, oracle, popular = (
        np.sqrt(sum(s.errors[name][-1].sum() for s in splits)) for name in (OURS, ORACLE, OTHERS[0])
    )
    return float((popular - ours) / (popular - oracle))


def head(splits: list[Split], more: list[Split]) -> list[str]:
    """Return the summary."""
    lines = []
    for group, seeds in (
        (splits, f"seeds 0 to {len(splits) - 1}"),
        (more, f"seeds {FIRST_EXTRA_SEED} to {FIRST_EXTRA_SEED + len(more) - 1}"),
    ):
        if group:
            gains = "; ".join(f"{gain(group, other)} over {other}" for other in (*OTHERS, "Bias"))
            lines += [
                f"- {seeds}: after {QUESTIONS} questions {gains}; {share_of_oracle(group):.0%} of the oracle's gain"
            ]
    return lines


def page(splits: list[Split], more: list[Split]) -> str:
    names, name = list(splits[0].errors), type(ESTIMATOR).__name__
    lines = [
        "# Ten questions to a new user",
        "",
        "Made by `python -m benchmarks.onboarding`: MovieLens-100k, predictions from",
        f"`{name}(factors={ESTIMATOR.factors}, iterations={ESTIMATOR.iterations})`. The script describes the method.",
        "",
        *head(splits, more),
        "",
        "| gain of the questionnaire over | " + " | ".join(f"seed {n}" for n in range(len(splits))) + " | mean |",
        "|-" * (len(splits) + 2) + "|",
    ]
    for other in (*OTHERS, "Bias"):
        mean = np.mean(
            [1 - rmse(s.errors[OURS][-1], s.counts) / rmse(final_errors(s, other), s.counts) for s in splits]
        )
        lines.append(f"| {other} | {' | '.join(gain([split], other) for split in splits)} | {100 * mean:+.2f} % |")
    shares = [f"{share_of_oracle([split]):.0%}" for split in splits] + [f"{share_of_oracle(splits):.0%}"]
    lines += [f"| share of the oracle's | {' | '.join(shares)} |", ""]
    lines += ["RMSE by number of questions, mean of these splits:", ""]
    lines += ["| questions | " + " | ".join(names) + " | Bias |", "|-" * (len(names) + 2) + "|"]
    for q in range(QUESTIONS + 1):
        cells = [f"{np.mean([rmse(s.errors[name][q], s.counts) for s in splits]):.4f}" for name in names]
        bias = f"{np.mean([rmse(s.bias, s.counts) for s in splits]):.4f}" if q == QUESTIONS else ""
        lines.append(f"| {q} | {' | '.join(cells)} | {bias} |")
    rated = [f"{np.mean([s.n_rated[name] for s in splits]):.2f}" for name in names]
    lines.append(f"| rated, of {QUESTIONS} | {' | '.join(rated)} | |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--more", type=int, default=20)
    arguments = parser.parse_args()
    table, splits = cofactor.datasets.load_movielens("100k"), []
    for seed in (*range(arguments.seeds), *range(FIRST_EXTRA_SEED, FIRST_EXTRA_SEED + arguments.more)):
        splits.append(one_split(table, seed))
        print(seed, *(f"over {other} {gain(splits[-1:], other)}" for other in (*OTHERS, "Bias")), flush=True)
    PAGE.write_text(page(splits[: arguments.seeds], splits[arguments.seeds :]))
    print(PAGE.read_text())


if __name__ == "__main__":
    main()
