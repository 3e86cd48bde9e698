"""Catalog: the items of a recommender, with metadata, rating counts and a mask of the items that the model can rank."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from cofactor import checks
from cofactor.arrays import ALL_ROWS, Bool, Float32, Int32, Int64, ItemOrder
from cofactor.cold_start.questionnaire import Population
from cofactor.data.id_columns import Id, id_series, single_id
from cofactor.data.ids import IdMap
from cofactor.data.metadata import Metadata
from cofactor.data.scale import Scale
from cofactor.errors import KindError, ParameterError, UnknownIdError
from cofactor.kernels.sparse import SparseRows
from cofactor.models.item_response import ItemResponse
from cofactor.models.paired import PairedModel, rating_part
from cofactor.models.rerank import without_evidence

__all__ = ["Catalog", "known_rows", "vectors_method"]

MIN_POLARS_ROWS = 64
"""Columns with fewer rows are created in Python, which is faster than calling polars."""


@dataclass(frozen=True, eq=False)
class Catalog:
    """Items of a recommender, with metadata, rating counts and a mask of the items that the model can rank.

    Parameters
    ----------
    items : IdMap
        IDs of n_items items.
    histories : SparseRows
        Histories that the model was trained on, with n_users rows; `support` is computed from them.
    item_table : pl.DataFrame or None
        Metadata in row order, with the IDs in the first column; the column `title`, if any, has the titles.
    evidence : ndarray of shape (n_items,), bool, or None
        Mask of the items for which the model has evidence; it cannot rank the others. None means all items.
    model : Model or None
        Trained model.
    scale : Scale or None
        Rating scale; None for events.
    """

    items: IdMap
    histories: SparseRows
    item_table: pl.DataFrame | None = None
    evidence: Bool | None = None
    model: Any = None
    scale: Scale | None = None

    @property
    def n_items(self) -> int:
        """Number of items in the catalog."""
        return len(self.items)

    @property
    def titles(self) -> pl.Series | None:
        """Titles in row order; None if there are none."""
        table = self.item_table
        return table["title"] if table is not None and "title" in table.columns else None

    @cached_property
    def metadata(self) -> Metadata:
        """Metadata in the item table, for filters."""
        return (
            Metadata.of_records([{}] * self.n_items) if self.item_table is None else Metadata.of_table(self.item_table)
        )

    @cached_property
    def support(self) -> Int64:
        """Number of ratings or events for each item: ndarray of shape (n_items,), int64."""
        return self.histories.column_counts(self.n_items)

    @property
    def ranking_histories(self) -> SparseRows:
        """Histories used for ranking: the liked ratings for a paired model, otherwise `histories`."""
        return self.model.liked(self.histories) if isinstance(self.model, PairedModel) else self.histories

    @cached_property
    def item_response(self) -> ItemResponse | None:
        """Effects of removing a row from a user's history, including the changes of the item vectors in a refit.

        None unless the model is a linear factor model.
        """
        model = self.model.ranker if isinstance(self.model, PairedModel) else self.model
        return ItemResponse.of(model, self.ranking_histories)

    @cached_property
    def popularity(self) -> Int64:
        """Number of entries in `ranking_histories` for each item: ndarray of shape (n_items,), int64."""
        return self.ranking_histories.column_counts(self.n_items)

    @cached_property
    def by_support(self) -> Int32:
        """Item row numbers, sorted by decreasing popularity, then by row: ndarray of shape (n_items,), int32."""
        return np.argsort(-self.popularity, kind="stable").astype(np.int32)

    @cached_property
    def order(self) -> ItemOrder:
        """Popularity order, used to fill lists with items that the model cannot rank; computed on first use."""
        return ItemOrder.deferred(self.n_items, self._by_support)

    def _by_support(self) -> Int32:
        return self.by_support

    def population(self, seed: int = 0) -> Population:
        """Return the distribution of new users that is used to choose questions; cached for each seed.

        Parameters
        ----------
        seed : int, default 0
            Seed for the user clusters.

        Returns
        -------
        Population
            Distribution of new users.

        Raises
        ------
        KindError
            If the model has no rating factors.
        """
        if seed not in self._populations:
            self._populations[seed] = Population.of(
                rating_part(self.model), self.histories, scale=self.scale, seed=seed
            )
        return self._populations[seed]

    @cached_property
    def _populations(self) -> dict[int, Population]:
        return {}

    def candidate_mask(self, candidates: Iterable[Id] | None) -> Bool:
        """Return a mask of the candidate items.

        Parameters
        ----------
        candidates : iterable of IDs, or None
            Items to allow; None for all.

        Returns
        -------
        ndarray of shape (n_items,), bool
            Mask of the candidates; an empty array, which allows all items, if `candidates` is None.

        Raises
        ------
        UnknownIdError
            For an unknown item.
        """
        if candidates is None:
            return ALL_ROWS
        allowed = np.zeros(self.n_items, bool)
        allowed[known_rows(self.items, id_series("candidates", candidates), "candidates: item")] = True
        return allowed

    def filter_mask(
        self,
        allowed: Bool,
        excluded: Int32,
        *,
        min_support: int = 0,
        where: str | None = None,
        metadata: Metadata | None = None,
    ) -> Bool:
        """Return a mask of the items that pass the filters of a list.

        Parameters
        ----------
        allowed : ndarray of shape (n_items,), bool
            Mask of the items to which the filters are applied; an empty array for all.
        excluded : ndarray of shape (n,), int32
            Row numbers of items to exclude; -1 for unknown items, which have no effect.
        min_support : int, default 0
            Minimum number of ratings or events of an item.
        where : str, optional
            Filter expression over the metadata; see `cofactor.data.where`.
        metadata : Metadata, optional
            Metadata of the items; by default, that of the item table.

        Returns
        -------
        ndarray of shape (n_items,), bool
            Mask of the items that pass all filters; `allowed` itself if there are no filters.

        Raises
        ------
        ParameterError
            If `min_support` or `where` is invalid.
        """
        min_support, excluded = checks.whole_number("min_support", min_support, low=0), excluded[excluded >= 0]
        if min_support == 0 and where is None and not len(excluded):
            return allowed
        mask = allowed.copy() if len(allowed) else np.ones(self.n_items, bool)
        if min_support > 0:
            mask &= self.support >= min_support
        if where is not None:
            mask &= (metadata or self.metadata).matches(where)
        mask[excluded] = False
        return mask

    def answered_by(self, model: Any, rows: Int32 | Sequence[int], scores: Float32 | Sequence[float]) -> pl.Series:
        """Return the source of each ranked item: the model or popularity.

        Parameters
        ----------
        model : Model
            Model that ranked the items.
        rows : ndarray of shape (n,), int32
            Row numbers of the ranked items.
        scores : ndarray of shape (n,), float32
            Scores of the ranked items.

        Returns
        -------
        pl.Series of shape (n,), String
            "model", or "popularity" for items about which the model has no evidence.
        """
        if not isinstance(rows, np.ndarray):
            rows = checks.row_numbers("rows", rows, self.n_items, unknown=True)
        if np.shape(scores) != rows.shape:
            raise ParameterError(
                f"scores must have {len(rows):,} entries, one per row number; got {checks.describe(scores)}"
            )
        lacks_evidence = without_evidence(
            model, rows, np.asarray(scores), ALL_ROWS if self.evidence is None else self.evidence
        )
        if len(rows) < MIN_POLARS_ROWS:
            return pl.Series(["popularity" if row else "model" for row in lacks_evidence.tolist()], dtype=pl.String)
        if not lacks_evidence.any():
            return pl.Series(["model"]).new_from_index(0, len(rows))
        return pl.Series(["model", "popularity"]).gather(lacks_evidence.astype(np.uint32))

    def with_titles(self, frame: pl.DataFrame, rows: Int32) -> pl.DataFrame:
        """Add a column with the item titles to a data frame.

        Parameters
        ----------
        frame : pl.DataFrame
            Frame with n rows.
        rows : ndarray of shape (n,), int32
            Row number of the item in each row of the frame.

        Returns
        -------
        pl.DataFrame
            Frame with the column title (String) at the end; unchanged if there are no titles.
        """
        return frame if self.titles is None else frame.with_columns(title=self.titles.gather(rows))

    def title_of(self, item: str, row: int) -> str | None:
        """Return the title of an item.

        Parameters
        ----------
        item : str
            ID of the item as a string; not used, but required by the signature `users.TitleOf`.
        row : int
            Row number of the item.

        Returns
        -------
        str or None
            Title of the item; None if it has none.
        """
        title: str | None = None if self.titles is None else self.titles[row]
        return title

    def item_row(self, item: Id) -> int:
        """Return the row number of one item.

        Parameters
        ----------
        item : ID
            ID of the item.

        Returns
        -------
        int
            Row number of the item.

        Raises
        ------
        UnknownIdError
            For an unknown item.
        DataError
            If the value is not a single ID.
        """
        return int(known_rows(self.items, pl.Series([single_id("item", item)]), "item")[0])

    def similar(self, model: Any, item: Id, n: int, allowed: Bool = ALL_ROWS) -> tuple[Int32, Float32]:
        """Return the items that are most similar to a given item.

        Parameters
        ----------
        model : Model
            Model that compares the items.
        item : ID
            ID of the item.
        n : int
            Maximum number of items.
        allowed : ndarray of shape (n_items,), bool
            Mask of the items that may be returned; an empty array for all. Items without evidence are not similar to
            any item.

        Returns
        -------
        rows : ndarray of shape (m,), int32
            Row numbers of the similar items, most similar first.
        scores : ndarray of shape (m,), float32
            Cosine similarities from -1 to 1, or the model's own similarity for an item-item model.

        Raises
        ------
        UnknownIdError
            For an unknown item.
        KindError
            If the model has no vectors or similarities.
        """
        n, row = checks.whole_number("n", n, low=1), self.item_row(item)
        similar_items = vectors_method(model, "similar_items")
        if self.evidence is not None:
            if not self.evidence[row]:
                return np.zeros(0, np.int32), np.zeros(0, np.float32)
            allowed = allowed & self.evidence if len(allowed) else self.evidence
        rows, scores = similar_items(np.array([row], np.int32), min(n, self.n_items), allowed)
        is_valid = rows[0] >= 0
        return rows[0][is_valid], scores[0][is_valid]


def known_rows(ids: IdMap, values: pl.Series, label: str, hint: str = "") -> Int32:
    """Return the row numbers of users or items, given their IDs.

    Parameters
    ----------
    ids : IdMap
        The known IDs.
    values : pl.Series of shape (n,)
        IDs to look up.
    label : str
        Description of an ID, such as "user"; the error message starts with it.
    hint : str, default ""
        Advice at the end of the error message.

    Returns
    -------
    ndarray of shape (n,), int32
        Row numbers.

    Raises
    ------
    UnknownIdError
        For an unknown ID.
    """
    try:
        if len(values) == 1:
            return np.array([ids.row(values[0])], np.int32)
        rows = ids.rows(values)
        if (rows < 0).any():
            first_unknown, n_unknown = values[int((rows < 0).argmax())], (rows < 0).sum()
            raise UnknownIdError(f"{first_unknown!r} is not a known ID ({n_unknown:,} of {len(rows):,} are unknown)")
    except UnknownIdError as error:
        raise UnknownIdError(f"{label} {error}{hint}") from None
    return rows


def vectors_method(model: object, method: str) -> Any:
    """Return the model method that finds similar items or similar users.

    Parameters
    ----------
    model : Model
        The model; a paired model compares items and users with its ranker.
    method : str
        Name of the method, "similar_items" or "similar_users".

    Returns
    -------
    callable
        The bound method.

    Raises
    ------
    KindError
        If the model has no vectors or similarities.
    """
    if isinstance(model, PairedModel):
        model = model.ranker
    if not hasattr(model, method) or getattr(model, "factors", 1) == 0:
        raise KindError("this model has no vectors to compare; fit a model with factors, such as biased-mf")
    return getattr(model, method)
