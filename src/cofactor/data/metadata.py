"""Item metadata by column, and the items that match a filter expression."""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property, reduce
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from cofactor.arrays import Bool, Int64, plain
from cofactor.data.where import BooleanOperation, Condition, Negation, Predicate, Value, error_at, parse
from cofactor.errors import ParameterError
from cofactor.fork import require_threads

__all__ = ["Metadata"]

MAX_NAMES = 20
"""Maximum number of columns listed in a message."""

ORDERS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
TYPES = {str: "string", bool: "boolean", int: "number", float: "number"}
"""Name of the type of a value; all others are objects."""
DTYPES = {"string": pl.String, "boolean": pl.Boolean, "number": pl.Float64, "object": pl.String}


@dataclass(frozen=True, eq=False)
class Metadata:
    """Item metadata by column, for selecting items with filter expressions.

    Parameters
    ----------
    n_items : int
        Number of items.
    names : collection of str
        Names of the columns.
    column : callable
        Function that takes the name of a column and returns its n_items values, with None for missing values.

    Notes
    -----
    Numbers are compared as 64-bit numbers, and strings by their characters; upper and lower case differ. A string that
    is a number, as in a table from a text file, is also compared with numbers. Dates are strings such as "1990-12-31".
    Lists, and strings with parts separated by "|" (if any value in a column other than `title` has parts), match if one
    of their values does; `!=`, `not in` and `not contains` hold if none is equal.

    A missing value is null, not finite, or an empty list. It meets no condition except `is missing`. `not` inverts a
    condition: `not year = 1990` includes items without a year, and `year != 1990` does not.

    Examples
    --------
    >>> films = pl.DataFrame({"item": [7, 8, 9], "year": [1979, 1990, None], "genre": ["Horror|War", "War", "Space"]})
    >>> metadata = Metadata.of_table(films)
    >>> metadata.matches('genre contains "War" and year < 1985').tolist()
    [True, False, False]
    >>> metadata.matches("not year < 1985").tolist(), metadata.matches("year >= 1985").tolist()
    ([False, True, True], [False, True, False])
    >>> metadata.matches("yeaar < 1985")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.ParameterError: the where expression, character 1: unknown column 'yeaar' (did you mean 'year'?)...
    """

    n_items: int
    names: Collection[str]
    column: Callable[[str], Iterable[Any]]

    @classmethod
    def of_table(cls, table: pl.DataFrame) -> Metadata:
        """Create item metadata from an item table.

        Parameters
        ----------
        table : pl.DataFrame
            One row per item, with the IDs in the first column, which is not metadata.

        Returns
        -------
        Metadata
            Metadata in the order of the rows.
        """
        return cls(len(table), table.columns[1:], lambda name: table[name].to_list())

    @classmethod
    def of_records(cls, records: Collection[Mapping[str, Any]]) -> Metadata:
        """Create item metadata from JSON-serializable dicts, one per item.

        Parameters
        ----------
        records : collection of mapping
            Values by name: one mapping per item.

        Returns
        -------
        Metadata
            Metadata in the order of the records.
        """
        return cls(len(records), set().union(*records), lambda name: [record.get(name) for record in records])

    def matches(self, expression: str) -> Bool:
        """Return a mask of the items that match a filter expression.

        Parameters
        ----------
        expression : str
            Filter expression; see `cofactor.data.where`.

        Returns
        -------
        ndarray of shape (n_items,), bool
            Mask of the items.

        Raises
        ------
        ParameterError
            If the expression is invalid, a column is unknown, or no value in a column is of the type that it is
            compared with.
        """
        require_threads()
        return self._mask(parse(expression))

    def _mask(self, condition: Condition) -> Bool:
        if isinstance(condition, Negation):
            return ~self._mask(condition.operand)
        if isinstance(condition, BooleanOperation):
            masks = [self._mask(operand) for operand in condition.operands]
            combine = np.logical_and if condition.operator == "and" else np.logical_or
            return np.asarray(combine.reduce(masks), bool)
        name = condition.column
        if name not in self._columns:
            if name not in self.names:
                raise self._unknown_column_error(condition)
            self._columns[name] = _values_by_type(self.column(name), may_have_parts=name != "title")
        return self._evaluate(condition, self._columns[name])

    @cached_property
    def _columns(self) -> dict[str, dict[str, _Values]]:
        """Cache of the values of columns that have already been read."""
        return {}

    def _evaluate(self, predicate: Predicate, column: dict[str, _Values]) -> Bool:
        is_present, is_match = np.zeros((2, self.n_items), bool)
        for values in column.values():
            is_present[values.rows] = True
        if predicate.operators == ("missing",):
            return is_present if predicate.negated else ~is_present
        for type_name in dict.fromkeys(TYPES[type(value)] for value in predicate.values):
            if type_name in column:
                compared = [value for value in predicate.values if TYPES[type(value)] == type_name]
                is_match[column[type_name].rows[_satisfies(predicate.operators, compared, column[type_name])]] = True
            elif column:
                types = " and ".join(f"{name}s" for name in column)
                problem = f"column {predicate.column!r} contains {types} and cannot be compared with a {type_name}"
                raise error_at(predicate.position, problem)
        return is_present & ~is_match if predicate.negated else is_match

    def _unknown_column_error(self, predicate: Predicate) -> ParameterError:
        """Return the error for an unknown column."""
        if not self.names:
            return error_at(predicate.position, f"unknown column {predicate.column!r}: the items have no metadata")
        matches = get_close_matches(predicate.column, self.names, n=1)
        hint = f" (did you mean {matches[0]!r}?)" if matches else ""
        names = sorted(self.names)
        listed = ", ".join(names[:MAX_NAMES]) + (", ..." if len(names) > MAX_NAMES else "")
        return error_at(predicate.position, f"unknown column {predicate.column!r}{hint}; the columns are {listed}")


class _Values(NamedTuple):
    """Values of one type in a column: the row number of each, the values, and whether each is an element of a list."""

    rows: Int64
    values: pl.Series
    in_list: Bool


def _values_by_type(cells: Iterable[Any], *, may_have_parts: bool) -> dict[str, _Values]:
    """Return the non-missing values of a column, grouped by type name."""
    cells = list(cells)
    if may_have_parts and any(isinstance(cell, str) and "|" in cell for cell in cells):
        cells = [_parts(cell) if isinstance(cell, str) else cell for cell in cells]
    is_list = np.array([isinstance(cell, list) for cell in cells], bool)
    lists = [cell if isinstance(cell, list) else [cell] for cell in cells]
    rows = np.repeat(np.arange(len(lists)), np.array(list(map(len, lists)), np.int64))
    values = list(chain.from_iterable(lists))
    if not {*map(type, values)} <= {*TYPES, type(None)}:  # such as dates
        values = list(map(plain, values))
    type_names = np.array([TYPES.get(type(value), "object") for value in values], dtype=object)
    values_by_type = {}
    for type_name in dict.fromkeys(type_names.tolist()):
        positions = np.flatnonzero(type_names == type_name)
        typed_values = [values[position] for position in positions.tolist()]
        if type_name == "number":
            typed_values = [float(value) if abs(value) <= sys.float_info.max else None for value in typed_values]
        if type_name == "object":
            typed_values = [None if value is None else "" for value in typed_values]
        series = pl.Series(typed_values, dtype=DTYPES[type_name])
        is_present = series.is_not_null()
        if is_present.any():
            nonmissing_rows = rows[positions[is_present.to_numpy()]]
            values_by_type[type_name] = _Values(nonmissing_rows, series.filter(is_present), is_list[nonmissing_rows])
    return _with_numbers(values_by_type)


def _with_numbers(columns: dict[str, _Values]) -> dict[str, _Values]:
    """Add strings that represent numbers to the numbers, because all cells of text files are strings."""
    if "string" not in columns:
        return columns
    rows, strings, in_list = columns["string"]
    numbers = strings.str.strip_chars().cast(pl.Float64, strict=False)
    is_number = numbers.is_finite().fill_null(value=False)
    if not is_number.any():
        return columns
    at = is_number.to_numpy()
    added = _Values(rows[at], numbers.filter(is_number), in_list[at])
    if "number" in columns:
        rows, values, in_list = columns["number"]
        added = _Values(
            np.append(rows, added.rows), pl.concat([values, added.values]), np.append(in_list, added.in_list)
        )
    return columns | {"number": added}


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split("|") if part.strip()]


def _satisfies(operators: Sequence[str], compared: Sequence[Value], column: _Values) -> Bool:
    """Return a mask of the values of a column that satisfy the operators of a predicate."""
    values, in_list, first = column.values, column.in_list, compared[0]
    if operators == ("in",):
        is_match = values.is_in(compared)
    elif operators == ("contains",):
        is_match = values == first
        if isinstance(first, str):
            is_match = is_match.zip_with(pl.Series(in_list), values.str.contains(first, literal=True))
    else:
        tests = zip(operators, compared, strict=True)
        is_match = reduce(operator.and_, (ORDERS[symbol](values, value) for symbol, value in tests))
    return np.asarray(is_match.to_numpy(), bool)
