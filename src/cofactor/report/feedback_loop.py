"""Report section on the feedback loop: simulation with user preferences estimated from the table."""

from __future__ import annotations

import polars as pl

from cofactor.arrays import Float64
from cofactor.audit.feedback_loop import Tastes, simulate
from cofactor.audit.mitigations import PLAIN, all_mitigations, categories_by_raters, item_categories
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
    frame, noise_std = _simulate_all(study, table)
    text = [
        (
            f"Simulation of {study.rounds} rounds with {table.n_users:,} users and {table.n_items:,} items. In each "
            f"round, {study.small_estimator.name} is trained and recommends ten items to each user, who views one of "
            "them and may accept and rate it; the ratings are added to the training data. The true preferences come "
            "from a model of one half of the ratings, and the loop starts with the other half. The simulation shows "
            "the direction of such a loop; it does not predict the behavior of your users."
        ),
    ]
    caption = (
        "Each line is one mitigation over the rounds, and the gray line is the loop without mitigation: a mitigation "
        "helps if its line is higher in accuracy and coverage, and lower in concentration."
    )
    columns = {"mitigation": "mitigation", "accuracy": "accuracy", "coverage": "coverage", "gini": "Gini",
               "favorite": "favorite categories"}  # fmt: skip
    last = frame.filter(pl.col("round") == study.rounds)
    return Section(
        "feedback_loop", "Feedback loop", text, [Picture(simulation_plot(frame, MEASURES), caption)],
        [Table("last_round", "After the last round", last, columns), Table("rounds", "All rounds", frame)],
        {"rounds": study.rounds, "users": table.n_users, "items": table.n_items, "noise_std": noise_std},
    )  # fmt: skip


def _simulate_all(study: Study, table: Interactions) -> tuple[pl.DataFrame, float]:
    """Return the concatenated summaries of all mitigations, and the standard deviation of the rating noise."""
    halves, estimator = split_random(table, test=0.5, seed=study.seed), study.small_estimator
    tastes = Tastes.of(Recommender.fit(estimator, halves.test, seed=study.seed))
    categories = _categories(study, table)
    fractions = categories_by_raters(halves.train.by_user, table.n_items) if categories is None else categories
    column = None if categories is None else study.genre_column
    summaries = [
        simulate(estimator, halves.train, tastes, mitigation=mitigation, rounds=study.rounds, seed=study.seed).summary(
            fractions
        )
        for mitigation in (PLAIN, *all_mitigations(column))
        if mitigation is PLAIN or mitigation.name in MITIGATIONS
    ]
    return pl.concat(summaries), tastes.noise_std


def _categories(study: Study, table: Interactions) -> Float64 | None:
    """Return the category fractions of the items from the genre column; None if there is no usable column."""
    column = study.genre_column
    if column is None or not 2 <= len(indicators(table.item_table, [column], "item")) <= MAX_GENRES:
        return None
    return item_categories(table.item_table, column)
