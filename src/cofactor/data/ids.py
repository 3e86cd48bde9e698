"""ID maps: translate between the caller's IDs and row numbers.

Every ID enters and leaves the library through an `IdMap`; models only see row numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import polars as pl

from cofactor import checks
from cofactor.arrays import Bytes, Int32, Int64, read_only, row_starts
from cofactor.data.id_columns import CodedIds, Id, id_column, integer_id, integer_ids, invalid_id_reason, invalid_ids
from cofactor.errors import DataError, UnknownIdError
from cofactor.fork import require_threads, threads_lost
from cofactor.validation import validated

__all__ = ["IdMap"]

MIN_JOIN_IDS = 64
"""Below this number, IDs are searched one by one, without a column of all IDs."""


@dataclass(frozen=True, eq=False)
class IdMap:
    """Immutable map between IDs and row numbers.

    The distinct IDs are sorted; the row number of an ID is its position in that order. IDs are all integers or all
    strings. An empty map has `id_type` "integer", contains no IDs, and can be merged with a map of either type.

    Attributes
    ----------
    integers : ndarray of shape (n,), int64, or None
        Integer IDs in ascending order; None if the IDs are strings.
    offsets : ndarray of shape (n + 1,), int64, or None
        Offsets into `text`: the bytes of ID k are `text[offsets[k]:offsets[k + 1]]`. None if the IDs are integers.
    text : ndarray of shape (m,), uint8, or None
        String IDs in UTF-8, concatenated in byte order; None if the IDs are integers.

    Notes
    -----
    No Python object is stored per ID. Ten million integer IDs take 80 MB; string IDs take 8 bytes each plus their text.

    Examples
    --------
    >>> ids = IdMap.of(["tom", "ana", "tom"])
    >>> len(ids), ids.row("tom"), ids.ids([0, 1]).to_list()
    (2, 1, ['ana', 'tom'])
    """

    integers: Int64 | None
    offsets: Int64 | None = None
    text: Bytes | None = None

    @classmethod
    @validated
    def of(cls, ids: pl.Series | Iterable[Id]) -> IdMap:
        """Create an ID map of the distinct IDs in a collection.

        Parameters
        ----------
        ids : Series or iterable of int or str
            IDs in any order; duplicates are allowed. An empty collection gives an empty map.

        Returns
        -------
        IdMap
            The map.

        Raises
        ------
        DataError
            If an ID is missing, of another type, or invalid (see `invalid_id_reason`), or if types are mixed; the
            message names the row.

        Examples
        --------
        >>> IdMap.of([]), IdMap.of([7, 3, 7]).all.to_list()
        (IdMap(0 integer ids), [3, 7])
        """
        require_threads()
        column = id_column(ids)
        distinct = column.unique().sort()
        _require_ids(distinct, lambda bad: int((column == bad).arg_true()[0]))
        return cls.from_sorted(distinct)

    @classmethod
    @validated
    def of_with_rows(cls, ids: pl.Series | CodedIds) -> tuple[IdMap, Int32]:
        """Create an ID map of the distinct IDs in a column, and return it with the row number of each entry.

        Parameters
        ----------
        ids : Series of shape (n,), Int64 or String, or CodedIds
            IDs without nulls.

        Returns
        -------
        id_map : IdMap
            The map of the distinct IDs.
        rows : ndarray of shape (n,), int32
            Row number of each entry.

        Raises
        ------
        DataError
            If the column has another type or an ID is invalid (see `invalid_id_reason`); the message names the row.

        Examples
        --------
        >>> ids, rows = IdMap.of_with_rows(pl.Series(["tom", "ana", "tom"]))
        >>> len(ids), rows.tolist()
        (2, [1, 0, 1])
        """
        require_threads()
        if isinstance(ids, pl.Series) and ids.dtype not in (pl.Int64, pl.String):
            raise DataError(f"ids must be an Int64 or String column, not {ids.dtype}")
        if isinstance(ids, pl.Series) and ids.dtype == pl.Int64:
            id_map = cls.from_sorted(ids.unique().sort())
            return id_map, id_map.rows(ids)
        coded_ids = CodedIds.of(ids) if isinstance(ids, pl.Series) else ids
        _require_ids(coded_ids.distinct, lambda bad: int((coded_ids.gather(coded_ids.distinct) == bad).arg_true()[0]))
        order = coded_ids.distinct.arg_sort()
        rows = np.empty(len(order), np.int32)
        rows[order.to_numpy()] = np.arange(len(order), dtype=np.int32)
        return cls.from_sorted(coded_ids.distinct.gather(order)), coded_ids.gather(pl.Series(rows)).to_numpy()

    @classmethod
    @validated
    def from_sorted(cls, ids: pl.Series) -> IdMap:
        """Create an ID map from a column of sorted, distinct IDs.

        Parameters
        ----------
        ids : Series of shape (n,), Int64 or String
            Distinct IDs in ascending order. The order is not checked.

        Returns
        -------
        IdMap
            The map.

        Raises
        ------
        DataError
            If the column has another type or contains nulls.
        """
        if ids.dtype not in (pl.Int64, pl.String) or ids.null_count():
            raise DataError(f"ids must be an Int64 or String column without nulls, but its type is {ids.dtype}")
        if ids.dtype == pl.Int64:
            return cls(read_only(ids.to_numpy()))
        lengths = ids.str.len_bytes().to_numpy().astype(np.int64)
        offsets = row_starts(lengths)
        concatenated_ids = ids.str.join("").item().encode() if len(ids) else b""
        return cls(None, read_only(offsets), read_only(np.frombuffer(concatenated_ids, np.uint8)))

    @property
    def id_type(self) -> Literal["integer", "string"]:
        """Type of the IDs in the map: "integer" or "string"; "integer" for an empty map."""
        return "string" if self.integers is None else "integer"

    def __len__(self) -> int:
        return len(self.integers) if self.integers is not None else len(self._offsets) - 1

    def __contains__(self, id_: object) -> bool:
        key = id_ if isinstance(id_, str) else integer_id(id_)
        return key is not None and self._find(key) >= 0

    def __repr__(self) -> str:
        return f"IdMap({len(self)} {self.id_type} ids)"

    @property
    def _offsets(self) -> Int64:
        assert self.offsets is not None
        return self.offsets

    @property
    def _bytes(self) -> memoryview:
        assert self.text is not None
        return self.text.data

    @cached_property
    def all(self) -> pl.Series:
        """All IDs of the map in row order: Series of shape (n,), Int64 or String."""
        if self.integers is not None:
            return pl.Series("id", self.integers, dtype=pl.Int64)
        if threads_lost():
            return pl.Series("id", [self._text_at(row) for row in range(len(self))], dtype=pl.String)
        starts, lengths = self._offsets[:-1], np.diff(self._offsets)
        text = pl.lit(bytes(self._bytes))
        ids = text.bin.slice(pl.col("start"), pl.col("length")).cast(pl.String)
        return pl.DataFrame({"start": starts, "length": lengths}).select(id=ids)["id"]

    def row(self, id_: Id) -> int:
        """Return the row number of an ID, which is matched in the same way as in `rows`.

        Parameters
        ----------
        id_ : int or str
            An ID.

        Returns
        -------
        int
            Its row number.

        Raises
        ------
        UnknownIdError
            If the map does not contain the ID.
        DataError
            If `id_` is not an integer or a string.

        Examples
        --------
        >>> IdMap.of(["ana", "tom"]).row("tom"), IdMap.of(["1", "2"]).row(2)
        (1, 1)
        >>> IdMap.of([1, 2]).row("02")
        Traceback (most recent call last):
        cofactor.errors.UnknownIdError: '02' is not a known ID: known IDs are integers; did you mean 2?
        """
        key = id_ if isinstance(id_, str) else integer_id(id_)
        if key is None:
            raise DataError(f"{checks.describe(id_)} is not an ID (an integer or a string)")
        row = self._find(key)
        if row < 0:
            raise UnknownIdError(f"{checks.describe(id_)} is not a known ID{self._type_hint(id_)}")
        return row

    def rows(self, ids: pl.Series | Sequence[Id], *, parse: bool = False) -> Int32:
        """Return the row numbers of IDs, with -1 for unknown IDs.

        IDs are converted by `as_id_type` first: "7" matches the integer 7, and "07" does not.

        Parameters
        ----------
        ids : Series or sequence of int or str, of length n
            IDs.
        parse : bool, default False
            Whether to parse strings as numbers, as on a command line or in a URL, so that "7.0" matches the integer 7.

        Returns
        -------
        ndarray of shape (n,), int32
            Row numbers; empty if there are no IDs. An empty map gives -1 for every ID.

        Raises
        ------
        DataError
            If an entry is not an integer or a string.

        Examples
        --------
        >>> IdMap.of(["ana", "tom"]).rows(["tom", "zoe"]).tolist()
        [1, -1]
        >>> IdMap.of([7, 17]).rows(["17", "017", "ana"]).tolist(), IdMap.of(["017", "17"]).rows([17]).tolist()
        ([1, -1, -1], [1])
        >>> IdMap.of([7, 17]).rows(["17.0"]).tolist(), IdMap.of([7, 17]).rows(["17.0"], parse=True).tolist()
        ([-1], [1])
        """
        parse = checks.flag("parse", parse)
        column = ids if _is_short_list(ids) else id_column(ids)
        if len(column) < MIN_JOIN_IDS or threads_lost():
            return np.array([self._find(id_, parse=parse) for id_ in column], dtype=np.int32)
        typed_ids = self.as_id_type(column, parse=parse)
        is_valid = typed_ids.is_not_null()
        if is_valid.all():
            return self._rows(typed_ids)
        rows = np.full(len(typed_ids), -1, np.int32)
        rows[is_valid.to_numpy()] = self._rows(typed_ids.filter(is_valid))
        return rows

    def as_id_type(self, ids: pl.Series | Sequence[Id], *, parse: bool = False) -> pl.Series:
        """Convert IDs to the ID type of this map.

        An integer equals the string that is its canonical decimal form ("7", not "07"). This is the only rule by which
        integers and strings match; see `integer_id`.

        Parameters
        ----------
        ids : Series or sequence of int or str, of length n
            IDs of either type, known or unknown.
        parse : bool, default False
            Whether to parse strings as numbers, as in `rows`.

        Returns
        -------
        Series of shape (n,), Int64 or String
            The IDs; null if the map holds integers and a string is not the canonical form of a 64-bit integer.

        Raises
        ------
        DataError
            If an entry is not an integer or a string.

        Examples
        --------
        >>> IdMap.of([7]).as_id_type(["7", "07", "ana"]).to_list(), IdMap.of(["7"]).as_id_type([7, 8]).to_list()
        ([7, None, None], ['7', '8'])
        """
        column, parse = id_column(ids), checks.flag("parse", parse)
        return column.cast(pl.String) if self.id_type == "string" else integer_ids(column, parse=parse)

    def ids(self, rows: Any) -> pl.Series:
        """Return the IDs at the given row numbers; the inverse of `rows`.

        Parameters
        ----------
        rows : array-like of int, of length n
            Row numbers from 0 to `len(self) - 1`.

        Returns
        -------
        Series of shape (n,), Int64 or String
            The IDs.

        Raises
        ------
        ParameterError
            If a row number is out of range, such as -1 for an unknown ID.

        Examples
        --------
        >>> IdMap.of(["ana", "tom"]).ids([1, 1, 0]).to_list()
        ['tom', 'tom', 'ana']
        """
        row_array = self.checked_rows(rows)
        if self.integers is not None:
            return pl.Series("id", self.integers[row_array], dtype=pl.Int64)
        if len(row_array) < MIN_JOIN_IDS:
            return pl.Series("id", [self._text_at(row) for row in row_array.tolist()], dtype=pl.String)
        return self.all.gather(row_array).alias("id")

    def id_at(self, row: int) -> Id:
        """Return the ID at one row number; the inverse of `row`.

        Parameters
        ----------
        row : int
            Row number from 0 to `len(self) - 1`.

        Returns
        -------
        int or str
            The ID.

        Raises
        ------
        ParameterError
            If the row number is out of range.

        Examples
        --------
        >>> IdMap.of(["ana", "tom"]).id_at(1), IdMap.of([7, 17]).id_at(0)
        ('tom', 7)
        """
        row = checks.whole_number("row", row, low=0, high=len(self) - 1)
        return self._text_at(row) if self.integers is None else int(self.integers[row])

    def checked_rows(self, rows: Any) -> Int32:
        """Validate row numbers for this map and return them as an array.

        Parameters
        ----------
        rows : array-like of int, of length n
            Row numbers.

        Returns
        -------
        ndarray of shape (n,), int32
            The row numbers.

        Raises
        ------
        ParameterError
            If a value is not an integer or is out of range.

        Examples
        --------
        >>> IdMap.of(["ana", "tom"]).checked_rows([1, 2])
        Traceback (most recent call last):
        cofactor.errors.ParameterError: rows must contain row numbers from 0 to 1, not 2
        """
        return checks.row_numbers("rows", rows, len(self))

    @validated
    def parse(self, text: str) -> Id:
        """Convert text from a command line or a URL to an ID of this map's type, as `rows` does with `parse=True`.

        Parameters
        ----------
        text : str
            The ID as text.

        Returns
        -------
        int or str
            An integer if the map holds integers and `text` is an integer without leading zeros, else `text`.

        Examples
        --------
        >>> IdMap.of([7]).parse("7"), IdMap.of([7]).parse("7.0"), IdMap.of([7]).parse("07"), IdMap.of(["7"]).parse("7")
        (7, 7, '07', '7')
        """
        number = integer_id(text, parse=True) if self.id_type == "integer" else None
        return text if number is None else number

    @validated
    def union(self, other: IdMap) -> IdMap:
        """Return the union of this ID map and another one, with the ID type of this map.

        Parameters
        ----------
        other : IdMap
            Another map. If it is of the other type, its IDs are converted by `as_id_type`.

        Returns
        -------
        IdMap
            The union.

        Raises
        ------
        DataError
            If this map holds integers and an ID of `other` cannot be converted.

        Examples
        --------
        >>> IdMap.of(["tom"]).union(IdMap.of(["ana", "tom"])).all.to_list()
        ['ana', 'tom']
        >>> IdMap.of([7]).union(IdMap.of(["7", "8"])).all.to_list()
        [7, 8]
        """
        if len(other) == 0 or len(self) == 0:
            return self if len(self) else other
        other_ids = self.as_id_type(other.all)
        if other_ids.null_count():
            raise DataError(
                f"the other table has IDs of another type: {self.id_type} IDs such as {self.ids([0])[0]!r} and "
                f"{other.id_type} IDs such as {other.all.filter(other_ids.is_null())[0]!r}; "
                "convert both tables to the same type"
            )
        require_threads()
        return IdMap.of(pl.concat([self.all, other_ids]))

    @validated
    def equals(self, other: IdMap) -> bool:
        """Return whether this ID map and another one contain the same IDs, and therefore the same row numbers.

        Parameters
        ----------
        other : IdMap
            Another map.

        Returns
        -------
        bool
            Also False if the ID types differ.

        Examples
        --------
        >>> IdMap.of(["tom", "ana"]).equals(IdMap.of(["ana", "tom"])), IdMap.of([1]).equals(IdMap.of(["1"]))
        (True, False)
        """
        if self is other:
            return True
        if self.id_type != other.id_type or len(self) != len(other):
            return False
        if self.integers is not None and other.integers is not None:
            return bool(np.array_equal(self.integers, other.integers))
        return bool(np.array_equal(self._offsets, other._offsets)) and self._bytes == other._bytes

    def _rows(self, ids: pl.Series) -> Int32:
        """Return the row numbers of IDs that have the type of this map, with -1 for unknown IDs."""
        if len(ids) == 0 or len(self) == 0:
            return np.full(len(ids), -1, np.int32)
        if self.integers is not None:
            return _integer_rows(self.integers, ids.to_numpy())
        return self._lookup(ids)

    def _lookup(self, ids: pl.Series) -> Int32:
        """Return the row numbers of string IDs by a join, with -1 for unknown IDs."""
        all_rows = pl.DataFrame({"id": self.all, "row": np.arange(len(self), dtype=np.int32)})
        requested_ids = ids.alias("id").to_frame()
        rows = requested_ids.join(all_rows, on="id", how="left", maintain_order="left")["row"]
        return rows.fill_null(-1).to_numpy()

    def _text_at(self, row: int) -> str:
        """Return the string ID at a row number."""
        return bytes(self._bytes[self._offsets[row] : self._offsets[row + 1]]).decode()

    def _find(self, id_: Id, *, parse: bool = False) -> int:
        """Return the row number of an ID of either type by binary search, or -1 if it is unknown."""
        if self.integers is not None:
            number = integer_id(id_, parse=parse)
            if number is None:
                return -1
            low = int(np.searchsorted(self.integers, number))
            return low if low < len(self) and self.integers[low] == number else -1
        offsets, text, key = self._offsets, self._bytes, str(id_).encode("utf-8", "surrogatepass")
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            if bytes(text[offsets[middle] : offsets[middle + 1]]) < key:
                low = middle + 1
            else:
                high = middle
        if low == len(self) or bytes(text[offsets[low] : offsets[low + 1]]) != key:
            return -1
        return low

    def _type_hint(self, id_: Id) -> str:
        """Return the likely reason why a string is not in a map of integers, to be appended to a message."""
        if self.id_type == "string" or not len(self) or not isinstance(id_, str) or integer_id(id_) is not None:
            return ""
        number = integer_id(id_.strip().lstrip("+0"), parse=True)
        suggestion = f"; did you mean {number}?" if number is not None and number in self else ""
        return f": known IDs are integers{suggestion}"


def _integer_rows(sorted_ids: Int64, ids: Int64) -> Int32:
    """Return the positions of `ids` in `sorted_ids`, -1 for unknown IDs; use a lookup table if the IDs are dense."""
    low, span = int(sorted_ids[0]), int(sorted_ids[-1]) - int(sorted_ids[0]) + 1
    if span > 4 * len(sorted_ids) + 1024 or len(ids) < len(sorted_ids):
        position = np.minimum(np.searchsorted(sorted_ids, ids), len(sorted_ids) - 1)
        return np.where(sorted_ids[position] == ids, position, -1).astype(np.int32)
    table = np.full(span, -1, np.int32)
    table[sorted_ids - low] = np.arange(len(sorted_ids), dtype=np.int32)
    position = ids - low
    in_range = position.view(np.uint64) < span
    return (
        table[position] if in_range.all() else np.where(in_range, table[np.where(in_range, position, 0)], np.int32(-1))
    )


def _require_ids(distinct: pl.Series, first_row: Callable[[str], int]) -> None:
    """Raise DataError for the first invalid string; `first_row` returns the row of its first occurrence."""
    if distinct.dtype != pl.String or not (invalid := invalid_ids(distinct)).any():
        return
    first = min(distinct.filter(invalid), key=first_row)
    raise DataError(f"row {first_row(first) + 1}: the ID {invalid_id_reason(first)}: {checks.describe(first)}")


def _is_short_list(ids: object) -> bool:
    """Return whether IDs are a short list of strings, or of integers that fit into 64 bits."""
    if not isinstance(ids, list) or len(ids) >= MIN_JOIN_IDS:
        return False
    return all(isinstance(id_, str) for id_ in ids) or all(type(id_) is int and integer_id(id_) == id_ for id_ in ids)
