"""`cofactor demo`: everything once, on real film ratings, for somebody who has never seen it."""

from __future__ import annotations

import sys
from math import sqrt
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from cofactor.cli.options import Seed
from cofactor.cli.terminal import bar, fetch_progress, printable, results, table
from cofactor.shell import as_path, command

if TYPE_CHECKING:
    from rich.console import Console

    from cofactor.data.interactions import Interactions
    from cofactor.estimators import Epoch
    from cofactor.recommender.recommender import Recommender

__all__ = ["demo"]

DATA = "movielens-100k"
WIDEST = 80
FEW = 20
"""A predicted rating with fewer ratings than this behind it is marked as unsure."""


def demo(
    *,
    user: Annotated[str, Option(metavar="ID", help="For whom to recommend films.")] = "505",
    output: Annotated[str | None, Option("--output", "-o", metavar="MODEL", help="Keep the model here.")] = None,
    seed: Seed = 0,
) -> None:
    """Watch 100,000 film ratings being read, learnt from, put to the test and turned into recommendations."""
    from cofactor.cli.recommend import known_id
    from cofactor.cli.side_tables import check_model_output
    from cofactor.estimators import BiasedMF
    from cofactor.evaluate import split_random

    check_model_output(output)
    out = results()
    out.width = min(out.width, WIDEST)
    ratings = _look_at_data(out)
    row = ratings.users.row(known_id(ratings.users, "user", user))
    split = split_random(ratings, test=0.2, seed=seed)
    _learn(out, split.train, seed)
    _compare(out, split, seed)
    recommender = _recommend(out, BiasedMF(), ratings, row, seed)
    if output is not None:
        recommender.save(output)
    _what_next(out, output)


def _look_at_data(out: Console) -> Interactions:
    from cofactor.cli.describe import show_facts, show_values
    from cofactor.data.crosstab import crosstab
    from cofactor.datasets.loading import DATASETS, load

    _head(out, "1. The data")
    _say(
        out,
        "MovieLens: films that people rated with one to five stars. It comes from its makers, the GroupLens group "
        "at the University of Minnesota, and stays in a cache on this machine.",
    )
    with fetch_progress() as on_progress:
        ratings = load(DATA, on_progress=on_progress)
    show_facts(out, ratings)
    show_values(out, ratings)
    _say(
        out,
        "Every rating is one cell of a big table with a row for each person and a column for each film. Here are the "
        "people who rated most, by the films most rated: the fullest corner there is.",
    )
    out.print(str(crosstab(ratings, users=8, items=7)), soft_wrap=True)
    blank = 1 - ratings.density
    _say(
        out,
        f"\nEven here there are blanks (·); of the whole table {blank:.0%} is blank. Collaborative filtering fills the "
        "blanks from nothing but the ratings: people who agreed before are likely to agree again.",
    )
    _say(out, f"Terms of use: {DATASETS[DATA].terms}", style="dim")
    return ratings


def _learn(out: Console, train: Interactions, seed: int) -> None:
    from cofactor.estimators import BiasedMF
    from cofactor.recommender.recommender import Recommender

    _head(out, "2. Learning")
    _say(
        out,
        f"A fifth of the ratings is hidden, to be used as a test. From the other {len(train):,} a model learns 50 "
        "numbers for every person and 50 for every film (their taste and its flavor), and how generous each person "
        "and how loved each film is. Together they must reproduce the ratings. All begin near zero and are corrected "
        "rating by rating; one pass over all ratings is an epoch.",
    )
    epochs: list[Epoch] = []
    Recommender.fit(BiasedMF(), train, seed=seed, callback=epochs.append)
    errors = [sqrt(epoch.loss) for epoch in epochs]
    for epoch, error in zip(epochs, errors, strict=True):
        if epoch.number in (1, 2, len(epochs)) or epoch.number % 4 == 0:
            out.print(f"  epoch {epoch.number:>2}   off by {error:.3f} stars  {bar(error / errors[0], 40)}")
    out.print()
    _aside(f"  ({epochs[-1].seconds:.1f} seconds)")


def _compare(out: Console, split: Any, seed: int) -> None:
    from cofactor.estimators import BiasedMF, ExplicitALS
    from cofactor.evaluate import evaluate

    _head(out, "3. Is it any good?")
    _say(
        out,
        f"Reproducing what it has seen proves little. What counts is the {len(split.test):,} hidden ratings. Three "
        "ways to guess them: the model above (biased-mf); the same idea, learnt by solving equations instead "
        "(explicit-als); and a baseline without any taste, which only knows how generous people and how loved films "
        "are (bias). RMSE and MAE say by how many stars they are off, so less is better.",
    )
    found = evaluate([BiasedMF(), ExplicitALS()], split, seed=seed)
    shown = table("model", ("RMSE", "right"), ("95 % interval", "right"), ("MAE", "right"), ("95 % interval", "right"))
    scores = sorted(found.scores, key=lambda score: score.metrics["rmse"].mean)
    for place, score in enumerate(scores):
        rmse, mae = score.metrics["rmse"], score.metrics["mae"]
        name = f"{score.label}{' (baseline)' if score.label == 'bias' else ''}"
        shown.add_row(
            name, f"{rmse.mean:.3f}", f"{rmse.low:.3f}-{rmse.high:.3f}", f"{mae.mean:.3f}",
            f"{mae.low:.3f}-{mae.high:.3f}", style="bold" if place == 0 else None,
        )  # fmt: skip
    out.print(shown)
    gain = 1 - scores[0].metrics["rmse"].mean / found["bias"].metrics["rmse"].mean
    _say(
        out,
        f"{scores[0].label} is best: {gain:.1%} less error than the baseline. That is a usual size: much in a rating "
        "is mood and chance. But the difference is what makes lists personal: the baseline would recommend the "
        "same films to everybody.",
    )


def _recommend(out: Console, estimator: Any, ratings: Interactions, row: int, seed: int) -> Recommender:
    from cofactor.recommender.recommender import Recommender

    recommender = Recommender.fit(estimator, ratings, seed=seed)
    user = ratings.users.ids([row])
    _head(out, f"4. Ten films for user {user[0]}")
    _say(out, f"Now the model learns from all ratings. {_person(ratings, row)} Among those loved most:")
    for title, value in _loved(ratings, row, 6):
        out.print(f"  {value:g}  {printable(title)}")
    ranked = recommender.recommend(user, n=10)
    expected = recommender.predict(ranked["user"], ranked["item"])["prediction"]
    support = recommender.support[recommender.items.rows(ranked["item"])]
    _say(out, "\nOf the films they have not rated, the model expects them to like these best:")
    shown = table(("", "right"), "film", ("predicted\nrating", "right"), ("ratings\nbehind it", "right"))
    for rank, title, rating, count in zip(ranked["rank"], ranked["title"], expected, support, strict=True):
        shown.add_row(str(rank), printable(title), f"{rating:.2f}", f"{count:,}{' ?' if count < FEW else '  '}")
    out.print(shown)
    _say(
        out,
        "The last column says how many people's ratings the number rests on. With hundreds it is solid; "
        f"{_few_ones(support)}",
    )
    return recommender


def _few_ones(support: Any) -> str:
    few = int((support < FEW).sum())
    start = f"a film rated by a handful (?: fewer than {FEW}) can top the list because those few happened to love it"
    return f"{start}. Here {few} of 10 are such: take them as a bet." if few else f"{start}. Here there is none."


def _person(ratings: Interactions, row: int) -> str:
    count = int(ratings.by_user.counts[row])
    people = ratings.user_table
    if people is None or not {"age", "gender", "occupation"} <= set(people.columns):
        return f"User {ratings.users.ids([row])[0]} rated {count:,} films."
    person = people.row(row, named=True)
    gender = {"M": "man", "F": "woman"}.get(person["gender"], "person")
    work = "" if person["occupation"] in (None, "other", "none") else f" ({person['occupation']})"
    return f"User {ratings.users.ids([row])[0]} is a {gender} of {person['age']}{work} who rated {count:,} films."


def _loved(ratings: Interactions, row: int, n: int) -> list[tuple[str, float]]:
    """The user's best rated films; of equals, those known to most."""
    import numpy as np

    own = ratings.by_user.take(np.array([row], np.int32))
    best = np.lexsort((-ratings.by_item.counts[own.columns], -own.values))[:n]
    assert ratings.titles is not None
    return list(zip(ratings.titles.gather(own.columns[best]), own.values[best].tolist(), strict=True))


def _what_next(out: Console, output: str | None) -> None:
    _head(out, "5. Your turn")
    if output is not None:
        saved = command("recommend", as_path(output), "--user", 7)
        out.print(f"This model is saved in {printable(output)}: {saved}\n", soft_wrap=True)
    _say(out, "With a file of your own, one rating a line (user, item, rating, and the time if you have it):")
    for line in (
        "cofactor describe ratings.csv",
        "cofactor evaluate ratings.csv --model biased-mf --model explicit-als",
        "cofactor fit ratings.csv -o my.cofactor --items films.csv",
        "cofactor recommend my.cofactor --user ana",
        "cofactor similar my.cofactor --item alien",
    ):
        out.print(f"  {line}", soft_wrap=True, style="bold")
    out.print("\nClicks, plays or purchases instead of ratings:\n")
    out.print("  cofactor fit clicks.csv -o my.cofactor --events --model implicit-als", soft_wrap=True, style="bold")
    _say(out, "\n`cofactor COMMAND --help` tells the rest. In Python it is three lines:")
    for line in (
        'ratings = cofactor.read_ratings("ratings.csv")',
        "rec = cofactor.Recommender.fit(cofactor.BiasedMF(factors=50), ratings)",
        'rec.recommend("ana", n=10)',
    ):
        out.print(f"  {line}", soft_wrap=True, style="bold")


def _head(out: Console, title: str) -> None:
    out.rule(title, align="left", characters="─")
    out.print()


def _say(out: Console, text: str, style: str | None = None) -> None:
    out.print(text + "\n", style=style)


def _aside(text: str) -> None:
    """Measured times go to stderr, so that the same seed prints the same demo."""
    sys.stdout.flush()
    print(text, file=sys.stderr, flush=True)
