"""Where the feedback loop leads, on the table's own tastes."""

from __future__ import annotations

import polars as pl

from cofactor.arrays import Float64
from cofactor.audit.feedback_loop import Tastes, simulate
from cofactor.audit.mitigations import PLAIN, item_kinds, kinds_by_raters, remedies
from cofactor.data.features import indicators
from cofactor.data.interactions import Interactions
from cofactor.errors import DataError, KindError
from cofactor.evaluate.split import split_random
from cofactor.plots import simulation_plot
from cofactor.recommender.recommender import Recommender
from cofactor.report.section import Picture, Section, Table
from cofactor.report.study import MOST_KINDS, Study, corner

__all__ = ["loop"]

LEAST = 20
"""Users, and items, without which lists of ten are not worth simulating."""
REMEDIES = ("capped weight per user", "exposure spread over items", "lists calibrated to what one likes")
MEASURES = {
    "accuracy": "accuracy: true-taste NDCG",
    "coverage": "coverage: share of the catalog shown",
    "gini": "concentration of what is shown: Gini",
    "favorite": "share of places for people's favorite kind",
}


def loop(study: Study) -> Section:
    """The feedback loop, plain and with remedies. Raises KindError for events, DataError for too small tables."""
    if study.table.kind == "events":
        raise KindError("the loop is simulated on ratings: from events, nobody knows what people dislike")
    table = corner(study.table, study.most_people, study.most_people, study.seed)
    if min(table.n_users, table.n_items) < LEAST:
        raise DataError(
            f"the loop needs {LEAST} users and {LEAST} items, and here are {table.n_users} and {table.n_items}"
        )
    frame, noise_sd = _played(study, table)
    text = [
        (
            f"{study.rounds} rounds with {table.n_users:,} people and {table.n_items:,} items: "
            f"{study.small_estimator.name} learns, shows everybody ten items, they look at one and may take and rate "
            "it, and it learns again. What people truly like is taken from a model of one half of the ratings; the "
            "loop begins with the other half. It shows where such a loop leads, not what your people will do."
        ),
    ]
    reading = (
        "Each line is a way to make recommendations, round after round: the grey one does nothing against the loop, "
        "and a remedy helps where its line lies above in accuracy and coverage, and below in concentration."
    )
    columns = {"remedy": "remedy", "accuracy": "accuracy", "coverage": "coverage", "gini": "Gini",
               "favorite": "favorites"}  # fmt: skip
    last = frame.filter(pl.col("round") == study.rounds)
    return Section(
        "feedback_loop", "Where the loop leads", text, [Picture(simulation_plot(frame, MEASURES), reading)],
        [Table("last_round", "After the last round", last, columns), Table("rounds", "All rounds", frame)],
        {"rounds": study.rounds, "users": table.n_users, "items": table.n_items, "noise_sd": noise_sd},
    )  # fmt: skip


def _played(study: Study, table: Interactions) -> tuple[pl.DataFrame, float]:
    """All rounds of all remedies below each other, and the noise of a rating."""
    halves, estimator = split_random(table, test=0.5, seed=study.seed), study.small_estimator
    tastes = Tastes.of(Recommender.fit(estimator, halves.test, seed=study.seed))
    kinds = _kinds(study, table)
    shares = kinds_by_raters(halves.train.by_user, table.n_items) if kinds is None else kinds
    chosen = [PLAIN, *(one for one in remedies(None if kinds is None else study.kinds) if one.name in REMEDIES)]
    rounds = [
        simulate(estimator, halves.train, tastes, remedy=one, rounds=study.rounds, seed=study.seed).summary(shares)
        for one in chosen
    ]
    return pl.concat(rounds), tastes.noise_sd


def _kinds(study: Study, table: Interactions) -> Float64 | None:
    """Shares of kinds by item from the column that names them; None where there is none that can be used."""
    if study.kinds is None or not 2 <= len(indicators(table.item_table, [study.kinds], "item")) <= MOST_KINDS:
        return None
    return item_kinds(table.item_table, study.kinds)
