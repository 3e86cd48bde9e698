"""Catalog updates: add new items from the store to a loaded model, using its item prior."""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from cofactor.errors import DataError, KindError
from cofactor.service.change_feed import ItemRecord
from cofactor.service.loaded_model import LoadedModel

__all__ = ["with_new_items"]


def with_new_items(model: LoadedModel, items: dict[str, ItemRecord]) -> LoadedModel | None:
    """Add items to the catalog of a model.

    Parameters
    ----------
    model : LoadedModel
        The model.
    items : dict of str to ItemRecord
        Items in the store, by ID. Items that the model already knows, and IDs that cannot be converted to its ID type,
        are ignored. Metadata that the prior cannot use is treated as missing.

    Returns
    -------
    LoadedModel or None
        The same version with the next catalog revision; None if there are no new items or the model has no item prior.

    Examples
    --------
    >>> import cofactor
    >>> from cofactor.datasets.synthetic import SyntheticConfig, generate
    >>> ratings = generate(SyntheticConfig(n_users=60, n_items=40, n_ratings=900)).interactions
    >>> rec = cofactor.Recommender.fit(cofactor.ExplicitALS(factors=4), ratings).with_priors()
    >>> items = {"100": ItemRecord("Jaws", True, {}), "7": ItemRecord(None, True, {})}
    >>> larger = with_new_items(LoadedModel(1, 0, rec), items)
    >>> larger.catalog_revision, larger.item_row("100"), len(larger.recommender.items)
    (1, 40, 41)
    """
    rec = model.recommender
    if rec.priors is None or rec.priors.items is None:
        return None
    names = list(items)
    new_names = [name for name, row in zip(names, model.item_rows(names), strict=True) if row < 0]
    typed_ids = dict(zip(new_names, rec.items.as_id_type(pl.Series(new_names, dtype=pl.String)), strict=True))
    ids = {name: id_ for name, id_ in typed_ids.items() if id_ is not None}
    if not ids:
        return None
    encoder = rec.priors.items.encoder
    columns = [] if encoder is None else [column.name for column in encoder.columns]
    key = "item" if rec.item_table is None else rec.item_table.columns[0]
    for has_metadata in (True, False):
        metadata = [items[name].metadata if has_metadata else {} for name in ids]
        values = {column: [fields.get(column) for fields in metadata] for column in columns}
        try:
            table = pl.DataFrame({key: list(ids.values()), **values})
            return replace(model, recommender=rec.with_items(table), catalog_revision=model.catalog_revision + 1)
        except (DataError, KindError, TypeError, pl.exceptions.PolarsError):
            continue
    return None
