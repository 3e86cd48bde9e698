"""Feature encoder: one-hot and multi-hot indicators from columns in an item or user table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import polars as pl

from cofactor import checks
from cofactor.arrays import MAX_ROWS, Float64, Int64
from cofactor.errors import DataError
from cofactor.fork import require_threads
from cofactor.kernels.sparse import SparseRows
from cofactor.validation import validated

__all__ = ["Encoder", "Features", "indicators"]

MAX_DISTINCT_VALUES = 12
"""Numeric columns with at most this many distinct values get one indicator per value."""
N_BINS = 10
"""Number of quantile bins for the other numeric columns."""

PARTS, VALUES, CUTS = "parts", "values", "cuts"


@dataclass(frozen=True, eq=False)
class Features:
    """Binary indicators for the rows of a table, created by `indicators` or `Encoder.encode`.

    Attributes
    ----------
    names : tuple of str of length m
        Name of each indicator, such as "genres=Comedy", "age=24", or "year>=1990" for the bin that starts there.
    rows_by_indicator : SparseRows
        For each of the m indicators, the sorted row numbers that have it; all values are 1.

    Examples
    --------
    >>> films = pl.DataFrame({"item": [1, 2], "genres": ["Comedy|War", "War"]})
    >>> features = indicators(films, ["genres"], "item")
    >>> len(features), features.names
    (2, ('genres=Comedy', 'genres=War'))
    """

    names: tuple[str, ...]
    rows_by_indicator: SparseRows

    def __len__(self) -> int:
        return len(self.names)

    @validated
    def dense(self, n_rows: int) -> Float64:
        """Return the indicators as a dense matrix.

        Parameters
        ----------
        n_rows : int
            Number of rows in the table.

        Returns
        -------
        ndarray of shape (n_rows, m), float64
            1 where a row has an indicator, otherwise 0.

        Raises
        ------
        ParameterError
            If `n_rows` is too small for the indicators.

        Examples
        --------
        >>> films = pl.DataFrame({"item": [1, 2], "genres": ["Comedy|War", "War"]})
        >>> indicators(films, ["genres"], "item").dense(2).tolist()
        [[1.0, 1.0], [0.0, 1.0]]
        """
        min_rows = int(self.rows_by_indicator.columns.max(initial=-1)) + 1
        dense = np.zeros((checks.whole_number("n_rows", n_rows, low=min_rows, high=MAX_ROWS), len(self)))
        dense[self.rows_by_indicator.columns, self.rows_by_indicator.owners] = 1
        return dense

    @validated
    def shares(self, n_rows: int) -> Float64:
        """Return the dense indicators with each row divided by its sum.

        Parameters
        ----------
        n_rows : int
            Number of rows in the table.

        Returns
        -------
        ndarray of shape (n_rows, m), float64
            Rows that sum to 1; a row without indicators is all 0.

        Examples
        --------
        >>> films = pl.DataFrame({"item": [1, 2], "genres": ["Comedy|War", None]})
        >>> indicators(films, ["genres"], "item").shares(2).tolist()
        [[0.5, 0.5], [0.0, 0.0]]
        """
        dense = self.dense(n_rows)
        shares: Float64 = dense / np.maximum(dense.sum(axis=1, keepdims=True), 1)
        return shares


@dataclass(frozen=True)
class Column:
    """Encoding of one table column as binary indicators.

    Attributes
    ----------
    name : str
        Name of the column.
    form : {"parts", "values", "cuts"}
        One indicator per string, per number, or per bin of numbers.
    categories : tuple
        The strings or numbers in ascending order; for bins, their lower ends.
    labels : tuple of str
        Label of each indicator, without the column name.
    """

    name: str
    form: str
    categories: tuple[Any, ...]
    labels: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """Names of the indicators, such as "year=1990", or "year>=1990" for a bin.

        Returns
        -------
        list of str
            One name per indicator.
        """
        sign = ">=" if self.form == CUTS else "="
        return [f"{self.name}{sign}{label}" for label in self.labels]

    def members(self, column: pl.Series, entity: str) -> tuple[Int64, Int64]:
        """Return the coordinates of the nonzero entries of a column's one-hot encoding: indicator and row indices.

        Missing values, and values that did not occur in the table from which the encoding was learned, have none.

        Parameters
        ----------
        column : Series of shape (n_rows,)
            The column to encode.
        entity : str
            "user" or "item", for messages.

        Returns
        -------
        indicators : ndarray of shape (k,), int64
            Indices of the indicators, from 0.
        rows : ndarray of shape (k,), int64
            Row numbers.

        Raises
        ------
        DataError
            If the type of the column differs from that of the column from which the encoding was learned.
        """
        if self.form == PARTS:
            parts = _parts(column, entity)
            if not self.categories:
                return np.zeros(0, np.int64), np.zeros(0, np.int64)
            positions = pl.DataFrame(
                {"part": self.categories, "at": range(len(self.categories))}, schema_overrides={"part": pl.String}
            )
            matches = parts.join(positions, on="part").sort("at", "row")
            return matches["at"].to_numpy().astype(np.int64), matches["row"].to_numpy().astype(np.int64)
        numbers = _numbers(column, entity)
        rows = np.flatnonzero(np.isfinite(numbers))
        categories = np.array(self.categories, np.float64)
        if not len(categories):
            rows = rows[:0]
        indicators = np.searchsorted(categories, numbers[rows], side="right") - 1
        if self.form == VALUES:
            is_known = categories[indicators] == numbers[rows]
            rows, indicators = rows[is_known], indicators[is_known]
        return np.maximum(indicators, 0).astype(np.int64), rows.astype(np.int64)


@dataclass(frozen=True)
class Encoder:
    """Feature encoder that learns categories and bins from one user or item table and encodes other tables with them.

    Attributes
    ----------
    entity : str
        "user" or "item".
    columns : tuple of Column
        Encoding of each column.

    Examples
    --------
    >>> films = pl.DataFrame({"item": [1, 2, 3], "genres": ["Comedy|War", "War", None], "year": [1990, 2001, 2001]})
    >>> encoder = Encoder.of(films, ["genres", "year"], "item")
    >>> encoder.names
    ('genres=Comedy', 'genres=War', 'year=1990', 'year=2001')
    >>> encoder.encode(pl.DataFrame({"genres": ["War|Horror"], "year": [1990]})).dense(1).tolist()
    [[0.0, 1.0, 1.0, 0.0]]
    """

    entity: str
    columns: tuple[Column, ...]

    @classmethod
    @validated
    def of(cls, table: pl.DataFrame | None, columns: Sequence[str], entity: str) -> Self:
        """Learn the encoding of selected columns in a table.

        Strings get one indicator for each part separated by "|", lists one for each element. Numbers and dates get one
        for each distinct value if there are at most 12, otherwise one for each of ten quantile bins. Missing values
        have no indicator.

        Parameters
        ----------
        table : DataFrame or None
            The table, whose first column contains the IDs. A table without rows gives no indicators.
        columns : sequence of str
            Names of the columns to encode.
        entity : str
            "user" or "item", for messages.

        Returns
        -------
        Encoder
            The encoder.

        Raises
        ------
        DataError
            If there is no table, or if a column is missing, is the ID column, or has an unsupported type.
        """
        if table is None:
            names = ", ".join(columns)
            raise DataError(f"{entity}_features selects {names}, but there is no {entity} table")
        if unknown := [name for name in columns if name not in table.columns[1:]]:
            names = ", ".join(table.columns[1:]) or "none"
            raise DataError(f"the {entity} table has no feature column {unknown[0]!r}; it has {names}")
        return cls(entity, tuple(_column(table[name], entity) for name in columns))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all indicators that the encoder creates, in the order of the encoded columns."""
        return tuple(name for column in self.columns for name in column.names)

    @validated
    def encode(self, table: pl.DataFrame) -> Features:
        """Encode the rows of a table as binary indicators.

        Parameters
        ----------
        table : DataFrame
            A table with the columns of the encoder.

        Returns
        -------
        Features
            The indicators. Values that did not occur in the table from which the encoder was learned have none.

        Raises
        ------
        DataError
            If a column is missing or has a different type.
        """
        indicator, rows, n_indicators = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], 0
        for column in self.columns:
            if column.name not in table.columns:
                raise DataError(
                    f"the {self.entity} table is missing column {column.name!r}, which was used to learn the features"
                )
            numbers, table_rows = column.members(table[column.name], self.entity)
            indicator.append(numbers + n_indicators)
            rows.append(table_rows)
            n_indicators += len(column.categories)
        members = np.concatenate(rows)
        ones = np.ones(len(members), np.float32)
        return Features(self.names, SparseRows.of(np.concatenate(indicator), members, ones, n_indicators))

    def settings(self) -> dict[str, Any]:
        """Return the settings of the encoder as JSON-serializable values; `from_settings` restores the encoder.

        Returns
        -------
        dict
            The keys "what" and "columns".
        """
        # "marks" is the name of the categories in model files
        columns = [{"name": c.name, "form": c.form, "marks": c.categories, "labels": c.labels} for c in self.columns]
        return {"what": self.entity, "columns": columns}

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Self:
        """Restore an encoder from its settings.

        Parameters
        ----------
        settings : mapping
            The result of `settings`.

        Returns
        -------
        Encoder
            An encoder equal to the original.

        Raises
        ------
        KeyError
            If a setting is missing.
        DataError
            If the categories of a column are not sorted and distinct, or do not have one label each.

        Examples
        --------
        >>> encoder = Encoder.of(pl.DataFrame({"item": [1], "genres": ["War"]}), ["genres"], "item")
        >>> Encoder.from_settings(encoder.settings()) == encoder
        True
        """
        columns = [_stored_column(column) for column in settings["columns"]]
        return cls(settings["what"], tuple(columns))


@validated
def indicators(table: pl.DataFrame | None, columns: Sequence[str], entity: str) -> Features:
    """Encode columns of a table as binary indicators, with categories and bins learned from the same table.

    Parameters
    ----------
    table : DataFrame or None
        A user or item table whose first column contains the IDs.
    columns : sequence of str
        Names of the columns to encode.
    entity : str
        "user" or "item", for messages.

    Returns
    -------
    Features
        The indicators for the rows; see `Encoder.of`.

    Raises
    ------
    DataError
        If there is no table, or if a column is missing, is the ID column, or has an unsupported type.

    Examples
    --------
    >>> films = pl.DataFrame({"item": [1, 2, 3], "genres": ["Comedy|War", "War", None]})
    >>> features = indicators(films, ["genres"], "item")
    >>> features.names, features.rows_by_indicator.columns.tolist(), features.rows_by_indicator.counts.tolist()
    (('genres=Comedy', 'genres=War'), [0, 0, 1], [1, 2])
    """
    encoder = Encoder.of(table, columns, entity)
    assert table is not None
    return encoder.encode(table)


def _column(column: pl.Series, entity: str) -> Column:
    """Learn the encoding of one column."""
    if not (column.dtype.is_numeric() or column.dtype.is_temporal()):
        parts = tuple(_parts(column, entity)["part"].unique().sort().to_list())
        return Column(column.name, PARTS, parts, parts)
    numbers = _numbers(column, entity)
    finite_numbers = numbers[np.isfinite(numbers)]
    values = np.unique(finite_numbers)
    has_few_values = len(values) <= MAX_DISTINCT_VALUES
    categories = (
        values if has_few_values else np.unique(np.quantile(finite_numbers, np.arange(N_BINS) / N_BINS, method="lower"))
    )
    label_values = pl.Series(categories).cast(pl.Int64).cast(column.dtype) if column.dtype.is_temporal() else categories
    labels = tuple(f"{value:g}" if isinstance(value, float) else str(value) for value in label_values)
    return Column(column.name, VALUES if has_few_values else CUTS, tuple(categories.tolist()), labels)


def _stored_column(settings: Mapping[str, Any]) -> Column:
    """Restore a column encoding from its settings; raise KeyError or DataError if they are invalid."""
    form = checks.plain("form", settings["form"], Literal["parts", "values", "cuts"])
    category_type: Any = tuple[str, ...] if form == PARTS else tuple[float, ...]
    categories = checks.plain("categories", settings["marks"], category_type)
    labels = checks.plain("labels", settings["labels"], tuple[str, ...])
    if len(categories) != len(labels) or list(categories) != sorted(set(categories)):
        raise DataError("categories (or the lower ends of bins) must be sorted and distinct, with one label each")
    return Column(checks.plain("name", settings["name"], str), form, categories, labels)


def _parts(column: pl.Series, entity: str) -> pl.DataFrame:
    """Return the distinct (row, part) pairs of a column of strings, lists or booleans."""
    require_threads()
    dtype = column.dtype
    if dtype == pl.String or dtype == pl.Null or isinstance(dtype, pl.Categorical | pl.Enum):
        lists = column.cast(pl.String).str.split("|")
    elif isinstance(dtype, pl.List | pl.Array):
        lists = column.cast(pl.List(pl.String))
    elif dtype == pl.Boolean:
        lists = column.cast(pl.String).to_frame().select(pl.concat_list(pl.all()))[column.name]
    else:
        raise DataError(f"column {column.name!r} of the {entity} table contains {dtype}, not strings, numbers or lists")
    parts = pl.DataFrame({"part": lists}).with_row_index("row").explode("part")
    return parts.with_columns(pl.col("part").str.strip_chars()).filter(pl.col("part") != "").unique()


def _numbers(column: pl.Series, entity: str) -> Float64:
    """Return a column as float64, with dates as their physical values and NaN where missing."""
    if not (column.dtype.is_numeric() or column.dtype.is_temporal() or column.dtype == pl.Null):
        raise DataError(
            f"column {column.name!r} of the {entity} table contains {column.dtype}; it must contain numbers or dates"
        )
    numbers: Float64 = column.to_physical().cast(pl.Float64).to_numpy()
    return numbers
