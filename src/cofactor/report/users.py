"""Report sections on users: concentration and exposure, and group influence."""

from __future__ import annotations

import numpy as np
import polars as pl

from cofactor.arrays import Int64
from cofactor.audit.concentration import Concentration, exposure
from cofactor.audit.group_influence import Influence, influence
from cofactor.audit.user_clusters import cluster_users
from cofactor.data.features import indicators
from cofactor.data.interactions import Interactions
from cofactor.errors import DataError
from cofactor.estimators import BiasedMF, ExplicitALS, ImplicitALS
from cofactor.estimators.base import Estimator
from cofactor.plots import genres_plot, influence_plot, lorenz_plot
from cofactor.recommender.recommender import Recommender
from cofactor.report.section import Picture, Section, Table
from cofactor.report.study import MAX_GENRES, Study

__all__ = ["exposure_section", "influence_section"]

MAX_GROUPS, MIN_GROUP_USERS = 10, 8
"""Maximum number of user groups, and minimum average number of users per group."""
FAST_ESTIMATORS = (BiasedMF, ExplicitALS, ImplicitALS)
"""Estimators fast enough for the influence audit, which fits about a thousand models."""


def exposure_section(study: Study) -> Section:
    """Create the report section on the concentration of the table and the exposure of items, by genre if available.

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
    DivergedError
        The fit diverged.
    """
    column, missing = study.genre_column, []
    if column is None:
        missing.append(
            "Genres are omitted: there is no item table with a genre column (--items FILE, --genres COLUMN)."
        )
    elif (n := len(indicators(study.table.item_table, [column], "item"))) > MAX_GENRES or n == 0:
        missing.append(
            f"Genres are omitted: the column {column} has {n:,} distinct genres; 1 to {MAX_GENRES} can be shown."
        )
        column = None
    result = exposure(study.recommender, column=column)
    parts = {f"{study.table.kind} per user": result.rows_per_user, f"{study.table.kind} per item": result.rows_per_item,
             "list positions per item": result.positions_per_item}  # fmt: skip
    curves = pl.concat([part.lorenz.with_columns(what=pl.lit(name)) for name, part in parts.items()])
    text = [
        (
            f"Lists of ten items for each user cover {result.coverage:.0%} of the catalog. On average, recommended "
            f"items have {result.popularity_lift:.1f} times as many {study.table.kind} as the items in the histories."
        ),
    ]
    pictures = [
        Picture(
            lorenz_plot(curves),
            f"Lorenz curves of the {study.table.kind} by user and by item, and of the recommendations by item: the "
            "further a curve is below the diagonal, the stronger the concentration on few users or items.",
        )
    ]
    columns = {"what": "", "members": "users or items", "total": "total", "gini": "Gini", "top_share": "top 1 % share"}
    bounds = {"measure": "measure", "value": "value", "low": "low", "high": "high"}
    tables = [
        Table("concentration", "Concentration", _summary(parts), columns),
        Table("intervals", "95 % intervals over users", result.intervals, bounds),
        Table("lorenz", "Lorenz curves", curves),
    ]
    numbers = {"coverage": result.coverage, "popularity_lift": result.popularity_lift}
    if result.genres is not None:
        numbers |= {"miscalibration": result.genres.miscalibration, "miscalibration_floor": result.genres.floor}
        text.append(
            f"The genres of the lists diverge from those of the histories by {result.genres.miscalibration:.2f} "
            f"(mean KL divergence); as many random items of the user's own history have {result.genres.floor:.2f}."
        )
        caption = "The ring is the mean share of a genre in the histories, and the dot is its mean share in the lists."
        pictures.append(Picture(genres_plot(result.genres.table), caption))
        columns = {"genre": "genre", "had": "in histories", "shown": "in lists"}
        tables.append(Table("genres", "Genres", result.genres.table, columns))
    return Section("exposure", "Concentration and exposure", text, pictures, tables, numbers, missing)


def influence_section(study: Study) -> Section:
    """Create the report section on the influence of user groups on the recommendations for other users.

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
        There are too few users, or all users rated the same items.
    DivergedError
        A fit diverged.
    """
    table = study.sampled_table
    n_users = int((table.by_user.counts > 0).sum())
    n_groups = min(MAX_GROUPS, n_users // MIN_GROUP_USERS)
    if n_groups < 2:
        raise DataError(f"group influence needs at least {2 * MIN_GROUP_USERS} users with {table.kind}; got {n_users}")
    groups = cluster_users(table.by_user, table.n_items, n_groups=n_groups, seed=study.seed)
    n_groups = int(groups.max()) + 1
    if n_groups < 2:
        raise DataError("all users rated the same items, so they cannot be clustered into groups")
    result, estimator = _influence(study, table, groups)
    frame = result.groups.with_columns(typical=_typical_items(table, groups, n_groups))
    n_flagged = int(frame["flagged"].sum())
    text = [
        (
            f"{n_users:,} users in {n_groups} groups, clustered by the items that they rated and audited with "
            f"{estimator.name}: it is fitted again without each group, and changes in the other users' lists are "
            f"counted. {n_flagged or 'None'} of the groups {'has' if n_flagged == 1 else 'have'} clearly and "
            "significantly more influence than random groups of the same size."
        ),
        (
            f"With all users and another random seed, {result.noise_floor:.0%} of the positions change. A group whose "
            f"ratio to random groups with as many {table.kind} is near 1 has its influence because it contributes "
            f"many {table.kind}; above 1, it has more than these explain."
        ),
        *study.sample_notes,
    ]
    caption = (
        "The ring is a group's share of the users, and the dot is its share of the influence on the lists of other "
        "users; red diamonds are groups with significantly more influence than random groups of the same size."
    )
    columns = {"group": "group", "typical": "typical items", "users": "users", "share_of_users": "of users",
               "share_of_rows": f"of {table.kind}", "share_of_influence": "of influence",
               "ratio": "ratio to as many users", "ratio_rows": f"ratio to as many {table.kind}",
               "p_adjusted": "p (adjusted)"}  # fmt: skip
    return Section(
        "influence", "Group influence", text, [Picture(influence_plot(frame), caption)],
        [Table("groups", "Groups", frame, columns)],
        {"permutations": result.permutations, "model": estimator.name, "agreement": result.agreement,
         "noise_floor": result.noise_floor},
    )  # fmt: skip


def _summary(parts: dict[str, Concentration]) -> pl.DataFrame:
    rows = [(name, part.members, part.total, part.gini, part.top_share) for name, part in parts.items()]
    return pl.DataFrame(rows, schema=["what", "members", "total", "gini", "top_share"], orient="row")


def _influence(study: Study, table: Interactions, groups: Int64) -> tuple[Influence, Estimator]:
    """Return the influence for the study's estimator if its ranking model is fast to fit, otherwise for a small one."""
    ranker, _ = study.estimator.ranking_part(table)
    estimator = study.estimator if isinstance(ranker, FAST_ESTIMATORS) else study.small_estimator
    is_fitted = table is study.table and estimator is study.estimator
    recommender = study.recommender if is_fitted else Recommender.fit(estimator, table, seed=study.seed)
    return influence(recommender, groups, seed=study.seed), estimator


def _typical_items(table: Interactions, groups: Int64, n_groups: int) -> pl.Series:
    """Return three typical items for each group: those whose fraction of raters most exceeds that among other users."""
    counts = np.bincount(groups[table.u] * table.n_items + table.i, minlength=n_groups * table.n_items)
    raters = counts.reshape(n_groups, table.n_items).astype(np.float64)
    group_sizes = np.bincount(groups, minlength=n_groups)[:, None]
    rate_differences = raters / np.maximum(group_sizes, 1) - (raters.sum(axis=0) - raters) / np.maximum(
        group_sizes.sum() - group_sizes, 1
    )
    top_items = np.argsort(-rate_differences, axis=1, kind="stable")[:, :3]
    ids = table.items.all.cast(pl.String)
    names = ids if table.titles is None else table.titles.cast(pl.String).fill_null(ids)
    return pl.Series(["; ".join(names.gather(row).to_list()) for row in top_items])
