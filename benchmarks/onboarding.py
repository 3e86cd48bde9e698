"""Ten questions to somebody new on MovieLens-100k: which ones tell most?

    python benchmarks/onboarding.py                       25 splits, writes benchmarks/onboarding.md
    python benchmarks/onboarding.py --seeds 1 --more 0    one split

In each split 200 users are held out whole, everything is learned from the others. A random half of a held out user's
ratings is for scoring, and its items are never asked; questions are answered from the other half, "don't know" where
there is no rating. RMSE is over the scoring halves' rows, predictions clipped to the scale.

All contenders have one predictor, `Interview` given the answers, and differ in their questions alone:

    interview               `Interview.worth`, as `Interview.next` chooses
    popularity              the items of most ratings, in order
    popularity x entropy    support times the entropy of an item's ratings
    log popularity x entropy
    oracle                  `Interview.gains`, knowing which items each person can answer

Bias: user and item averages, given the interview's answers. Gains are in percent of the other's RMSE, with 95 %
intervals, paired, by drawing users; over all splits a person who was held out in several is drawn with all of that.
Settings were chosen on the splits of seeds 10 to 29. Seeds 0 to 4 are told one by one; twenty more, from 30 on, are
told together, since five splits leave an interval about as wide as the gain. All splits are of the same 943 people.
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
from cofactor.cold_start import Population, Questionnaire
from cofactor.kernels.sparse import SparseRows
from cofactor.metrics.intervals import paired_rmse_difference
from cofactor.models.user_batch import UserBatch

PAGE = Path(__file__).parent / "onboarding.md"
ESTIMATOR = cofactor.BayesianMF(factors=8, iterations=100, burn_in=30, kept_samples=16)
HELD, QUESTIONS, FRESH = 200, 10, 30
OURS, OTHERS, ORACLE = "interview", ("popularity", "popularity x entropy", "log popularity x entropy"), "oracle"


@dataclass(frozen=True, eq=False)
class Newcomer:
    """One held out user: what they can answer, and what predictions are scored on."""

    answers: dict[int, float]
    items: Any
    ratings: Any

    def error(self, predictions: Any) -> float:
        """Summed squared errors on the scoring half."""
        return float(np.sum((np.clip(predictions[self.items], 1, 5) - self.ratings) ** 2))


@dataclass(frozen=True, eq=False)
class Split:
    """errors[contender]: (questions + 1, users) summed squared errors. counts, users (users,). known[contender]."""

    errors: dict[str, Any]
    bias: Any
    counts: Any
    users: Any
    known: dict[str, float]


def newcomers(table: Interactions, held: Any, rng: np.random.Generator) -> list[Newcomer]:
    made = []
    for user in held:
        row = table.by_user.row(int(user))
        order = rng.permutation(len(row.columns))
        asked, scored = order[: len(order) // 2], order[len(order) // 2 :]
        answers = dict(zip(row.columns[asked].tolist(), row.values[asked].tolist(), strict=True))
        made.append(Newcomer(answers, row.columns[scored], row.values[scored]))
    return made


def entropy(table: Interactions) -> Any:
    """Of each item's ratings: (n_items,)."""
    _, level = np.unique(table.values, return_inverse=True)
    counts = np.zeros((table.n_items, level.max() + 1))
    np.add.at(counts, (table.i, level), 1)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return -np.sum(share * np.log(np.where(share > 0, share, 1)), axis=1)


def interviewed(
    start: Questionnaire, person: Newcomer, scores: Callable[[Questionnaire], Any]
) -> tuple[Questionnaire, list[float]]:
    """Ten times the item of the best score that may be asked; the errors after each answer."""
    interview, errors = start, [person.error(start.predictions())]
    for _ in range(QUESTIONS):
        score = np.array(scores(interview), np.float64)
        score[person.items] = score[list(interview.asked)] = -np.inf
        item = int(score.argmax())
        interview = interview.answered(item, person.answers.get(item))
        errors.append(person.error(interview.predictions()))
    return interview, errors


def one_split(table: Interactions, seed: int) -> Split:
    rng = np.random.default_rng(seed)
    held = np.sort(rng.choice(table.n_users, HELD, replace=False))
    train = table.select(~np.isin(table.u, held))
    people = newcomers(table, held, rng)
    start = Questionnaire(Population.of(Recommender.fit(ESTIMATOR, train, seed=0)))
    support, disorder = train.by_item.counts, entropy(train)
    fixed = dict(zip(OTHERS, (support, support * disorder, np.log1p(support) * disorder), strict=True))
    errors: dict[str, Any] = {name: [] for name in (OURS, *OTHERS, ORACLE)}
    known, ours = dict.fromkeys(errors, 0.0), []
    for person in people:
        can = np.zeros(table.n_items)
        can[list(person.answers)] = 1
        asks: dict[str, Callable[[Questionnaire], Any]] = {OURS: Questionnaire.worth}
        asks |= {name: lambda _, order=order: order for name, order in fixed.items()}
        asks[ORACLE] = lambda interview, can=can: interview.gains() * can
        for name, scores in asks.items():
            interview, curve = interviewed(start, person, scores)
            errors[name].append(curve)
            known[name] += len(interview.known[0]) / len(people)
            ours += [interview.known] if name == OURS else []
    return Split(
        {name: np.array(curves).T for name, curves in errors.items()},
        np.array(bias_errors(train, people, ours)),
        np.array([len(person.items) for person in people]),
        held,
        known,
    )


def bias_errors(train: Interactions, people: list[Newcomer], known: list[Any]) -> list[float]:
    """Of user and item averages, given the same answers."""
    owner = np.repeat(np.arange(len(people)), [len(items) for items, _ in known])
    items, values = (np.concatenate([pair[at] for pair in known]) for at in (0, 1))
    given = SparseRows.of(owner, items, values, len(people))
    model = Recommender.fit(cofactor.Bias(), train).model.fold_in(given)
    scores = model.scores(UserBatch.of(np.arange(len(people), dtype=np.int32), given))
    return [person.error(row) for person, row in zip(people, scores, strict=True)]


# the page


def rmse(errors: Any, counts: Any) -> float:
    return float(np.sqrt(errors.sum() / counts.sum()))


def theirs(split: Split, other: str) -> Any:
    """Another's summed squared errors after the last question: (users,)."""
    return split.bias if other == "Bias" else split.errors[other][-1]


def gain(splits: list[Split], other: str) -> str:
    """By how much ours has a smaller RMSE after the last question, in percent of the other's, with its interval."""
    users = np.concatenate([s.users for s in splits])
    columns = (
        [s.errors[OURS][-1] for s in splits],
        [theirs(s, other) for s in splits],
        [s.counts for s in splits],
    )
    ours, others, counts = (np.bincount(users, np.concatenate(column)) for column in columns)
    share = -100 / rmse(others, counts)
    found = paired_rmse_difference(ours, others, counts)
    return f"{share * found.mean:+.2f} % ({share * found.high:+.2f} to {share * found.low:+.2f})"


def of_oracle(splits: list[Split]) -> float:
    """Our gain over popularity as a share of the oracle's, all rows together."""
    ours, oracle, popular = (
        np.sqrt(sum(s.errors[name][-1].sum() for s in splits)) for name in (OURS, ORACLE, OTHERS[0])
    )
    return float((popular - ours) / (popular - oracle))


def head(splits: list[Split], more: list[Split]) -> list[str]:
    """What came out, in a few lines."""
    lines = []
    for several, which in (
        (splits, f"seeds 0 to {len(splits) - 1}"),
        (more, f"seeds {FRESH} to {FRESH + len(more) - 1}"),
    ):
        if several:
            gains = "; ".join(f"{gain(several, other)} over {other}" for other in (*OTHERS, "Bias"))
            lines += [f"- {which}: after {QUESTIONS} questions {gains}; {of_oracle(several):.0%} of the oracle's gain"]
    return lines


def page(splits: list[Split], more: list[Split]) -> str:
    names, name = list(splits[0].errors), type(ESTIMATOR).__name__
    lines = [
        "# Ten questions to somebody new",
        "",
        "Made by `python benchmarks/onboarding.py`: MovieLens-100k, predictions from",
        f"`{name}(factors={ESTIMATOR.factors}, sweeps={ESTIMATOR.sweeps})`. What is measured is told in the script.",
        "",
        *head(splits, more),
        "",
        "| gain of the interview over | " + " | ".join(f"seed {n}" for n in range(len(splits))) + " | mean |",
        "|-" * (len(splits) + 2) + "|",
    ]
    for other in (*OTHERS, "Bias"):
        mean = np.mean([1 - rmse(s.errors[OURS][-1], s.counts) / rmse(theirs(s, other), s.counts) for s in splits])
        lines.append(f"| {other} | {' | '.join(gain([split], other) for split in splits)} | {100 * mean:+.2f} % |")
    shares = [f"{of_oracle([split]):.0%}" for split in splits] + [f"{of_oracle(splits):.0%}"]
    lines += [f"| share of the oracle's | {' | '.join(shares)} |", ""]
    lines += ["RMSE after so many questions, mean of these splits:", ""]
    lines += ["| questions | " + " | ".join(names) + " | Bias |", "|-" * (len(names) + 2) + "|"]
    for q in range(QUESTIONS + 1):
        cells = [f"{np.mean([rmse(s.errors[name][q], s.counts) for s in splits]):.4f}" for name in names]
        bias = f"{np.mean([rmse(s.bias, s.counts) for s in splits]):.4f}" if q == QUESTIONS else ""
        lines.append(f"| {q} | {' | '.join(cells)} | {bias} |")
    known = [f"{np.mean([s.known[name] for s in splits]):.2f}" for name in names]
    lines.append(f"| known, of {QUESTIONS} | {' | '.join(known)} | |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--more", type=int, default=20)
    given = parser.parse_args()
    table, found = cofactor.load("movielens-100k"), []
    for seed in (*range(given.seeds), *range(FRESH, FRESH + given.more)):
        found.append(one_split(table, seed))
        print(seed, *(f"over {other} {gain(found[-1:], other)}" for other in (*OTHERS, "Bias")), flush=True)
    PAGE.write_text(page(found[: given.seeds], found[given.seeds :]))
    print(PAGE.read_text())


if __name__ == "__main__":
    main()
