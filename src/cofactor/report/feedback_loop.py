"""Report section on the feedback loop: simulation with user preferences estimated from the table."""

from __future__ import annotations

import numpy as np
import polars as pl

from cofactor.arrays import Float64, random_stream
from cofactor.audit.feedback_loop import Simulation, Tastes, simulate
from cofactor.audit.loop_effects import average_summaries, growth_parts
from cofactor.audit.mitigations import PLAIN, Mitigation, all_mitigations, categories_by_raters, item_categories
from cofactor.data.features import indicators
from cofactor.data.interactions import Interactions
from cofactor.errors import DataError, KindError
from cofactor.evaluate.split import split_random
from cofactor.plots import simulation_plot
from cofactor.recommender.recommender import Recommender
from cofactor.report.section import Picture, Section, Table
from cofactor.report.study import MAX_GENRES, Study, sample_users_and_items

__all__ = ["feedback_loop_section"]

MIN_SIZE = 20
"""Minimum number of users and of items; smaller tables do not support lists of ten items."""
N_SEEDS = 3
"""Number of simulations per mitigation; intervals are computed over them."""
MITIGATIONS = ("capped weight per user", "exposure spread over items", "calibrated lists")
MEASURES = {
    "accuracy": "accuracy: NDCG with respect to true preferences",
    "coverage": "coverage: share of the catalog shown",
    "gini": "concentration of recommendations: Gini coefficient",
    "favorite": "share of positions of users' favorite categories",
}


def feedback_loop_section(study: Study) -> Section:
    """Create the report section that simulates the feedback loop with and without mitigations.

    Parameters
    ----------
    study : Study
        Subject and options of the report.

    Returns
    -------
    Section
        Section with figures and tables.

    Raises
    ------
    KindError
        The table contains events.
    DataError
        The table has fewer than 20 users or 20 items.
    """
    if study.table.kind == "events":
        raise KindError("the feedback loop simulation requires ratings, because events do not show what users dislike")
    table = sample_users_and_items(study.table, study.max_users_and_items, study.max_users_and_items, study.seed)
    if min(table.n_users, table.n_items) < MIN_SIZE:
        raise DataError(
            f"the feedback loop needs at least {MIN_SIZE} users and {MIN_SIZE} items; got {table.n_users} users and "
            f"{table.n_items} items"
        )
    frame, growth, noise_std = _simulate_all(study, table)
    text = [
        (
            f"Simulation of {study.rounds} rounds with {table.n_users:,} users and {table.n_items:,} items. In each "
            f"round, {study.small_estimator.name} is trained and recommends ten items to each user, who views one of "
            "them and may accept and rate it; the ratings are added to the training data. The true preferences come "
            "from a model of one half of the ratings, and the loop starts with the other half. The simulation shows "
            "the direction of such a loop; it does not predict the behavior of your users."
        ),
        (
            f"Values are means of {N_SEEDS} simulations with different seeds, with 95 % intervals over the seeds. In "
            "the control without feedback, users add as many ratings, but of items independent of the lists, so its "
            "growth is the effect of more data."
        ),
    ]
    caption = (
        "Each line is one mitigation over the rounds, and the gray line is the loop without mitigation: a mitigation "
        "helps if its line is higher in accuracy and coverage, and lower in concentration."
    )
    columns = {"mitigation": "mitigation", "accuracy": "accuracy", "coverage": "coverage", "gini": "Gini",
               "favorite": "favorite categories"}  # fmt: skip
    parts = {"measure": "measure", "part": "part", "mean": "mean", "low": "low", "high": "high"}
    last = frame.filter(pl.col("round") == study.rounds)
    tables = [Table("last_round", "After the last round", last, columns), Table("rounds", "All rounds", frame)]
    if growth is not None:
        tables.append(Table("growth", "Growth over the rounds, without mitigation", growth, parts))
    return Section(
        "feedback_loop", "Feedback loop", text, [Picture(simulation_plot(frame, MEASURES), caption)], tables,
        {"rounds": study.rounds, "users": table.n_users, "items": table.n_items, "noise_std": noise_std,
         "seeds": N_SEEDS},
    )  # fmt: skip


def _simulate_all(study: Study, table: Interactions) -> tuple[pl.DataFrame, pl.DataFrame | None, float]:
    """Return the mean summaries of all mitigations, the parts of the growth, and the rating noise.

    The growth is None for a single round.
    """
    halves, estimator = split_random(table, test=0.5, seed=study.seed), study.small_estimator
    tastes = Tastes.of(Recommender.fit(estimator, halves.test, seed=study.seed))
    categories = _categories(study, table)
    fractions = categories_by_raters(halves.train.by_user, table.n_items) if categories is None else categories
    column = None if categories is None else study.genre_column
    seeds = [int(seed) for seed in random_stream(study.seed, "feedback loop").integers(0, 2**31, N_SEEDS)]

    def summaries(mitigation: Mitigation, *, feedback: bool = True) -> list[pl.DataFrame]:
        def run(seed: int) -> Simulation:
            return simulate(
                estimator, halves.train, tastes, mitigation=mitigation, feedback=feedback, rounds=study.rounds,
                seed=seed,
            )  # fmt: skip

        return [run(seed).summary(fractions) for seed in seeds]

    plain = summaries(PLAIN)
    mitigated = [summaries(m) for m in all_mitigations(column) if m.name in MITIGATIONS]
    frame = pl.concat([average_summaries(frames) for frames in (plain, *mitigated)])
    if study.rounds == 1:
        return frame, None, tastes.noise_std
    control = summaries(PLAIN, feedback=False)
    growth = pl.concat([_growth(name, plain, control) for name in MEASURES])
    return frame, growth, tastes.noise_std


def _growth(name: str, plain: list[pl.DataFrame], control: list[pl.DataFrame]) -> pl.DataFrame:
    """Return the components of the growth of a measure."""
    loop, without = (np.stack([frame[name].to_numpy() for frame in frames]) for frames in (plain, control))
    parts = growth_parts(loop, without)
    return parts.select(pl.lit(MEASURES[name].partition(":")[0]).alias("measure"), pl.all())


def _categories(study: Study, table: Interactions) -> Float64 | None:
    """Return the category fractions of the items from the genre column; None if there is no usable column."""
    column = study.genre_column
    if column is None or not 2 <= len(indicators(table.item_table, [column], "item")) <= MAX_GENRES:
        return None
    return item_categories(table.item_table, column)
