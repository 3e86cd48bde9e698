"""Who rates, what is shown, and who decides it."""

from __future__ import annotations

import numpy as np
import polars as pl

from cofactor.arrays import Int64
from cofactor.audit.concentration import Concentration, exposure
from cofactor.audit.group_influence import Influence, influence
from cofactor.audit.user_clusters import taste_groups
from cofactor.data.features import indicators
from cofactor.data.interactions import Interactions
from cofactor.errors import DataError, KindError
from cofactor.estimators.base import Estimator
from cofactor.plots import genres_plot, influence_plot, lorenz_plot
from cofactor.recommender.recommender import Recommender
from cofactor.report.section import Picture, Section, Table
from cofactor.report.study import MOST_KINDS, Study

__all__ = ["decides", "shown"]

GROUPS, PEOPLE = 10, 8
"""Groups of tastes at most, and how many people one needs."""


def shown(study: Study) -> Section:
    """Exposure: raters, rated, shown; genres where there are some. Raises as a fit does."""
    kinds, missing = study.kinds, []
    if kinds is None:
        missing.append(
            "Genres are left out: there is no item table with a column genres (--items FILE, --genres COLUMN)."
        )
    elif (n := len(indicators(study.table.item_table, [kinds], "item"))) > MOST_KINDS or n == 0:
        missing.append(
            f"Genres are left out: the column {kinds} names {n:,} kinds, and up to {MOST_KINDS} can be shown."
        )
        kinds = None
    found = exposure(study.recommender, column=kinds)
    parts = {f"{study.table.kind} by people": found.raters, f"{study.table.kind} of items": found.rated,
             "places in lists": found.shown}  # fmt: skip
    curves = pl.concat([one.lorenz.with_columns(what=pl.lit(what)) for what, one in parts.items()])
    text = [
        (
            f"Ten recommendations for everybody show {found.coverage:.0%} of the catalog, and what is shown has "
            f"{found.popularity_lift:.1f} times the support of what people have."
        ),
    ]
    pictures = [
        Picture(
            lorenz_plot(curves),
            "The further a curve hangs below the diagonal, the fewer people or items hold most: who gives the ratings, "
            "what they are given to, and what is recommended.",
        )
    ]
    head = {"what": "what", "members": "who", "total": "hold", "gini": "Gini", "top_share": "top 1 % hold"}
    tables = [Table("concentration", "How unevenly", _summary(parts), head), Table("lorenz", "Lorenz curves", curves)]
    numbers = {"coverage": found.coverage, "popularity_lift": found.popularity_lift}
    if found.genres is not None:
        numbers["miscalibration"] = found.genres.miscalibration
        reading = "The ring is the share of a genre among what people rated, the dot its share of their lists."
        pictures.append(Picture(genres_plot(found.genres.table), reading))
        tables.append(Table("genres", "Genres", found.genres.table, {"genre": "genre", "had": "had", "shown": "shown"}))
    return Section("exposure", "Who rates, and what is shown", text, pictures, tables, numbers, missing)


def decides(study: Study) -> Section:
    """The influence of taste groups on what others are shown. Raises DataError for too few users, KindError."""
    table = study.fewer
    people = int((table.by_user.counts > 0).sum())
    n_groups = min(GROUPS, people // PEOPLE)
    if n_groups < 2:
        raise DataError(f"groups of tastes need {2 * PEOPLE} users or more, and there are {people}")
    groups = taste_groups(table.by_user, table.n_items, n_groups=n_groups, seed=study.seed)
    n_groups = int(groups.max()) + 1
    if n_groups < 2:
        raise DataError("everybody rated the same things, so that there are no groups of tastes")
    found, estimator = _influence(study, table, groups)
    frame = found.groups.with_columns(typical=_typical(table, groups, n_groups))
    flagged = int(frame["flagged"].sum())
    text = [
        (
            f"{n_groups} groups of people who rate the same things, of {people:,} people, audited on "
            f"{estimator.name}: each is taken away in turn, to see what changes in the lists of the others. "
            f"{flagged or 'None'} of them {'decides' if flagged == 1 else 'decide'} surely and far more than random "
            "groups of the same size."
        ),
        *filter(None, [study.sampled]),
    ]
    reading = (
        "The ring is a group's share of the people, the full mark its share of the influence on others' lists: "
        "far to the "
        "right of the ring, few people decide much, and red diamonds do so surely."
    )
    columns = {"group": "group", "typical": "typical for them", "users": "people", "share_of_users": "of people",
               "share_of_rows": f"of {table.kind}", "share_of_influence": "of influence", "ratio": "times chance",
               "p_adjusted": "p (Holm)"}  # fmt: skip
    return Section(
        "influence", "Who decides what others are shown", text, [Picture(influence_plot(frame), reading)],
        [Table("groups", "Groups", frame, columns)], {"permutations": found.permutations, "model": estimator.name},
    )  # fmt: skip


def _summary(parts: dict[str, Concentration]) -> pl.DataFrame:
    rows = [(what, one.members, one.total, one.gini, one.top_share) for what, one in parts.items()]
    return pl.DataFrame(rows, schema=["what", "members", "total", "gini", "top_share"], orient="row")


def _influence(study: Study, table: Interactions, groups: Int64) -> tuple[Influence, Estimator]:
    """Of the estimator's own model, or of one of least squares where it has none."""
    for estimator in (study.estimator, study.small_estimator):
        same = table is study.table and estimator is study.estimator
        recommender = study.recommender if same else Recommender.fit(estimator, table, seed=study.seed)
        try:
            return influence(recommender, groups, seed=study.seed), estimator
        except KindError:
            if estimator is not study.estimator:
                raise
    raise AssertionError("the second one is of least squares")


def _typical(table: Interactions, groups: Int64, n_groups: int) -> pl.Series:
    """Three items of each group, those that most more of it than of the others rated."""
    cells = np.bincount(groups[table.u] * table.n_items + table.i, minlength=n_groups * table.n_items)
    own = cells.reshape(n_groups, table.n_items).astype(np.float64)
    size = np.bincount(groups, minlength=n_groups)[:, None]
    more = own / np.maximum(size, 1) - (own.sum(axis=0) - own) / np.maximum(size.sum() - size, 1)
    best = np.argsort(-more, axis=1, kind="stable")[:, :3]
    ids = table.items.all.cast(pl.String)
    names = ids if table.titles is None else table.titles.cast(pl.String).fill_null(ids)
    return pl.Series(["; ".join(names.gather(row).to_list()) for row in best])
