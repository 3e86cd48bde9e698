"""What the model learnt about items: where they lie, how loved they are, and where averages mislead."""

from __future__ import annotations

import polars as pl

from cofactor.errors import DataError
from cofactor.interpret import TasteMap, disagreements, levels
from cofactor.models.base import HasFactors
from cofactor.plots import levels_plot, taste_map_plot
from cofactor.recommender.recommender import Recommender
from cofactor.report.section import Picture, Section, Table
from cofactor.report.study import Study

__all__ = ["ranking", "taste_map"]

DRAWN, FEWEST = 2_000, 3
"""Items of the map at most, the most rated ones, and at least."""


def taste_map(study: Study) -> Section:
    """The items on the main axes of taste. Raises KindError for a model without factors."""
    recommender, text = study.recommender, []
    model = recommender.model
    if not isinstance(model, HasFactors) or model.item_factors.shape[1] < 2:
        recommender = Recommender.fit(study.small_estimator, study.table, seed=study.seed)
        text.append(f"The map is of {study.small_estimator.name}: {study.estimator.name} has no axes of taste.")
    support = _support(recommender)
    found = TasteMap.of(recommender, min_support=support)
    if len(found.shares) < 2 or len(found.items) < FEWEST:
        raise DataError(f"a map of tastes needs {FEWEST} items or more, and {len(found.items)} can be drawn")
    items = found.items.sort("support", descending=True, maintain_order=True).head(DRAWN)
    text.append(
        f"{len(items):,} items with {support:,} {study.table.kind} or more. The two axes hold "
        f"{found.shares.sum():.0%} of "
        "how items differ in taste; how good they are is not in it."
    )
    ends = pl.concat(
        [
            part.select(pl.lit(axis).alias("axis"), pl.lit(side).alias("end"), name=_name(part), support="support")
            for axis in range(1, len(found.shares) + 1)
            for side, part in zip(("low", "high"), found.ends(axis, 5), strict=True)
        ]
    )
    reading = (
        "Items near each other are liked by the same people, items at opposite ends by different ones; larger "
        "dots have "
        "more ratings, and touching one tells its name."
    )
    columns = {"axis": "axis", "end": "end", "name": "item", "support": study.table.kind}
    return Section(
        "taste_map", "The map of tastes", text, [Picture(taste_map_plot(items), reading)],
        [Table("ends", "The farthest out", ends, columns), Table("items", "Items", items)],
        {"shares": found.shares.tolist(), "min_support": support},
    )  # fmt: skip


def ranking(study: Study) -> Section:
    """Levels beside averages, and where they differ most. Raises KindError for events and models without levels."""
    recommender, text = study.recommender, []
    support = _support(recommender)
    found = levels(recommender, min_support=support)
    odd = disagreements(recommender, min_support=support)
    text.append(
        "A level is the rating to expect from anybody; an average is of those who chose to rate. "
        f"{len(found):,} items with {support:,} ratings or more."
    )
    columns = {"name": "item", "level": "level", "average": "average", "support": "ratings"}
    first, last = found.head(10), found.tail(min(10, max(len(found) - 10, 0)))
    both = pl.concat([first, last])
    pictures = [
        Picture(
            levels_plot(found),
            "The ten items of the highest level and the ten of the lowest: the full dot is the level, the ring "
            "the plain "
            "average, and behind each name stands how many rated it.",
        ),
        Picture(
            levels_plot(odd),
            "Where the two differ most, beside the usual gap: at the top those that even severe people like, at "
            "the bottom "
            "those whose averages are flattered by who rated them.",
        ),
    ]
    tables = [
        Table("ends", "Highest and lowest", both.with_columns(name=_name(both)), columns),
        Table(
            "disagreements", "Disagreements", odd.with_columns(name=_name(odd)), columns | {"surprise": "beyond usual"}
        ),
        Table("levels", "All levels", found),
    ]
    numbers = {"min_support": support}
    return Section("ranking", "What is loved, and by whom", text, pictures, tables, numbers)


def _support(recommender: Recommender) -> int:
    """How many ratings an item needs here: 20, or fewer where fewer than 40 items have so many."""
    counts = recommender.support
    return next((least for least in (20, 10, 5, 2) if (counts >= least).sum() >= 40), 1)


def _name(frame: pl.DataFrame) -> pl.Series:
    ids = frame["item"].cast(pl.String)
    return frame["title"].cast(pl.String).fill_null(ids) if "title" in frame.columns else ids
