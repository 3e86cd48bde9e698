"""The border between the caller's ids and row numbers: every id crosses it here."""

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
"""Characters of an id: an index of PostgreSQL takes no longer pair of them."""


@dataclass(frozen=True, eq=False)
class CodedIds:
    """A column of ids in which each text was looked at once: entry t is `distinct[codes[t]]`, null where the code is.

        distinct  (m,) String or Int64, each somewhere in the column, in no order
        codes     (n,) UInt32 places in it, null where the id is missing

    An empty column has no distinct ids and no codes.

    >>> ids = CodedIds.of(pl.Series(["tom", "ana", "tom"]))
    >>> ids.distinct.to_list(), ids.codes.to_list()
    (['tom', 'ana'], [0, 1, 0])
    """

    distinct: pl.Series
    codes: pl.Series

    @classmethod
    def of(cls, texts: pl.Series) -> CodedIds:
        """The codes of a column (n,) of String: polars counts them up from 0."""
        require_threads()
        coded = texts.cast(pl.Categorical(pl.Categories.random(physical=pl.UInt32))).rechunk()
        codes = coded.to_physical()
        distinct = coded.gather(codes.arg_unique()).drop_nulls()
        return cls(distinct.gather(distinct.to_physical().arg_sort()).cast(pl.String), codes)

    def __len__(self) -> int:
        return len(self.codes)

    def each(self, values: pl.Series) -> pl.Series:
        """For every entry what `values` (m,) says of its id: (n,), null where the code is.

        >>> CodedIds.of(pl.Series(["tom", "ana", "tom"])).each(pl.Series([3, 7])).to_list()
        [3, 7, 3]
        """
        return values.gather(self.codes)

    def filter(self, keep: pl.Series) -> CodedIds:
        """The entries where `keep` (n,) Boolean is true, coded anew."""
        return CodedIds.of(self.each(self.distinct).filter(keep))


@dataclass(frozen=True, eq=False)
class IdMap:
    """Distinct ids in sorted order; an id's row number is its place in that order.

    Ids are all integers or all strings. No Python object is kept per id, so ten million ids take
    80 MB as integers, or 8 bytes each plus their text as strings:

        integers  (n,) int64, ascending                       when ids are integers
        offsets   (n + 1,) int64 into text, text (m,) uint8   when ids are strings, by UTF-8 order

    An empty map is of kind "integer", knows no id, and joins with either kind.

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
        """The map of the distinct ids in `ids`, integers or strings.

        Raises DataError on nulls, mixed ids and texts that cannot be ids (see `id_fault`), naming the row.

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
        """The map of a column (n,), as `id_column` gives it or coded, and each entry's row number: (n,) int32.

        Raises DataError on texts that cannot be ids, naming the row.

        >>> ids, rows = IdMap.of_with_rows(pl.Series(["tom", "ana", "tom"]))
        >>> len(ids), rows.tolist()
        (2, [1, 0, 1])
        """
        require_threads()
        if isinstance(ids, pl.Series) and ids.dtype not in (pl.Int64, pl.String):
            raise DataError(f"ids must be a column of Int64 or String, not of {ids.dtype}")
        if isinstance(ids, pl.Series) and ids.dtype == pl.Int64:
            found = cls.from_sorted(ids.unique().sort())
            return found, found.rows(ids)
        coded = CodedIds.of(ids) if isinstance(ids, pl.Series) else ids
        _require_ids(coded.distinct, lambda bad: int((coded.each(coded.distinct) == bad).arg_true()[0]))
        order = coded.distinct.arg_sort()
        rows = np.empty(len(order), np.int32)
        rows[order.to_numpy()] = np.arange(len(order), dtype=np.int32)
        return cls.from_sorted(coded.distinct.gather(order)), coded.each(pl.Series(rows)).to_numpy()

    @classmethod
    @validated
    def from_sorted(cls, ids: pl.Series) -> IdMap:
        """The map of a column (n,) that is already sorted and distinct (Int64 or String).

        The order is not checked. Raises DataError for a column of another type.
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
    def kind(self) -> Literal["integer", "string"]:
        """What the ids are; "integer" for a map made of no ids."""
        return "string" if self.integers is None else "integer"

    def __len__(self) -> int:
        return len(self.integers) if self.integers is not None else len(self._offsets) - 1

    def __contains__(self, id_: object) -> bool:
        return isinstance(id_, int | str) and self._find(id_) >= 0

    def __repr__(self) -> str:
        return f"IdMap({len(self)} {self.kind} ids)"

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
        """Every id in row order, as a polars column: (n,) Int64 or String."""
        if self.integers is not None:
            return pl.Series("id", self.integers, dtype=pl.Int64)
        if threads_lost():
            return pl.Series("id", [self._text_at(row) for row in range(len(self))], dtype=pl.String)
        starts, lengths = self._offsets[:-1], np.diff(self._offsets)
        whole = pl.lit(bytes(self._bytes))
        cut = whole.bin.slice(pl.col("start"), pl.col("length")).cast(pl.String)
        return pl.DataFrame({"start": starts, "length": lengths}).select(id=cut)["id"]

    def row(self, id_: Id) -> int:
        """The row number of one id, matched as in `rows`. Raises UnknownIdError, DataError for what is no id.

        >>> IdMap.of(["ana", "tom"]).row("tom"), IdMap.of(["1", "2"]).row(2)
        (1, 1)
        >>> IdMap.of([1, 2]).row("02")
        Traceback (most recent call last):
        cofactor.errors.UnknownIdError: '02' is not a known id: ids here are integers; did you mean 2?
        """
        if isinstance(id_, bool) or not isinstance(id_, int | str | np.integer):
            raise DataError(f"{checks.shown(id_)} is not an id (an integer or a string)")
        found = self._find(id_ if isinstance(id_, str) else int(id_))
        if found < 0:
            raise UnknownIdError(f"{checks.shown(id_)} is not a known id{self._type_hint(id_)}")
        return found

    @validated
    def rows(self, ids: pl.Series | Sequence[Id]) -> Int32:
        """Row numbers, -1 for every unknown id: (n,) int32. Raises DataError for what is no id.

        Ids match across the two types by `typed`: "7" is the integer 7, and "07" is not. No ids give no rows, and an
        empty map knows none.

        >>> IdMap.of(["ana", "tom"]).rows(["tom", "zoe"]).tolist()
        [1, -1]
        >>> IdMap.of([7, 17]).rows(["17", "017", "ana"]).tolist(), IdMap.of(["017", "17"]).rows([17]).tolist()
        ([1, -1, -1], [1])
        """
        wanted = self.typed(ids)
        usable = wanted.is_not_null()
        if usable.all():
            return self._rows(wanted)
        rows = np.full(len(wanted), -1, np.int32)
        rows[usable.to_numpy()] = self._rows(wanted.filter(usable))
        return rows

    @validated
    def typed(self, ids: pl.Series | Sequence[Id]) -> pl.Series:
        """These ids in the type of this map: the single rule by which integers and texts match.

        An integer is the text that is its decimal form, and a text in that form is the integer.

        Parameters
        ----------
        ids : Series or sequence of int or str, of length n
            Ids of either type, known or not.

        Returns
        -------
        Series of shape (n,), Int64 or String
            The ids; null where the map holds integers and a text is not the decimal form of a 64-bit integer.

        Raises
        ------
        DataError
            For what is no id.

        Examples
        --------
        >>> IdMap.of([7]).typed(["7", "07", "ana"]).to_list(), IdMap.of(["7"]).typed([7, 8]).to_list()
        ([7, None, None], ['7', '8'])
        """
        column = id_column(ids)
        if self.kind == "string":
            return column.cast(pl.String)
        if column.dtype == pl.Int64:
            return column
        decimal = column.str.contains(r"^(0|-?[1-9][0-9]*)$")
        return pl.select(pl.when(decimal).then(column.cast(pl.Int64, strict=False))).to_series().alias(column.name)

    def ids(self, rows: Any) -> pl.Series:
        """The ids at these row numbers (n,), from 0 to the length less 1: the inverse of `rows`.

        Raises ParameterError as `checked_rows` does; so -1, the row of an unknown id, has no id.

        >>> IdMap.of(["ana", "tom"]).ids([1, 1, 0]).to_list()
        ['tom', 'tom', 'ana']
        """
        at = self.checked_rows(rows)
        if self.integers is not None:
            return pl.Series("id", self.integers[at], dtype=pl.Int64)
        if len(at) < 64:
            return pl.Series("id", [self._text_at(row) for row in at.tolist()], dtype=pl.String)
        return self.all.gather(at).alias("id")

    def checked_rows(self, rows: Any) -> Int32:
        """These row numbers, (n,) int32. Raises ParameterError for what is none, and for one that no id here has.

        >>> IdMap.of(["ana", "tom"]).checked_rows([1, 2])
        Traceback (most recent call last):
        cofactor.errors.ParameterError: rows must hold row numbers from 0 to 1, not 2
        """
        return checks.row_numbers("rows", rows, len(self))

    @validated
    def parse(self, text: str) -> Id:
        """An id typed by a person, in the type of this map (a CLI or a URL only has text).

        >>> IdMap.of([7]).parse("7"), IdMap.of(["7"]).parse("7")
        (7, '7')
        """
        return int(text) if self.kind == "integer" and is_canonical_decimal(text) else text

    @validated
    def union(self, other: IdMap) -> IdMap:
        """The ids of both, in the type of this map; ids of the other type match as in `rows`.

        Raises DataError where this map holds integers and a text of the other is not the decimal form of one.

        >>> IdMap.of(["tom"]).union(IdMap.of(["ana", "tom"])).all.to_list()
        ['ana', 'tom']
        >>> IdMap.of([7]).union(IdMap.of(["7", "8"])).all.to_list()
        [7, 8]
        """
        if len(other) == 0 or len(self) == 0:
            return self if len(self) else other
        theirs = self.typed(other.all)
        if theirs.null_count():
            raise DataError(
                f"ids of two types: {self.kind} ids such as {self.ids([0])[0]!r} and {other.kind} ids such as "
                f"{other.all.filter(theirs.is_null())[0]!r}; give both tables the same type"
            )
        require_threads()
        return IdMap.of(pl.concat([self.all, theirs]))

    @validated
    def equals(self, other: IdMap) -> bool:
        """True when both hold the same ids (and so the same row numbers).

        >>> IdMap.of(["tom", "ana"]).equals(IdMap.of(["ana", "tom"])), IdMap.of([1]).equals(IdMap.of(["1"]))
        (True, False)
        """
        if self is other:
            return True
        if self.kind != other.kind or len(self) != len(other):
            return False
        if self.integers is not None and other.integers is not None:
            return bool(np.array_equal(self.integers, other.integers))
        return bool(np.array_equal(self._offsets, other._offsets)) and self._bytes == other._bytes

    def _rows(self, wanted: pl.Series) -> Int32:
        """Row numbers of ids in the type of this map."""
        if len(wanted) == 0 or len(self) == 0:
            return np.full(len(wanted), -1, np.int32)
        if self.integers is not None:
            return _integer_rows(self.integers, wanted.to_numpy())
        if len(wanted) < 64 or threads_lost():  # not worth a column of all ids
            return np.array([self._find(id_) for id_ in wanted], dtype=np.int32)
        return self._lookup(wanted)

    def _lookup(self, wanted: pl.Series) -> Int32:
        known = pl.DataFrame({"id": self.all, "row": np.arange(len(self), dtype=np.int32)})
        asked = wanted.alias("id").to_frame()
        found = asked.join(known, on="id", how="left", maintain_order="left")["row"]
        return found.fill_null(-1).to_numpy()

    def _text_at(self, row: int) -> str:
        return bytes(self._bytes[self._offsets[row] : self._offsets[row + 1]]).decode()

    def _find(self, id_: Id) -> int:
        """Binary search for one id of either type; -1 when it is not there."""
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
        if self.kind == "string" or not len(self) or not isinstance(id_, str) or is_canonical_decimal(id_):
            return ""
        number = id_.strip().lstrip("+0")
        near = f"; did you mean {number}?" if is_canonical_decimal(number) and number in self else ""
        return f": ids here are integers{near}"


@validated
def is_canonical_decimal(text: str) -> bool:
    """True for integers of 64 bits written the one usual way: no leading zero, plus sign, blank or fraction.

    >>> [is_canonical_decimal(text) for text in ("7", "-7", "007", "7.0", "")]
    [True, True, False, False, False]
    """
    digits = text.removeprefix("-")
    plain = digits.isascii() and digits.isdigit() and (digits[0] != "0" or text == "0")
    return plain and _fits_int64(int(text))


def _integer_rows(known: Int64, asked: Int64) -> Int32:
    """Places of `asked` in `known` (ascending, not empty), -1 where it is not: by a table where the ids lie close."""
    low, span = int(known[0]), int(known[-1]) - int(known[0]) + 1
    if span > 4 * len(known) + 1024 or len(asked) < len(known):
        place = np.minimum(np.searchsorted(known, asked), len(known) - 1)
        return np.where(known[place] == asked, place, -1).astype(np.int32)
    table = np.full(span, -1, np.int32)
    table[known - low] = np.arange(len(known), dtype=np.int32)
    place = asked - low
    inside = place.view(np.uint64) < span
    return table[place] if inside.all() else np.where(inside, table[np.where(inside, place, 0)], np.int32(-1))


@validated
def is_unicode(text: str) -> bool:
    """False for text with half of a surrogate pair, as JSON can spell it and no file can hold it."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@validated
def id_fault(text: str) -> str | None:
    """Why a text cannot be an id, or None where it can.

    An id of text has 1 to 256 characters, at least one that is not blank, no control characters (line ends and tabs
    are such) and no half of a surrogate pair. Readers, tables, the store and the service all go by this rule.

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
    """Which of these texts cannot be ids by `id_fault`: (n,) Boolean, null for null.

    >>> faulty_ids(pl.Series(["ana", "a\\nb", "", "x" * 257])).to_list()
    [False, True, True, True]
    """
    blank, long = texts.str.strip_chars() == "", texts.str.len_chars() > LONGEST_ID
    return blank | long | texts.str.contains(r"[\x00-\x1f\x7f-\u{9f}]")


def _require_ids(distinct: pl.Series, place: Callable[[str], int]) -> None:
    """Raise DataError for a text that cannot be an id. place: the row of its first occurrence."""
    if distinct.dtype != pl.String or not (faulty := faulty_ids(distinct)).any():
        return
    first = min(distinct.filter(faulty), key=place)
    raise DataError(f"row {place(first) + 1}: the id {id_fault(first)}: {checks.shown(first)}")


def _fits_int64(value: int) -> bool:
    return -(2**63) <= value < 2**63


@validated
def id_column(ids: pl.Series | Iterable[Id]) -> pl.Series:
    """Ids as a column (n,) of Int64 or String; DataError names the first id that cannot be one.

    No ids give an empty column of Int64.

    >>> id_column([7, 3]).dtype, id_column(["ana"]).dtype
    (Int64, String)
    >>> id_column([7, None])
    Traceback (most recent call last):
    cofactor.errors.DataError: row 2: None is not an id (an integer or a string)
    """
    without_axes = isinstance(ids, np.ndarray) and ids.ndim == 0
    if not isinstance(ids, Iterable) or isinstance(ids, str | bytes) or without_axes:
        raise DataError(f"ids must be a list or column of integers or strings, not {checks.shown(ids)}")
    checks.not_endless("ids", ids)
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
    if isinstance(ids, np.ndarray) and ids.dtype.kind in "iu":
        return pl.Series("id", ids)
    values = [i.item() if isinstance(i, np.generic) else i for i in ids]
    strings = sum(isinstance(i, str) for i in values)
    if 0 < strings < len(values):
        first = next(i for i in values if isinstance(i, str) != isinstance(values[0], str))
        raise DataError(f"ids of two types, {values[0]!r} and {first!r}: use integers or strings, not both")
    for place, value in enumerate(values):
        if not isinstance(value, int | str) or isinstance(value, bool):
            raise DataError(f"row {place + 1}: {checks.shown(value)} is not an id (an integer or a string)")
        if isinstance(value, int) and not _fits_int64(value):
            raise DataError(f"row {place + 1}: {checks.shown(value)} does not fit into 64 bits; pass ids as strings")
        if isinstance(value, str) and not is_unicode(value):
            raise DataError(
                f"row {place + 1}: the id {value!r} is not text that a file could hold (half a surrogate pair)"
            )
    return pl.Series("id", values, dtype=pl.String if strings else pl.Int64)
