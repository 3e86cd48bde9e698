"""New items in a model that learnt without them: placed by the priors of items, where the model has any."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import polars as pl

from cofactor.errors import DataError, KindError
from cofactor.service.change_feed import KnownItem
from cofactor.service.loaded_model import LoadedModel

__all__ = ["widened"]


def widened(serving: LoadedModel, items: dict[str, KnownItem]) -> LoadedModel | None:
    """The same version, its catalog holding these items too; None where there is none that is new, or no prior.

    An id of another type than the model's (text, where those are integers) is left aside. Metadata that the prior
    cannot read counts as unknown.

    >>> import cofactor
    >>> from cofactor.datasets.synthetic import SyntheticConfig, generate
    >>> ratings = generate(SyntheticConfig(n_users=60, n_items=40, n_ratings=900)).interactions
    >>> rec = cofactor.Recommender.fit(cofactor.ExplicitALS(factors=4), ratings).with_priors()
    >>> wider = widened(LoadedModel(1, 0, rec), {"100": KnownItem("Jaws", True, {}), "7": KnownItem(None, True, {})})
    >>> wider.edition, wider.item_row("100"), len(wider.recommender.items)
    (1, 40, 41)
    """
    rec = serving.recommender
    if rec.priors is None or rec.priors.items is None:
        return None
    names = list(items)
    new = [name for name, row in zip(names, serving.item_rows(names), strict=True) if row < 0]
    ids = rec.items.typed(pl.Series(new, dtype=pl.String))
    fit = ids.is_not_null().arg_true().to_list()
    if not fit:
        return None
    metadata = [items[new[at]].metadata for at in fit]
    columns = [] if rec.priors.items.encoder is None else [one.name for one in rec.priors.items.encoder.columns]
    key = "item" if rec.item_table is None else rec.item_table.columns[0]
    nothing: list[dict[str, Any]] = [{} for _ in fit]
    for told in (metadata, nothing):
        try:
            table = _table(key, [ids[at] for at in fit], columns, told)
            return replace(serving, recommender=rec.with_items(table), edition=serving.edition + 1)
        except (DataError, KindError, TypeError, pl.exceptions.PolarsError):
            continue
    return None


def _table(key: str, ids: list[Any], columns: list[str], metadata: list[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame({key: ids, **{name: [one.get(name) for one in metadata] for name in columns}})
