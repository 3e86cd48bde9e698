"""Catalog: the items of a recommender with their titles, counts and evidence."""

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
from cofactor.data.scale import Scale
from cofactor.errors import KindError, ParameterError, UnknownIdError
from cofactor.kernels.sparse import SparseRows
from cofactor.models.rerank import without_evidence

__all__ = ["Catalog", "known_rows", "vectors_method"]

FEW_ROWS = 64
"""Columns with fewer rows are created in Python, which is faster than a call of polars."""


@dataclass(frozen=True, eq=False)
class Catalog:
    """The items of a recommender.

    Parameters
    ----------
    items : IdMap
        Ids of n_items items.
    histories : SparseRows
        The histories that the model was trained on, n_users rows; `support` counts them.
    titles : pl.Series or None
        Titles in the order of the rows.
    evidence : ndarray of shape (n_items,), bool, or None
        The items that the model has evidence about; it cannot rank the others. None for all.
    model : Model or None
        The trained model.
    scale : Scale or None
        The rating scale; None for events.
    """

    items: IdMap
    histories: SparseRows
    titles: pl.Series | None = None
    evidence: Bool | None = None
    model: Any = None
    scale: Scale | None = None

    @property
    def n_items(self) -> int:
        """Number of items."""
        return len(self.items)

    @cached_property
    def support(self) -> Int64:
        """Number of ratings or events of each item: ndarray of shape (n_items,), int64."""
        return self.histories.column_counts(self.n_items)

    @cached_property
    def by_support(self) -> Int32:
        """Item rows, the most frequent first, then by row: ndarray of shape (n_items,), int32."""
        return np.argsort(-self.support, kind="stable").astype(np.int32)

    @cached_property
    def order(self) -> ItemOrder:
        """The order in which items without evidence complete a list; computed on first use."""
        return ItemOrder.deferred(self.n_items, self._by_support)

    def _by_support(self) -> Int32:
        return self.by_support

    def population(self, seed: int = 0) -> Population:
        """Return the distribution of new users that questions are based on; it is computed once for each seed.

        Parameters
        ----------
        seed : int, default 0
            Seed of the user clusters.

        Returns
        -------
        Population
            The distribution.

        Raises
        ------
        KindError
            If the model has no factors of ratings.
        """
        if seed not in self._populations:
            self._populations[seed] = Population.of(self.model, self.histories, scale=self.scale, seed=seed)
        return self._populations[seed]

    @cached_property
    def _populations(self) -> dict[int, Population]:
        return {}

    def mask(self, candidates: Iterable[Id] | None) -> Bool:
        """Return the mask of the candidates.

        Parameters
        ----------
        candidates : iterable of ids, or None
            The items to allow; None for all.

        Returns
        -------
        ndarray of shape (n_items,), bool
            An empty array, which allows all items, if `candidates` is None.

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

    def answered_by(self, model: Any, rows: Int32 | Sequence[int], scores: Float32 | Sequence[float]) -> pl.Series:
        """Return how each ranked item was chosen.

        Parameters
        ----------
        model : Model
            The model that ranked the items.
        rows : ndarray of shape (n,), int32
            Item rows.
        scores : ndarray of shape (n,), float32
            Their scores.

        Returns
        -------
        pl.Series of shape (n,), String
            "model", or "popularity" where the model has no evidence.
        """
        if not isinstance(rows, np.ndarray):
            rows = checks.row_numbers("rows", rows, self.n_items, unknown=True)
        if np.shape(scores) != rows.shape:
            raise ParameterError(f"scores must be as many as rows, {len(rows):,}, not {checks.describe(scores)}")
        unknown = without_evidence(
            model, rows, np.asarray(scores), ALL_ROWS if self.evidence is None else self.evidence
        )
        if len(rows) < FEW_ROWS:
            return pl.Series(["popularity" if row else "model" for row in unknown.tolist()], dtype=pl.String)
        if not unknown.any():
            return pl.Series(["model"]).new_from_index(0, len(rows))
        return pl.Series(["model", "popularity"]).gather(unknown.astype(np.uint32))

    def with_titles(self, frame: pl.DataFrame, rows: Int32) -> pl.DataFrame:
        """Return a frame with an additional column of titles.

        Parameters
        ----------
        frame : pl.DataFrame
            A frame of n rows.
        rows : ndarray of shape (n,), int32
            The item row of each row of the frame.

        Returns
        -------
        pl.DataFrame
            With the column title (String) at the end; unchanged if titles are not known.
        """
        return frame if self.titles is None else frame.with_columns(title=self.titles.gather(rows))

    def title_of(self, item: str, row: int) -> str | None:
        """Return the title of an item.

        Parameters
        ----------
        item : str
            Id of the item as text; not used, so that the method fits `users.TitleOf`.
        row : int
            Item row.

        Returns
        -------
        str or None
            None if the title is not known.
        """
        title: str | None = None if self.titles is None else self.titles[row]
        return title

    def item_row(self, item: Id) -> int:
        """Return the row of one item.

        Parameters
        ----------
        item : id
            Id of the item.

        Returns
        -------
        int
            Item row.

        Raises
        ------
        UnknownIdError
            For an unknown item.
        DataError
            For a value that is not an id, and for several ids.
        """
        return int(known_rows(self.items, pl.Series([single_id("item", item)]), "item")[0])

    def similar(self, model: Any, item: Id, n: int, allowed: Bool = ALL_ROWS) -> tuple[Int32, Float32]:
        """Return the items most similar to one item.

        Parameters
        ----------
        model : Model
            The model that compares the items.
        item : id
            Id of the item.
        n : int
            The maximum number of items.
        allowed : ndarray of shape (n_items,), bool
            The items to return; an empty array for all. Items without evidence are similar to no item.

        Returns
        -------
        rows : ndarray of shape (m,), int32
            Most similar first.
        scores : ndarray of shape (m,), float32
            Cosines from -1 to 1, or the similarity of an item-item model.

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
        valid = rows[0] >= 0
        return rows[0][valid], scores[0][valid]


def known_rows(ids: IdMap, values: pl.Series, what: str, hint: str = "") -> Int32:
    """Return the rows of known ids.

    Parameters
    ----------
    ids : IdMap
        The known ids.
    values : pl.Series of shape (n,)
        The ids to look up.
    what : str
        What an id identifies; the message of the error starts with it.
    hint : str, default ""
        Advice at the end of the message.

    Returns
    -------
    ndarray of shape (n,), int32
        Row numbers.

    Raises
    ------
    UnknownIdError
        For an unknown id.
    """
    try:
        if len(values) == 1:
            return np.array([ids.row(values[0])], np.int32)
        rows = ids.rows(values)
        if (rows < 0).any():
            first, unknown = values[int((rows < 0).argmax())], (rows < 0).sum()
            raise UnknownIdError(f"{first!r} is not a known id ({unknown:,} of these {len(rows):,} are not)")
    except UnknownIdError as error:
        raise UnknownIdError(f"{what} {error}{hint}") from None
    return rows


def vectors_method(model: object, method: str) -> Any:
    """Return a method of a model that compares vectors.

    Parameters
    ----------
    model : Model
        The model.
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
    if not hasattr(model, method) or getattr(model, "factors", 1) == 0:
        raise KindError("this model has no vectors to compare; fit one with factors, such as biased-mf")
    return getattr(model, method)
