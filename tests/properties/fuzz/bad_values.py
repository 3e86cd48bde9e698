"""Bad values by kind: wrong types, empty, out of range, not finite, huge, foreign ids, foreign rows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
from samples import Samples

import cofactor
from cofactor.data.ids import IdMap
from cofactor.data.scale import Scale
from cofactor.kernels.sparse import SparseRows

DTYPES = ("?", "i1", "u1", "i4", "i8", "u8", ">i4", "f2", "f4", "f8", "g", "c16", "U3", "S3", "O", "M8[s]", "m8[s]")


def bad_values(samples: Samples) -> dict[str, Callable[[], Any]]:
    """Bad values by the name in reports; each is created when it is called."""
    n, m = 24, 10
    numbers: dict[str, Any] = {
        "None": None, "True": True, "False": False, "0": 0, "-1": -1, "-2": -2, "1.5": 1.5, "2**31": 2**31,
        "2**40": 2**40, "2**63": 2**63, "2**70": 2**70, "-2**70": -(2**70), "10**5000": 10**5000, "1e300": 1e300,
        "1e-300": 1e-300, "nan": float("nan"), "inf": float("inf"), "-inf": float("-inf"), "complex": 1j,
        "np.float64 nan": np.float64("nan"), "np.int8": np.int8(-3), "np.uint64": np.uint64(2**64 - 1),
        "np.bool": np.bool_(True), "Decimal": Decimal("1.5"), "Decimal nan": Decimal("nan"), "Fraction": Fraction(1, 3),
        "row n": n, "item row m": m, "row n + 10**6": n + 10**6,
    }  # fmt: skip
    texts: dict[str, Any] = {
        "''": "", "'x'": "x", "'nobody'": "nobody", "surrogate": "\ud800", "newline": "a\nb", "NUL": "a\0b",
        "long text": "x" * 100_000, "b'x'": b"x", "bytearray": bytearray(b"x"), "'1'": "1", "'nan'": "nan",
    }  # fmt: skip
    lists: dict[str, Any] = {
        "[]": [], "()": (), "[None]": [None], "[[]]": [[]], "[1, [2]]": [1, [2]], "[nan]": [float("nan")],
        "[True]": [True], "[1.5]": [1.5], "[-1]": [-1], "[-2]": [-2], "[n]": [n], "[n + 10**6]": [n + 10**6],
        "[2**70]": [2**70], "['nobody']": ["nobody"], "['']": [""], "[1, 'x']": [1, "x"], "[b'x']": [b"x"],
        "[object]": [object()], "['\\ud800']": ["\ud800"], "('u01', 'nobody')": ("u01", "nobody"), "[0, 0]": [0, 0],
        "huge list": list(range(100_000)), "huge range": range(2**40), "[inf]": [float("inf")], "[[1]]": [[1]],
        "[{}]": [{}], "[date]": [date(2024, 1, 2)], "[('i1', 5)]": [("i1", 5)], "[('i1', nan)]": [("i1", float("nan"))],
    }  # fmt: skip
    others: dict[str, Callable[[], Any]] = {
        "{}": dict, "{'x': None}": lambda: {"x": None}, "{'i1': nan}": lambda: {"i1": float("nan")},
        "{'i1': 99}": lambda: {"i1": 99.0}, "{'nobody': 5}": lambda: {"nobody": 5.0}, "{None: 1}": lambda: {None: 1},
        "set()": set, "{1, 2}": lambda: {1, 2}, "generator": lambda: (x for x in (1, 2)), "object": object,
        "class": lambda: int, "function": lambda: len, "lambda": lambda: lambda *a, **k: None,
        "slice": lambda: slice(3),
        "module": lambda: np, "datetime": lambda: datetime(2024, 1, 2, tzinfo=UTC), "date": lambda: date(2024, 1, 2),
        "Timestamp": lambda: pd.Timestamp("2024-01-02"), "pd.NA": lambda: pd.NA, "NaT": lambda: pd.NaT,
        "Ellipsis": lambda: ..., "exception": lambda: ValueError("x"),
        "path": lambda: Path("nowhere", "nothing"), "folder": lambda: Path("folder"), "junk file": lambda: Path("junk"),
        "file name": lambda: "ratings.csv", "parquet": lambda: "ratings.parquet",
        "open file": lambda: Path("junk").open("rb"),  # noqa: SIM115
        "long path": lambda: Path("x" * 5000), "NUL path": lambda: Path("a\0b"),
    }  # fmt: skip
    frames: dict[str, Callable[[], Any]] = {
        "polars frame": lambda: samples.frame, "polars frame without rows": lambda: samples.frame.head(0),
        "polars frame without columns": pl.DataFrame, "lazy frame": lambda: samples.frame.lazy(),
        "frame of nulls": lambda: samples.frame.with_columns(pl.all().cast(pl.Null, strict=False)),
        "frame of lists": lambda: samples.frame.select(pl.all().implode()),
        "frame of texts": lambda: samples.frame.select(pl.all().cast(pl.String)),
        "pandas frame": lambda: pd.DataFrame({"user": ["a"], "item": ["b"], "rating": [1.0]}),
        "pandas frame with integer names": lambda: pd.DataFrame([[1, 2, 3.0]]),
        "pandas frame with an index": lambda: pd.DataFrame({"x": [1.0]}, index=["i1"]),
        "pandas series": lambda: pd.Series([1.0], index=["i1"]), "empty pandas series": lambda: pd.Series(dtype=object),
        "pandas categories": lambda: pd.Series(["a", None], dtype="category"),
        "polars series": lambda: pl.Series(["u01", None]), "polars series of floats": lambda: pl.Series([1.0, None]),
        "polars series of lists": lambda: pl.Series([[1], [2]]),
        "polars series of objects": lambda: pl.Series([object()]),
        "polars series of dates": lambda: pl.Series([date(2024, 1, 2)]), "empty polars series": lambda: pl.Series([]),
        "arrow table": lambda: samples.frame.to_arrow(), "arrow array": lambda: pa.array(["u01", None]),
    }  # fmt: skip
    arrays: dict[str, Callable[[], Any]] = {
        **{f"array {dtype}": (lambda dtype=dtype: np.zeros(n, dtype)) for dtype in DTYPES},
        **{f"array of shape {shape}": (lambda shape=shape: np.zeros(shape, np.float32))
           for shape in ((), (0,), (1,), (1, 1), (0, 3), (n, 1), (n, m), (n, 3, 2), (n + 1,), (m + 1,), (m,))},
        "0-d integer": lambda: np.array(3), "not contiguous": lambda: np.arange(2 * n, dtype=np.int32)[::2] % m,
        "not contiguous floats": lambda: np.ones((m, n), np.float32).T, "rows backwards": lambda: np.arange(n)[::-1],
        "nan array": lambda: np.full(n, np.nan), "nan matrix": lambda: np.full((n, m), np.nan),
        "inf array": lambda: np.full(n, np.inf, np.float32), "huge numbers": lambda: np.full(n, 1e300),
        "rows -1": lambda: np.full(n, -1, np.int32), "rows -2": lambda: np.full(n, -2, np.int32),
        "rows n": lambda: np.full(n, n, np.int32), "rows beyond": lambda: np.full(n, n + 10**6, np.int64),
        "rows 2**40": lambda: np.full(n, 2**40), "all True": lambda: np.ones(n, bool),
        "short mask": lambda: np.ones(m - 1, bool),
        "item mask": lambda: np.ones(m, bool), "item mask of False": lambda: np.zeros(m, bool),
        "read only": lambda: np.broadcast_to(np.float32(1), (n,)), "structured": lambda: np.zeros(n, [("a", "i4")]),
        "masked": lambda: np.ma.masked_array(np.arange(n), np.arange(n) % 2 == 0), "matrix": lambda: np.zeros((n, n)),
        "lists of rows beyond": lambda: np.full((n, 2), m + 10**6, np.int32),
        "lists of -2": lambda: np.full((n, 2), -2, np.int32),
        "lists of -1": lambda: np.full((n, 2), -1, np.int32), "huge array": lambda: np.zeros(10**5, np.int32),
    }  # fmt: skip
    foreign: dict[str, Callable[[], Any]] = {
        "ratings": lambda: samples.ratings, "events": lambda: samples.events, "other table": lambda: samples.other,
        "table without rows": lambda: samples.ratings.select(np.zeros(len(samples.ratings), bool)),
        "other recommender": lambda: samples.other_recommender,
        "recommender of events": lambda: samples.recommender("item-knn"),
        "recommender": lambda: samples.recommender("user-knn"),
        "factor model": lambda: samples.recommender("bpr").model,
        "other model": lambda: samples.other_recommender.model, "network model": lambda: samples.levels_network,
        "model of items": lambda: samples.recommender("ease").model,
        "model of users": lambda: samples.recommender("user-knn").model,
        "estimator": cofactor.Bias, "estimator of events": cofactor.Popularity,
        "class of estimators": lambda: cofactor.Bias,
        "name of an estimator": lambda: "bias", "unpriced network": lambda: cofactor.NeuralMF(epochs=1),
        "split": lambda: samples.split,
        "rows of users": lambda: samples.ratings.by_user, "rows of items": lambda: samples.ratings.by_item,
        "too many rows": lambda: SparseRows.empty(n + 10**5), "no rows": lambda: SparseRows.empty(0),
        "columns beyond": lambda: SparseRows.of(range(n), [m] * n, [3.0] * n, n),
        "columns far beyond": lambda: SparseRows.of(range(n), [m + 10**6] * n, [3.0] * n, n),
        "nan rows": lambda: SparseRows(np.arange(n + 1), np.zeros(n, np.int32), np.full(n, np.nan, np.float32)),
        "rows that fall": lambda: SparseRows(
            np.array([0] + [2] * n), np.array([3, 1], np.int32), np.ones(2, np.float32)
        ),
        "one row": lambda: SparseRows.of([0], [1], [5.0], 1), "items": lambda: samples.ratings.items,
        "other ids": lambda: IdMap.of(["nobody"]), "no ids": lambda: IdMap.of([]),
        "scale": lambda: Scale.from_levels([1, 2]),
        "config": lambda: samples.config, "figure": lambda: samples.figure, "tastes": lambda: samples.simulation.tastes,
        "explanation": lambda: samples.recommender().for_rows([1]).explanation(2),
        "hits": lambda: samples.model_lists.hits,
    }  # fmt: skip
    plain = {name: (lambda value=value: value) for name, value in {**numbers, **texts, **lists}.items()}
    return {**plain, **others, **frames, **arrays, **foreign}
