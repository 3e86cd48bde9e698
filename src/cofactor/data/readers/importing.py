"""Import: build a table file from the chunks of a source in bounded memory.

    1. Valid rows are appended to files, with IDs as codes in order of first occurrence; the codes are replaced by row
       numbers when all IDs are known.
    2. Rows are partitioned by user into buckets that fit into memory; each bucket is sorted, and duplicates are merged.
    3. The sorted rows are partitioned by item in the same way.

Memory holds the IDs, one chunk, and one bucket. The result equals that of reading the source at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cofactor.arrays import Int32, Int64, row_starts
from cofactor.data import table_file
from cofactor.data.artifact import check_overwrite
from cofactor.data.column_arguments import zeros_note
from cofactor.data.id_columns import CodedIds, canonical_ids, float_ids_note
from cofactor.data.ids import IdMap
from cofactor.data.interactions import Interactions, Kind, sorted_and_merged
from cofactor.data.load_report import LoadReport
from cofactor.data.scale import Scale
from cofactor.errors import ArtifactError, DataError
from cofactor.kernels.sort import counting_sort
from cofactor.kernels.sparse import SparseRows

__all__ = ["TableImport"]

BUCKET_ROWS = 1 << 24
"""Maximum number of rows that are sorted at once, unless a single user or item has more."""

SLICE_ROWS = 1 << 22
"""Number of rows that are copied at once."""

DTYPES = {"u": np.int32, "i": np.int32, "values": np.float32, "times": np.int64, "weights": np.float32}
"""Columns of a table, with their types."""

ROLE_COLUMNS = {"value": "values", "time": "times", "weight": "weights"}
"""Names of the columns by the roles of the readers."""

Columns = dict[str, NDArray[Any]]


@dataclass
class IdCodes:
    """Codes for the distinct IDs of a column that is read in chunks, in order of first occurrence.

    Attributes
    ----------
    role : str
        "user" or "item", for messages.
    seen : DataFrame or None, default None
        Columns id and code; None before the first chunk.
    """

    role: str
    seen: pl.DataFrame | None = None

    def encode(self, ids: pl.Series | CodedIds) -> Int32:
        """Return the code of each ID, and add IDs that are new.

        Parameters
        ----------
        ids : Series or CodedIds
            IDs of one chunk, without nulls.

        Returns
        -------
        ndarray of shape (n,), int32
            Codes.

        Raises
        ------
        DataError
            If the IDs are integers, but those of earlier chunks are strings, or vice versa.
        """
        distinct = ids.distinct if isinstance(ids, CodedIds) else ids.unique(maintain_order=True)
        frame = pl.DataFrame({"id": distinct})
        if self.seen is None:
            self.seen = pl.DataFrame({"id": distinct.head(0), "code": pl.Series([], dtype=pl.Int32)})
        if self.seen["id"].dtype != distinct.dtype:
            raise DataError(
                f"the {self.role} IDs are integers in some rows and text in others; read all of them as text with "
                'ids="text" (--ids text)'
            )
        codes = frame.join(self.seen, on="id", how="left", maintain_order="left")["code"].to_numpy(writable=True)
        is_new = np.isnan(codes) if codes.dtype.kind == "f" else np.zeros(len(codes), bool)
        n_seen = len(self.seen)
        codes[is_new] = n_seen + np.arange(int(is_new.sum()))
        codes = codes.astype(np.int32)
        added = pl.DataFrame({"id": distinct.filter(pl.Series(is_new)), "code": pl.Series(codes[is_new])})
        self.seen = pl.concat([self.seen, added])
        if isinstance(ids, CodedIds):
            return np.asarray(codes[ids.codes.to_numpy()], np.int32)
        lookup = pl.DataFrame({"id": distinct, "code": pl.Series(codes)})
        joined = pl.DataFrame({"id": ids}).join(lookup, on="id", how="left", maintain_order="left")
        return joined["code"].to_numpy().astype(np.int32)

    def id_map(self, *, parse: bool) -> tuple[IdMap, Int32, bool]:
        """Return the map of all IDs, the row number of each code, and whether some IDs look like floats.

        Parameters
        ----------
        parse : bool
            Whether text becomes integers if all IDs are integers.

        Returns
        -------
        ids : IdMap
        rows : ndarray of shape (n_codes,), int32
        had_floats : bool
        """
        assert self.seen is not None
        distinct = self.seen["id"]
        had_floats = False
        if parse and distinct.dtype == pl.String:
            text, distinct = distinct, canonical_ids(distinct, parse=True)
            had_floats = distinct.dtype == pl.Int64 and bool(text.str.contains(".", literal=True).any())
        id_map, rows = IdMap.of_with_rows(distinct)
        return id_map, rows, had_floats


@dataclass
class ColumnFiles:
    """Columns of equal length in raw files, to which rows are appended.

    Attributes
    ----------
    folder : Path
        Folder of the files, which is created.
    names : tuple of str
        Names of the columns.
    n : int, default 0
        Number of rows.
    """

    SUFFIX: ClassVar[str] = ".bin"

    folder: Path
    names: tuple[str, ...]
    n: int = 0

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

    def append(self, columns: Mapping[str, NDArray[Any]]) -> None:
        """Append rows.

        Parameters
        ----------
        columns : mapping of str to ndarray of shape (m,)
            Columns by name.
        """
        for name in self.names:
            with self._path(name).open("ab") as file:
                np.ascontiguousarray(columns[name], DTYPES[name]).tofile(file)
        self.n += len(columns[self.names[0]])

    def columns(self) -> Columns:
        """Return all rows, mapped from the files.

        Returns
        -------
        dict of str to ndarray of shape (n,)
        """
        if not self.n:
            return {name: np.zeros(0, DTYPES[name]) for name in self.names}
        return {name: np.memmap(self._path(name), DTYPES[name], "r") for name in self.names}

    def slices(self) -> Iterator[Columns]:
        """Iterate over the rows in slices that fit into memory.

        Yields
        ------
        dict of str to ndarray
        """
        columns = self.columns()
        for first in range(0, self.n, SLICE_ROWS):
            yield {name: np.asarray(column[first : first + SLICE_ROWS]) for name, column in columns.items()}

    def remove(self) -> None:
        """Delete the files."""
        for name in self.names:
            self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}{self.SUFFIX}"


@dataclass
class TableImport:
    """Import of one table; create it, add chunks, and finish it.

    Parameters
    ----------
    path : Path
        Path of the table file.
    kind : {"ratings", "events"}
        Kind of the table.
    scale : Scale or None
        Declared rating scale.
    parse_ids : bool
        Whether text IDs become integers if all are integers.
    """

    path: Path
    kind: Kind
    scale: Scale | None
    parse_ids: bool
    codes: dict[str, IdCodes] = field(
        init=False, default_factory=lambda: {role: IdCodes(role) for role in ("user", "item")}
    )
    rows: ColumnFiles | None = field(init=False, default=None)
    lowest_weight: float = field(init=False, default=np.inf)
    highest_weight: float = field(init=False, default=-np.inf)

    def __post_init__(self) -> None:
        check_overwrite(self.path, table_file.CONTENT)
        try:
            self.folder = TemporaryDirectory(prefix=".cofactor-import-", dir=self.path.absolute().parent)
        except OSError as error:
            raise ArtifactError(f"{self.path} cannot be written: {error.strerror or error}") from error

    def __enter__(self) -> TableImport:
        return self

    def __exit__(self, *error: object) -> None:
        self.folder.cleanup()

    def add(self, columns: Mapping[str, pl.Series | CodedIds]) -> None:
        """Add the valid rows of a chunk.

        Parameters
        ----------
        columns : mapping of str to Series or CodedIds
            Columns by role, as returned by `validate_rows`; each chunk has the same roles.
        """
        names = ("u", "i", *(name for role, name in ROLE_COLUMNS.items() if role in columns))
        if self.rows is None:
            self.rows = ColumnFiles(Path(self.folder.name, "rows"), names)
        arrays: Columns = {
            "u": self.codes["user"].encode(columns["user"]),
            "i": self.codes["item"].encode(columns["item"]),
        }
        for role, name in ROLE_COLUMNS.items():
            column = columns.get(role)
            if isinstance(column, pl.Series):
                arrays[name] = column.to_numpy()
        if "weights" in arrays and len(arrays["weights"]):
            self.lowest_weight = min(self.lowest_weight, float(arrays["weights"].min()))
            self.highest_weight = max(self.highest_weight, float(arrays["weights"].max()))
        self.rows.append(arrays)

    @cached_property
    def _id_maps(self) -> dict[str, tuple[IdMap, Int32, bool]]:
        return {role: codes.id_map(parse=self.parse_ids) for role, codes in self.codes.items()}

    def id_notes(self) -> list[str]:
        """Return notes on IDs that look like floating-point numbers; call it after the last chunk.

        Returns
        -------
        list of str
        """
        return [float_ids_note(role) for role, (_, _, had_floats) in self._id_maps.items() if had_floats]

    def finish(self, report: LoadReport, *, weight_is_value: bool) -> Interactions:
        """Sort the rows, write the table file, and open it.

        Parameters
        ----------
        report : LoadReport
            Report of the reader.
        weight_is_value : bool
            Whether the column of weights is the value of events.

        Returns
        -------
        Interactions
            The table, mapped from the file.

        Raises
        ------
        ArtifactError
            If the file cannot be written.
        """
        assert self.rows is not None
        (users, user_rows, _), (items, item_rows, _) = self._id_maps["user"], self._id_maps["item"]

        def prepared() -> Iterator[Columns]:
            assert self.rows is not None
            for columns in self.rows.slices():
                columns["u"], columns["i"] = user_rows[columns["u"]], item_rows[columns["i"]]
                if weight_is_value:
                    columns["values"] = columns.pop("weights")
                columns.setdefault("values", np.ones(len(columns["u"]), np.float32))
                yield columns

        names = tuple(name for name in DTYPES if name in ("u", "i", "values") or name in self.rows.names)
        names = tuple(name for name in names if name != "weights" or not weight_is_value)
        n_read = self.rows.n
        by_user = ColumnFiles(Path(self.folder.name, "by user"), names)
        for columns in self._buckets(prepared, "u", len(users), names):
            by_user.append(sorted_and_merged(columns, len(users), len(items), self.kind))
        self.rows.remove()
        by_item = ColumnFiles(Path(self.folder.name, "by item"), tuple(n for n in names if n != "times"))
        for columns in self._buckets(by_user.slices, "i", len(items), by_item.names):
            order = counting_sort(columns["i"], len(items))[1]
            by_item.append({name: column[order] for name, column in columns.items()})
        fields = by_user.columns()
        counts = self._counts(by_user.slices, "i", len(items))
        entries = by_item.columns()
        rows = SparseRows(row_starts(counts), entries["u"], entries["values"], entries.get("weights"))
        rule = "last kept" if self.kind == "ratings" else "summed"
        n_merged = n_read - by_user.n
        report = replace(report, duplicates=n_merged, duplicate_rule=rule if n_merged else "")
        scale = self.scale
        if self.kind == "ratings" and scale is None:
            scale = Scale.infer(np.asarray(fields["values"]))
            if note := zeros_note(fields["values"]):
                report = report.with_note(note)
        others = {"users": users, "items": items, "kind": self.kind, "scale": scale, "report": report}
        table_file.save(self.path, {**fields, **others}, rows)
        return table_file.load(self.path, Interactions, verify=False)

    def _buckets(self, slices: Any, key: str, n_keys: int, names: tuple[str, ...]) -> Iterator[Columns]:
        """Partition rows by ranges of a column, and return the rows of each range, in their order."""
        counts = self._counts(slices, key, n_keys)
        bucket_of = (np.maximum(np.cumsum(counts) - 1, 0) // BUCKET_ROWS).astype(np.int32)
        used = np.unique(bucket_of)
        folder = Path(self.folder.name, f"buckets {key}")
        buckets = {int(b): ColumnFiles(folder / str(b), names) for b in used}
        for columns in slices():
            bucket = bucket_of[columns[key]]
            start, order = counting_sort(bucket, int(used[-1]) + 1)
            for b in np.unique(bucket).tolist():
                rows = order[start[b] : start[b + 1]]
                buckets[b].append({name: columns[name][rows] for name in names})
        for _, files in sorted(buckets.items()):
            if files.n:
                yield {name: np.array(column) for name, column in files.columns().items()}
            files.remove()

    @staticmethod
    def _counts(slices: Any, key: str, n_keys: int) -> Int64:
        counts = np.zeros(n_keys, np.int64)
        for columns in slices():
            counts += np.bincount(columns[key], minlength=n_keys)
        return counts
