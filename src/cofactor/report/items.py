"""Report sections on items: factor map, and ranking by bias-adjusted rating."""

from __future__ import annotations

import polars as pl

from cofactor.errors import DataError, KindError
from cofactor.interpret import FactorMap, bias_ranking, surprising_items
from cofactor.models import BayesianModel, FactorModel
from cofactor.models.paired import rating_part
from cofactor.plots import bias_ranking_plot, factor_map_plot
from cofactor.recommender.recommender import Recommender
from cofactor.report.section import Picture, Section, Table
from cofactor.report.study import Study

__all__ = ["factor_map_section", "ranking_section"]

MAX_ITEMS, MIN_ITEMS = 2_000, 3
"""Maximum number of items on the map (those with the most ratings), and minimum number of items."""


def factor_map_section(study: Study) -> Section:
    """Create the report section that maps the items onto the principal axes of their factors.

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
    DataError
        There are fewer than 3 items.
    DivergedError
        The fit diverged.

    Notes
    -----
    If the estimator's model has no factors, the map shows a small factor model instead.
    """
    recommender, text = study.recommender, []
    model = rating_part(recommender.model)
    if not isinstance(model, FactorModel | BayesianModel) or model.item_factors.shape[1] < 2:
        recommender = Recommender.fit(study.small_estimator, study.table, seed=study.seed)
        text.append(
            f"The map shows factors of {study.small_estimator.name}, as {study.estimator.name} has fewer than 2."
        )
    support = _min_support(recommender)
    result = FactorMap.of(recommender, min_support=support)
    if len(result.shares) < 2 or len(result.items) < MIN_ITEMS:
        raise DataError(f"a factor map needs at least {MIN_ITEMS} items; got {len(result.items)}")
    items = result.items.sort("support", descending=True, maintain_order=True).head(MAX_ITEMS)
    text.append(
        f"{len(items):,} items with at least {support:,} {study.table.kind}. The two axes explain "
        f"{result.shares.sum():.0%} of the variance of the item factors; item biases are not included."
    )
    if result.popularity_share > 0:
        text.append(
            f"{result.popularity_share:.0%} of the variance follows the number of events of the items; this part is "
            "taken out, because the first axis would otherwise show popularity."
        )
    ends = pl.concat(
        [
            end_items.select(
                pl.lit(axis).alias("axis"), pl.lit(axis_end).alias("end"), name=_name(end_items), support="support"
            )
            for axis in range(1, len(result.shares) + 1)
            for axis_end, end_items in zip(("low", "high"), result.ends(axis, 5), strict=True)
        ]
    )
    caption = (
        "Items close to each other are liked by the same users, and items at opposite ends by different users; larger "
        "dots have more ratings, and names are shown on hover."
    )
    columns = {"axis": "axis", "end": "end", "name": "item", "support": study.table.kind}
    return Section(
        "factor_map", "Factor map", text, [Picture(factor_map_plot(items), caption)],
        [Table("ends", "Items at the ends of the axes", ends, columns), Table("items", "Items", items)],
        {"shares": result.shares.tolist(), "popularity_share": result.popularity_share, "min_support": support},
    )  # fmt: skip


def ranking_section(study: Study) -> Section:
    """Create the report section that ranks the items by bias-adjusted rating, shown next to the plain average rating.

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
        The table contains events, or the model has no biases.
    """
    recommender, text = study.recommender, []
    support = _min_support(recommender)
    ranked = bias_ranking(recommender, min_support=support)
    text.append(
        "The bias-adjusted rating is the rating that the model expects from an average user; the plain average is "
        f"taken over the users who rated the item. {len(ranked):,} items with at least {support:,} ratings."
    )
    columns = {"name": "item", "level": "bias-adjusted", "average": "average", "support": "ratings"}
    first, last = ranked.head(10), ranked.tail(min(10, max(len(ranked) - 10, 0)))
    extreme_items = pl.concat([first, last])
    pictures = [
        Picture(
            bias_ranking_plot(ranked),
            "The ten items with the highest and the ten with the lowest bias-adjusted ratings: the dot is the "
            "bias-adjusted rating, the ring is the plain average, and the number after a name counts its ratings.",
        )
    ]
    tables = [Table("ends", "Highest and lowest", extreme_items.with_columns(name=_name(extreme_items)), columns)]
    missing = []
    try:
        surprising_frame = surprising_items(recommender, min_support=support)
    except KindError as problem:
        missing.append(f"Surprising items are omitted: {problem}.")
    else:
        caption = (
            "The items with the most unusual difference between the two ratings: those at the top are liked even by "
            "strict raters, and the averages of those at the bottom are inflated by who rated them."
        )
        pictures.append(Picture(bias_ranking_plot(surprising_frame), caption))
        frame = surprising_frame.with_columns(name=_name(surprising_frame))
        columns = columns | {"surprise": "beyond typical difference"}
        tables.append(Table("surprising_items", "Largest differences", frame, columns))
    tables.append(Table("bias_ranking", "All items", ranked))
    return Section("ranking", "Item ranking", text, pictures, tables, {"min_support": support}, missing)


def _min_support(recommender: Recommender) -> int:
    """Return the minimum number of ratings per item: 20, or less if fewer than 40 items have that many."""
    counts = recommender.support
    return next((minimum for minimum in (20, 10, 5, 2) if (counts >= minimum).sum() >= 40), 1)


def _name(frame: pl.DataFrame) -> pl.Series:
    ids = frame["item"].cast(pl.String)
    return frame["title"].cast(pl.String).fill_null(ids) if "title" in frame.columns else ids
