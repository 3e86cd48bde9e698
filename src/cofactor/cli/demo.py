"""`cofactor demo`: guided tour of cofactor on real film ratings."""

from __future__ import annotations

import sys
from math import sqrt
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from cofactor.cli.options import Seed
from cofactor.cli.terminal import bar, fetch_progress, printable, results, table
from cofactor.shell import as_path, command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from cofactor.data.interactions import Interactions
    from cofactor.estimators import Epoch
    from cofactor.recommender.recommender import Recommender
    from cofactor.results import SelectionTrial

__all__ = ["demo"]

DATA = "movielens-100k"
MAX_WIDTH = 80
N_TRIALS = 5
"""Number of trials for each of the two models, instead of a time budget, so that the output is reproducible."""

MIN_RELIABLE_RATINGS = 20
"""Minimum number of ratings of a film for its prediction not to be marked as uncertain."""


def demo(
    *,
    user: Annotated[str, Option(metavar="ID", help="User to recommend films for.")] = "505",
    output: Annotated[str | None, Option("--output", "-o", metavar="MODEL", help="File to save the model in.")] = None,
    seed: Seed = 0,
) -> None:
    """Show the whole workflow on 100,000 film ratings: read, train, evaluate and recommend."""
    from cofactor.cli.recommend import parse_id
    from cofactor.cli.side_tables import check_model_output
    from cofactor.evaluate import split_random

    check_model_output(output)
    out = results()
    out.width = min(out.width, MAX_WIDTH)
    ratings = _show_data(out)
    row = ratings.users.row(parse_id(ratings.users, "user", user))
    split = split_random(ratings, test=0.2, seed=seed)
    _train(out, split.train, seed)
    _compare(out, split, seed)
    recommender = _recommend(out, ratings, row, seed)
    if output is not None:
        recommender.save(output)
    _next_steps(out, output)


def _show_data(out: Console) -> Interactions:
    from cofactor.cli.describe import show_facts, show_values
    from cofactor.data.crosstab import crosstab
    from cofactor.datasets.loading import load_movielens
    from cofactor.datasets.registry import DATASETS

    _print_heading(out, "1. The data")
    _print_paragraph(
        out,
        "MovieLens: films that people rated with one to five stars. The data set is published by the GroupLens group "
        "at the University of Minnesota, and is cached on this machine.",
    )
    with fetch_progress() as on_progress:
        ratings = load_movielens(DATASETS[DATA], on_progress=on_progress)
    show_facts(out, ratings)
    show_values(out, ratings)
    _print_paragraph(
        out,
        "Every rating is one cell in a large table with a row for each person and a column for each film. This is its "
        "densest part: the people with the most ratings and the films with the most ratings.",
    )
    out.print(str(crosstab(ratings, users=8, items=7)), soft_wrap=True)
    empty_fraction = 1 - ratings.density
    _print_paragraph(
        out,
        f"\nEven here some cells are empty (·); in the whole table, {empty_fraction:.0%} of the cells are. "
        "Collaborative filtering predicts the empty cells from the ratings alone: people who agreed before are likely "
        "to agree again.",
    )
    _print_paragraph(out, f"Terms of use: {DATASETS[DATA].terms}", style="dim")
    return ratings


def _train(out: Console, train: Interactions, seed: int) -> None:
    from cofactor.estimators import BiasedMF
    from cofactor.recommender.recommender import Recommender

    _print_heading(out, "2. Training")
    _print_paragraph(
        out,
        f"A fifth of the ratings is held out as a test set. From the other {len(train):,}, a model learns 50 numbers "
        "for every person and 50 for every film, which describe preferences, and how generous each person and how "
        "popular each film is. Together, these numbers are fitted to reproduce the ratings. They start near zero and "
        "are adjusted one rating at a time; one pass over all ratings is called an epoch.",
    )
    epochs: list[Epoch] = []
    Recommender.fit(BiasedMF(), train, seed=seed, callback=epochs.append)
    errors = [sqrt(epoch.loss) for epoch in epochs]
    for epoch, error in zip(epochs, errors, strict=True):
        if epoch.number in (1, 2, len(epochs)) or epoch.number % 4 == 0:
            out.print(f"  epoch {epoch.number:>2}   off by {error:.3f} stars  {bar(error / errors[0], 40)}")
    out.print()
    _print_timing(f"  ({epochs[-1].seconds:.1f} seconds)")


def _compare(out: Console, split: Any, seed: int) -> None:
    from cofactor.estimators import BiasedMF, ExplicitALS
    from cofactor.evaluate import evaluate

    _print_heading(out, "3. Evaluation")
    _print_paragraph(
        out,
        f"Reproducing the training ratings proves little; the {len(split.test):,} held-out ratings are the real test. "
        "Three models predict them: the model above (biased-mf); the same model trained by solving equations instead "
        "(explicit-als); and a baseline without preferences, which only models how generous people and how popular "
        "films are (bias). RMSE and MAE measure the error in stars, so lower is better.",
    )
    evaluation = evaluate([BiasedMF(), ExplicitALS()], split, seed=seed)
    output_table = table(
        "model", ("RMSE", "right"), ("95 % interval", "right"), ("MAE", "right"), ("95 % interval", "right")
    )
    scores = sorted(evaluation.scores, key=lambda score: score.metrics["rmse"].mean)
    for rank, score in enumerate(scores):
        rmse, mae = score.metrics["rmse"], score.metrics["mae"]
        name = f"{score.label}{' (baseline)' if score.label == 'bias' else ''}"
        output_table.add_row(
            name, f"{rmse.mean:.3f}", f"{rmse.low:.3f}-{rmse.high:.3f}", f"{mae.mean:.3f}",
            f"{mae.low:.3f}-{mae.high:.3f}", style="bold" if rank == 0 else None,
        )  # fmt: skip
    out.print(output_table)
    reduction = 1 - scores[0].metrics["rmse"].mean / evaluation["bias"].metrics["rmse"].mean
    _print_paragraph(
        out,
        f"{scores[0].label} is best, with {reduction:.1%} less error than the baseline. A gain of this size is "
        "typical, because ratings are noisy. But it is what makes the lists personal: the baseline would recommend the "
        "same films to everyone.",
    )


def _recommend(out: Console, ratings: Interactions, row: int, seed: int) -> Recommender:
    from cofactor.evaluate import fit

    user = ratings.users.ids([row])
    _print_heading(out, f"4. Ten films for user {user[0]}")
    _print_paragraph(
        out,
        "A model that predicts ratings well does not necessarily produce good lists. So two models are chosen here, "
        f"each after {N_TRIALS} trials on held-out ratings: one that ranks films by what people liked, and one that "
        "predicts ratings. Then both are trained on all ratings.",
    )
    recommender = fit(ratings, trials=N_TRIALS, seed=seed)
    _show_trials(out, recommender.trials)
    _print_paragraph(out, f"\n{_describe_user(ratings, row)} Some of their highest-rated films:")
    for title, value in _favorites(ratings, row, 6):
        out.print(f"  {value:g}  {printable(title)}")
    recommended = recommender.recommend(user, n=10)
    predictions = recommended["prediction"]
    support = recommender.support[recommender.items.rows(recommended["item"])]
    _print_paragraph(
        out, "\nThe ten films they have not rated that the ranking model puts first, with predicted ratings:"
    )
    output_table = table(("", "right"), "film", ("predicted\nrating", "right"), ("number of\nratings", "right"))
    for rank, title, rating, count in zip(recommended["rank"], recommended["title"], predictions, support, strict=True):
        output_table.add_row(
            str(rank), printable(title), f"{rating:.2f}", f"{count:,}{' ?' if count < MIN_RELIABLE_RATINGS else '  '}"
        )
    out.print(output_table)
    _print_paragraph(
        out,
        "The last column shows the number of ratings of the film. With hundreds of ratings, a prediction is reliable; "
        f"{_uncertainty_remark(support)}",
    )
    return recommender


def _show_trials(out: Console, trials: Sequence[SelectionTrial]) -> None:
    """Print the value of each trial, with a column for each metric; the chosen models are marked."""
    metrics = list(dict.fromkeys(trial.metric for trial in trials))
    output_table = table("model", *((metric, "right") for metric in metrics), "")
    for trial in trials:
        value = "" if trial.value is None else f"{trial.value:.3f}"
        values = [value if trial.metric == metric else "" for metric in metrics]
        output_table.add_row(trial.estimator, *values, "chosen" if trial.chosen else "")
    out.print(output_table)


def _uncertainty_remark(support: Any) -> str:
    """Return a remark on the films in the list with few ratings."""
    n_uncertain = int((support < MIN_RELIABLE_RATINGS).sum())
    remark = (
        f"a film with few ratings (?: fewer than {MIN_RELIABLE_RATINGS}) can rank first because a few people happened "
        "to love it"
    )
    return (
        f"{remark}. Here, {n_uncertain} of 10 are uncertain for this reason."
        if n_uncertain
        else f"{remark}. This list contains none."
    )


def _describe_user(ratings: Interactions, row: int) -> str:
    """Describe a user in one sentence, with age, gender and occupation if available."""
    count = int(ratings.by_user.counts[row])
    users = ratings.user_table
    if users is None or not {"age", "gender", "occupation"} <= set(users.columns):
        return f"User {ratings.users.id_at(row)} rated {count:,} films."
    features = users.row(row, named=True)
    gender = {"M": "man", "F": "woman"}.get(features["gender"], "person")
    occupation = "" if features["occupation"] in (None, "other", "none") else f" ({features['occupation']})"
    return f"User {ratings.users.id_at(row)} is a {gender} of {features['age']}{occupation} who rated {count:,} films."


def _favorites(ratings: Interactions, row: int, n: int) -> list[tuple[str, float]]:
    """Return the user's n highest-rated films with their ratings; ties go to the film with more ratings."""
    import numpy as np

    history = ratings.by_user.take(np.array([row], np.int32))
    order = np.lexsort((-ratings.by_item.counts[history.columns], -history.values))[:n]
    assert ratings.titles is not None
    return list(zip(ratings.titles.gather(history.columns[order]), history.values[order].tolist(), strict=True))


def _next_steps(out: Console, output: str | None) -> None:
    _print_heading(out, "5. Next steps")
    if output is not None:
        recommend_command = command("recommend", as_path(output), "--user", 7)
        out.print(f"This model was saved to {printable(output)}: {recommend_command}\n", soft_wrap=True)
    _print_paragraph(out, "With your own file, one rating per line (user, item, rating, and optionally the time):")
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
    _print_paragraph(out, "\n`cofactor COMMAND --help` lists the options. In Python, it takes three lines:")
    for line in (
        'ratings = cofactor.read_ratings("ratings.csv")',
        "rec = cofactor.Recommender.fit(cofactor.BiasedMF(factors=50), ratings)",
        'rec.recommend("ana", n=10)',
    ):
        out.print(f"  {line}", soft_wrap=True, style="bold")


def _print_heading(out: Console, title: str) -> None:
    out.rule(title, align="left", characters="─")
    out.print()


def _print_paragraph(out: Console, text: str, style: str | None = None) -> None:
    out.print(text + "\n", style=style)


def _print_timing(text: str) -> None:
    """Print a measured time on stderr, so that stdout depends only on the seed."""
    sys.stdout.flush()
    print(text, file=sys.stderr, flush=True)
