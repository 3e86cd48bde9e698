"""ID maps: translate between the caller's IDs and row numbers.

Every ID enters and leaves the library through an `IdMap`; models only see row numbers.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
import polars as pl

from cofactor import checks
from cofactor.arrays import Bytes, Int32, Int64, read_only
from cofactor.errors import DataError, UnknownIdError
from cofactor.fork import require_threads, threads_lost
from cofactor.validation import validated

__all__ = [
    "LONGEST_ID",
    "CodedIds",
    "Id",
    "IdMap",
    "faulty_ids",
    "id_column",
    "id_fault",
    "is_canonical_decimal",
    "is_unicode",
]

Id: TypeAlias = int | str

LONGEST_ID = 256
"""Maximum number of characters of an ID: a longer pair would not fit into a PostgreSQL index."""


@dataclass(frozen=True, eq=False)
class CodedIds:
    """Dictionary-encoded column of IDs: entry t is `distinct[codes[t]]`.

    Work per ID, such as validation, is done once per distinct ID. An empty column has no distinct IDs and no codes.

    Attributes
    ----------
    distinct : Series of shape (m,), String or Int64
        The distinct IDs, in no particular order. Each occurs in the column.
    codes : Series of shape (n,), UInt32
        Positions in `distinct`; null where the ID is missing.

    Examples
    --------
    >>> ids = CodedIds.of(pl.Series(["tom", "ana", "tom"]))
    >>> ids.distinct.to_list(), ids.codes.to_list()
    (['tom', 'ana'], [0, 1, 0])
    """

    distinct: pl.Series
    codes: pl.Series

    @classmethod
    def of(cls, texts: pl.Series) -> CodedIds:
        """Encode a column of strings.

        Parameters
        ----------
        texts : Series of shape (n,), String
            The IDs, null where missing.

        Returns
        -------
        CodedIds
            The encoded column.
        """
        require_threads()
        coded = texts.cast(pl.Categorical(pl.Categories.random(physical=pl.UInt32))).rechunk()
        codes = coded.to_physical()
        distinct = coded.gather(codes.arg_unique()).drop_nulls()
        return cls(distinct.gather(distinct.to_physical().arg_sort()).cast(pl.String), codes)

    def __len__(self) -> int:
        return len(self.codes)

    def each(self, values: pl.Series) -> pl.Series:
        """Look up a value for every entry of the column.

        Parameters
        ----------
        values : Series of shape (m,)
            A value for each distinct ID.

        Returns
        -------
        Series of shape (n,)
            The value of each entry; null where the ID is missing.

        Examples
        --------
        >>> CodedIds.of(pl.Series(["tom", "ana", "tom"])).each(pl.Series([3, 7])).to_list()
        [3, 7, 3]
        """
        return values.gather(self.codes)

    def filter(self, keep: pl.Series) -> CodedIds:
        """Return the selected entries, encoded again.

        Parameters
        ----------
        keep : Series of shape (n,), Boolean
            True for the entries to keep.

        Returns
        -------
        CodedIds
            The selected entries.
        """
        return CodedIds.of(self.each(self.distinct).filter(keep))


@dataclass(frozen=True, eq=False)
class IdMap:
    """Immutable map between IDs and row numbers.

    The distinct IDs are sorted; the row number of an ID is its position in that order. IDs are all integers or all
    strings. An empty map has `id_type` "integer", contains no ID, and can be united with a map of either type.

    Attributes
    ----------
    integers : ndarray of shape (n,), int64, or None
        Integer IDs, ascending; None if the IDs are strings.
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
        """Create the map of the distinct IDs in a collection.

        Parameters
        ----------
        ids : Series or iterable of int or str
            IDs in any order; duplicates are allowed. No IDs give an empty map.

        Returns
        -------
        IdMap
            The map.

        Raises
        ------
        DataError
            If an ID is missing, of another type, or invalid (see `id_fault`), or if types are mixed; the message names
            the row.

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
        """Create the map of a column together with the row number of each entry.

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
            If the column has another type or an ID is invalid (see `id_fault`); the message names the row.

        Examples
        --------
        >>> ids, rows = IdMap.of_with_rows(pl.Series(["tom", "ana", "tom"]))
        >>> len(ids), rows.tolist()
        (2, [1, 0, 1])
        """
        require_threads()
        if isinstance(ids, pl.Series) and ids.dtype not in (pl.Int64, pl.String):
            raise DataError(f"ids must be a column of Int64 or String, not of {ids.dtype}")
        if isinstance(ids, pl.Series) and ids.dtype == pl.Int64:
            id_map = cls.from_sorted(ids.unique().sort())
            return id_map, id_map.rows(ids)
        coded = CodedIds.of(ids) if isinstance(ids, pl.Series) else ids
        _require_ids(coded.distinct, lambda bad: int((coded.each(coded.distinct) == bad).arg_true()[0]))
        order = coded.distinct.arg_sort()
        rows = np.empty(len(order), np.int32)
        rows[order.to_numpy()] = np.arange(len(order), dtype=np.int32)
        return cls.from_sorted(coded.distinct.gather(order)), coded.each(pl.Series(rows)).to_numpy()

    @classmethod
    @validated
    def from_sorted(cls, ids: pl.Series) -> IdMap:
        """Create the map of a column that is already sorted and distinct.

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
            raise DataError(f"ids must be a column of Int64 or String without nulls, not of {ids.dtype}")
        if ids.dtype == pl.Int64:
            return cls(read_only(ids.to_numpy()))
        lengths = ids.str.len_bytes().to_numpy().astype(np.int64)
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        joined = ids.str.join("").item().encode() if len(ids) else b""
        return cls(None, read_only(offsets), read_only(np.frombuffer(joined, np.uint8)))

    @property
    def id_type(self) -> Literal["integer", "string"]:
        """Type of the IDs: "integer" or "string"; "integer" for an empty map."""
        return "string" if self.integers is None else "integer"

    def __len__(self) -> int:
        return len(self.integers) if self.integers is not None else len(self._offsets) - 1

    def __contains__(self, id_: object) -> bool:
        return isinstance(id_, int | str) and self._find(id_) >= 0

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
        """All IDs in row order: Series of shape (n,), Int64 or String."""
        if self.integers is not None:
            return pl.Series("id", self.integers, dtype=pl.Int64)
        if threads_lost():
            return pl.Series("id", [self._text_at(row) for row in range(len(self))], dtype=pl.String)
        starts, lengths = self._offsets[:-1], np.diff(self._offsets)
        text = pl.lit(bytes(self._bytes))
        ids = text.bin.slice(pl.col("start"), pl.col("length")).cast(pl.String)
        return pl.DataFrame({"start": starts, "length": lengths}).select(id=ids)["id"]

    def row(self, id_: Id) -> int:
        """Return the row number of one ID, matched as in `rows`.

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
        cofactor.errors.UnknownIdError: '02' is not a known id: ids here are integers; did you mean 2?
        """
        if isinstance(id_, bool) or not isinstance(id_, int | str | np.integer):
            raise DataError(f"{checks.describe(id_)} is not an id (an integer or a string)")
        row = self._find(id_ if isinstance(id_, str) else int(id_))
        if row < 0:
            raise UnknownIdError(f"{checks.describe(id_)} is not a known id{self._type_hint(id_)}")
        return row

    @validated
    def rows(self, ids: pl.Series | Sequence[Id]) -> Int32:
        """Return the row numbers of IDs, -1 for unknown ones.

        IDs are converted by `typed` first: "7" matches the integer 7, and "07" does not.

        Parameters
        ----------
        ids : Series or sequence of int or str, of length n
            IDs.

        Returns
        -------
        ndarray of shape (n,), int32
            Row numbers. No IDs give an empty array; an empty map gives -1 for all.

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
        """
        typed_ids = self.typed(ids)
        is_valid = typed_ids.is_not_null()
        if is_valid.all():
            return self._rows(typed_ids)
        rows = np.full(len(typed_ids), -1, np.int32)
        rows[is_valid.to_numpy()] = self._rows(typed_ids.filter(is_valid))
        return rows

    @validated
    def typed(self, ids: pl.Series | Sequence[Id]) -> pl.Series:
        """Convert IDs to the type of this map.

        An integer equals the string that is its canonical decimal form ("7", not "07"). This is the only rule by which
        integers and strings match.

        Parameters
        ----------
        ids : Series or sequence of int or str, of length n
            IDs of either type, known or unknown.

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
        >>> IdMap.of([7]).typed(["7", "07", "ana"]).to_list(), IdMap.of(["7"]).typed([7, 8]).to_list()
        ([7, None, None], ['7', '8'])
        """
        column = id_column(ids)
        if self.id_type == "string":
            return column.cast(pl.String)
        if column.dtype == pl.Int64:
            return column
        is_decimal = column.str.contains(r"^(0|-?[1-9][0-9]*)$")
        return pl.select(pl.when(is_decimal).then(column.cast(pl.Int64, strict=False))).to_series().alias(column.name)

    def ids(self, rows: Any) -> pl.Series:
        """Return the IDs at the given row numbers, the inverse of `rows`.

        Parameters
        ----------
        rows : array-like of int, of length n
            Row numbers from 0 to the length of the map less 1.

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
        checked = self.checked_rows(rows)
        if self.integers is not None:
            return pl.Series("id", self.integers[checked], dtype=pl.Int64)
        if len(checked) < 64:
            return pl.Series("id", [self._text_at(row) for row in checked.tolist()], dtype=pl.String)
        return self.all.gather(checked).alias("id")

    def checked_rows(self, rows: Any) -> Int32:
        """Validate row numbers of this map.

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
            If a value is not a whole number or is out of range.

        Examples
        --------
        >>> IdMap.of(["ana", "tom"]).checked_rows([1, 2])
        Traceback (most recent call last):
        cofactor.errors.ParameterError: rows must hold row numbers from 0 to 1, not 2
        """
        return checks.row_numbers("rows", rows, len(self))

    @validated
    def parse(self, text: str) -> Id:
        """Convert text from a command line or a URL to an ID of this map's type.

        Parameters
        ----------
        text : str
            The ID as text.

        Returns
        -------
        int or str
            An integer if the map holds integers and `text` is in canonical decimal form, else `text`.

        Examples
        --------
        >>> IdMap.of([7]).parse("7"), IdMap.of(["7"]).parse("7")
        (7, '7')
        """
        return int(text) if self.id_type == "integer" and is_canonical_decimal(text) else text

    @validated
    def union(self, other: IdMap) -> IdMap:
        """Return the map of the IDs of both maps, in the type of this map.

        Parameters
        ----------
        other : IdMap
            Another map. If it is of the other type, its IDs are converted by `typed`.

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
        other_ids = self.typed(other.all)
        if other_ids.null_count():
            raise DataError(
                f"ids of two types: {self.id_type} ids such as {self.ids([0])[0]!r} and {other.id_type} ids such as "
                f"{other.all.filter(other_ids.is_null())[0]!r}; give both tables the same type"
            )
        require_threads()
        return IdMap.of(pl.concat([self.all, other_ids]))

    @validated
    def equals(self, other: IdMap) -> bool:
        """Return whether both maps contain the same IDs, and so the same row numbers.

        Parameters
        ----------
        other : IdMap
            Another map.

        Returns
        -------
        bool
            False also for maps of different types.

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
        """Return the row numbers of IDs of this map's type, -1 for unknown ones."""
        if len(ids) == 0 or len(self) == 0:
            return np.full(len(ids), -1, np.int32)
        if self.integers is not None:
            return _integer_rows(self.integers, ids.to_numpy())
        if len(ids) < 64 or threads_lost():  # too few to build a column of all IDs
            return np.array([self._find(id_) for id_ in ids], dtype=np.int32)
        return self._lookup(ids)

    def _lookup(self, ids: pl.Series) -> Int32:
        """Return the row numbers of string IDs by a join, -1 for unknown ones."""
        all_rows = pl.DataFrame({"id": self.all, "row": np.arange(len(self), dtype=np.int32)})
        requested = ids.alias("id").to_frame()
        rows = requested.join(all_rows, on="id", how="left", maintain_order="left")["row"]
        return rows.fill_null(-1).to_numpy()

    def _text_at(self, row: int) -> str:
        """Return the string ID of one row."""
        return bytes(self._bytes[self._offsets[row] : self._offsets[row + 1]]).decode()

    def _find(self, id_: Id) -> int:
        """Return the row number of one ID of either type by binary search, -1 if it is unknown."""
        if isinstance(id_, bool) or (isinstance(id_, int) and not _fits_int64(id_)):
            return -1
        if self.integers is not None and isinstance(id_, str):
            if not is_canonical_decimal(id_):
                return -1
            id_ = int(id_)
        if self.integers is not None:
            low = int(np.searchsorted(self.integers, int(id_))) if _fits_int64(int(id_)) else len(self)
            return low if low < len(self) and self.integers[low] == id_ else -1
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
        """Return why a string is probably unknown in a map of integers, as the end of a message."""
        if self.id_type == "string" or not len(self) or not isinstance(id_, str) or is_canonical_decimal(id_):
            return ""
        number = id_.strip().lstrip("+0")
        suggestion = f"; did you mean {number}?" if is_canonical_decimal(number) and number in self else ""
        return f": ids here are integers{suggestion}"


@validated
def is_canonical_decimal(text: str) -> bool:
    """Return whether a string is a 64-bit integer in canonical form: no leading zero, plus sign, blank or fraction.

    Parameters
    ----------
    text : str
        Any string.

    Returns
    -------
    bool
        Whether it is such an integer.

    Examples
    --------
    >>> [is_canonical_decimal(text) for text in ("7", "-7", "007", "7.0", "")]
    [True, True, False, False, False]
    """
    digits = text.removeprefix("-")
    is_canonical = digits.isascii() and digits.isdigit() and (digits[0] != "0" or text == "0")
    return is_canonical and _fits_int64(int(text))


def _integer_rows(sorted_ids: Int64, ids: Int64) -> Int32:
    """Return the positions of `ids` in `sorted_ids`, -1 for unknown ones; by a lookup table if the IDs are dense."""
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


@validated
def is_unicode(text: str) -> bool:
    """Return whether a string can be encoded as UTF-8.

    JSON can contain half of a surrogate pair, which no UTF-8 file can hold.

    Parameters
    ----------
    text : str
        Any string.

    Returns
    -------
    bool
        False if the string has an unpaired surrogate.
    """
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@validated
def id_fault(text: str) -> str | None:
    """Return why a string cannot be an ID.

    A string ID has 1 to 256 characters, at least one of them not blank, no control characters (such as tabs and line
    ends) and no unpaired surrogate. Readers, tables, the store and the service all apply this rule.

    Parameters
    ----------
    text : str
        Any string.

    Returns
    -------
    str or None
        The reason, as the end of a sentence that starts with "the id"; None if the string is a valid ID.

    Examples
    --------
    >>> id_fault("Blade Runner"), id_fault("Blade\\tRunner"), id_fault(" ")
    (None, 'has a control character', 'is empty')
    """
    if not text.strip():
        return "is empty"
    if len(text) > LONGEST_ID:
        return f"is longer than {LONGEST_ID} characters"
    if not text.isprintable() and any(unicodedata.category(character) == "Cc" for character in text):
        return "has a control character"
    return None if is_unicode(text) else "has half a surrogate pair"


def faulty_ids(texts: pl.Series) -> pl.Series:
    """Return which strings cannot be IDs by the rule of `id_fault`.

    Parameters
    ----------
    texts : Series of shape (n,), String
        Strings without unpaired surrogates.

    Returns
    -------
    Series of shape (n,), Boolean
        True for invalid IDs; null for null.

    Examples
    --------
    >>> faulty_ids(pl.Series(["ana", "a\\nb", "", "x" * 257])).to_list()
    [False, True, True, True]
    """
    blank, long = texts.str.strip_chars() == "", texts.str.len_chars() > LONGEST_ID
    return blank | long | texts.str.contains(r"[\x00-\x1f\x7f-\u{9f}]")


def _require_ids(distinct: pl.Series, first_row: Callable[[str], int]) -> None:
    """Raise DataError for the first invalid string; `place` returns the row of its first occurrence."""
    if distinct.dtype != pl.String or not (faulty := faulty_ids(distinct)).any():
        return
    first = min(distinct.filter(faulty), key=first_row)
    raise DataError(f"row {first_row(first) + 1}: the id {id_fault(first)}: {checks.describe(first)}")


def _fits_int64(value: int) -> bool:
    return -(2**63) <= value < 2**63


@validated
def id_column(ids: pl.Series | Iterable[Id]) -> pl.Series:
    """Convert IDs to a polars column.

    Parameters
    ----------
    ids : Series or iterable of int or str, of length n
        IDs, all integers or all strings.

    Returns
    -------
    Series of shape (n,), Int64 or String
        The IDs; an empty Int64 column if there are none.

    Raises
    ------
    DataError
        If an ID is missing, empty, of another type or too large, or if types are mixed; the message names the row.

    Examples
    --------
    >>> id_column([7, 3]).dtype, id_column(["ana"]).dtype
    (Int64, String)
    >>> id_column([7, None])
    Traceback (most recent call last):
    cofactor.errors.DataError: row 2: None is not an id (an integer or a string)
    """
    is_0d = isinstance(ids, np.ndarray) and ids.ndim == 0
    if not isinstance(ids, Iterable) or isinstance(ids, str | bytes) or is_0d:
        raise DataError(f"ids must be a list or column of integers or strings, not {checks.describe(ids)}")
    checks.require_bounded("ids", ids)
    column = ids if isinstance(ids, pl.Series) else _series_of(ids)
    if column.dtype.is_integer():
        if column.dtype == pl.UInt64 and bool((column >= 2**63).any()):
            raise DataError("integer ids must fit into 64 bits with a sign; pass them as strings")
        column = column.cast(pl.Int64)
    elif isinstance(column.dtype, pl.Categorical | pl.Enum):
        column = column.cast(pl.String)
    elif column.dtype == pl.Null and len(column) == 0:
        column = column.cast(pl.Int64)
    elif column.dtype != pl.String:
        raise DataError(f"ids must be integers or strings, not {column.dtype}")
    if column.null_count():
        raise DataError(f"row {column.is_null().arg_true()[0] + 1}: the id is missing")
    if column.dtype == pl.String and (column == "").any():
        raise DataError(f"row {(column == '').arg_true()[0] + 1}: the id is empty")
    return column


def _series_of(ids: Iterable[Id]) -> pl.Series:
    """Convert an iterable of IDs to a polars column; raise DataError for the first invalid one."""
    if isinstance(ids, np.ndarray) and ids.dtype.kind in "iu":
        return pl.Series("id", ids)
    values = [i.item() if isinstance(i, np.generic) else i for i in ids]
    n_strings = sum(isinstance(i, str) for i in values)
    if 0 < n_strings < len(values):
        first = next(i for i in values if isinstance(i, str) != isinstance(values[0], str))
        raise DataError(f"ids of two types, {values[0]!r} and {first!r}: use integers or strings, not both")
    for k, value in enumerate(values):
        if not isinstance(value, int | str) or isinstance(value, bool):
            raise DataError(f"row {k + 1}: {checks.describe(value)} is not an id (an integer or a string)")
        if isinstance(value, int) and not _fits_int64(value):
            raise DataError(f"row {k + 1}: {checks.describe(value)} does not fit into 64 bits; pass ids as strings")
        if isinstance(value, str) and not is_unicode(value):
            raise DataError(f"row {k + 1}: the id {value!r} is not valid Unicode text (half a surrogate pair)")
    return pl.Series("id", values, dtype=pl.String if n_strings else pl.Int64)
