"""Inputs that are nearly valid: the message names the argument or the line, and its advice works."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from cofactor.data.interactions import Interactions
from cofactor.data.readers.read import read_events, read_ratings
from cofactor.data.scale import Scale
from cofactor.errors import CofactorError, DataError, ParameterError
from tests.support.command_line import ok, run

IDS = ["ana", "bo", "cy"]
SECONDS = 1_676_043_693


def columns(**changed: Any) -> Interactions:
    arguments = {"users": IDS, "items": [1, 2, 3], "values": [5, 4, 3], **changed}
    return Interactions.from_columns(
        arguments.pop("users"), arguments.pop("items"), arguments.pop("values"), **arguments
    )


@pytest.mark.parametrize("name", ["users", "items", "values", "times", "weights"])
@pytest.mark.parametrize(
    "wrong",
    [
        {1, 2, 3}, frozenset("abc"), {1: 1, 2: 2, 3: 3}, "abc", b"abc", bytearray(b"abc"), 5, 1.5, object(), list, len,
        np.ones((3, 1)), np.float32(1), pd.DataFrame({"a": [1, 2, 3]}), pl.DataFrame({"a": [1, 2, 3]}), pl.col("a"),
        memoryview(b"abc"), {1: 2}.keys(), Ellipsis,
    ],
    ids=lambda wrong: type(wrong).__name__,
)  # fmt: skip
def test_objects_without_row_order_are_not_columns(name: str, wrong: Any) -> None:
    with pytest.raises(ParameterError, match=f"^{name} must be a list, an array or a Series"):
        columns(**{name: wrong})


@pytest.mark.parametrize("name", ["users", "items", "values", "times", "weights"])
def test_a_generator_is_not_a_column(name: str) -> None:
    for wrong in ((at for at in [1, 2, 3]), map(int, "123"), zip("abc", strict=True), iter([1, 2, 3])):
        with pytest.raises(ParameterError, match=f"^{name} must be a list, an array or a Series"):
            columns(**{name: wrong})


@pytest.mark.parametrize("name", ["users", "items", "values", "times", "weights"])
def test_wrong_entries_name_the_argument(name: str) -> None:
    for wrong in (
        [1, 2, None],
        [[1], [2], [3, 4]],
        [1, 2, complex(1)],
        [1, 2, np.nan],
        [object()] * 3,
        [1, 2, 2.5e400],
    ):
        with pytest.raises(DataError, match=name):
            columns(**{name: wrong})
    for wrong in ([], [1], [1, 2, 3, 4]):
        with pytest.raises(CofactorError, match=name.removesuffix("s") + "|table is empty|entries, one for each row"):
            columns(**{name: wrong})


def test_every_usual_column_type_is_accepted() -> None:
    expected = columns().frame()
    for make in (list, tuple, np.array, pl.Series, pd.Series, pd.Index, pa.array):
        table = columns(users=make(IDS), items=make([1, 2, 3]), values=make([5, 4, 3]))
        assert table.frame().equals(expected)
    assert columns(items=range(1, 4), values=np.array([5, 4, 3], np.int8)).frame().equals(expected)


def test_the_kind_and_the_scale_are_checked() -> None:
    for kind in ("xyz", None, "Ratings", 1, ["ratings"]):
        with pytest.raises(ParameterError, match="kind must be ratings or events"):
            columns(kind=kind)
    five = Scale.from_levels([1, 2, 3, 4, 5])
    assert columns(scale=five).scale == five
    with pytest.raises(DataError, match="row 2 of values: 99 is not on the rating scale"):
        columns(values=[5, 99, 3], scale=five)
    with pytest.raises(DataError, match=r"row 3 of values: 4\.5 is not on the rating scale"):
        columns(values=[5, 4, 4.5], scale=five)
    with pytest.raises(DataError, match="row 1 of values: 0 is not on the rating scale"):
        columns(values=[0, 4, 4], scale=Scale(1.0, 10.0))
    for scale in ((1, 5), [1, 2, 3], "1-5", 5):
        with pytest.raises(CofactorError, match="scale must be"):
            columns(scale=scale)
    with pytest.raises(ParameterError, match="scale applies only to ratings"):
        columns(kind="events", scale=five)


@pytest.mark.parametrize(
    ("unit", "per_second"), [("milliseconds", 10**3), ("microseconds", 10**6), ("nanoseconds", 10**9)]
)
def test_times_in_another_unit_are_rejected_and_the_advice_works(unit: str, per_second: int) -> None:
    times = [SECONDS, SECONDS * per_second, SECONDS]
    with pytest.raises(
        DataError, match=f"times must be in seconds since the Unix epoch, but row 2 is in {unit}"
    ) as caught:
        columns(times=times)
    advice = re.search(r"np\.asarray\(times\) // (\d+)", str(caught.value))
    assert advice is not None
    fixed = np.asarray([SECONDS * per_second] * 3) // int(advice[1])
    assert columns(times=fixed).times.tolist() == [SECONDS] * 3  # type: ignore[union-attr]
    with pytest.raises(DataError, match="times must be in seconds since the Unix epoch"):
        columns(times=[0, -SECONDS * per_second, 0])


def test_dates_and_text_go_to_the_readers_as_advised() -> None:
    for times in (np.array(["2023-02-10T15:41:33"] * 3, "M8[us]"), ["2023-02-10 15:41:33+00"] * 3):
        with pytest.raises(DataError, match=r"times must be integer seconds since the Unix epoch, not .*read_ratings"):
            columns(times=times)
        frame = pl.DataFrame({"user": IDS, "item": [1, 2, 3], "rating": [5, 4, 3], "time": times})
        assert read_ratings(frame).times.tolist() == [SECONDS] * 3  # type: ignore[union-attr]
    with pytest.raises(DataError, match=r"values must be numbers, not text; cofactor\.read_ratings"):
        columns(values=["5", "4", "3"])
    frame = pl.DataFrame({"user": IDS, "item": [1, 2, 3], "rating": ["5", "4", "3"]})
    assert read_ratings(frame).frame().equals(columns().frame())
    with pytest.raises(DataError, match=r"values must be numbers, not booleans; pass np\.asarray\(values, int\)"):
        columns(values=[True, False, True])
    assert columns(values=np.asarray([True, False, True], int)).values.tolist() == [1.0, 0.0, 1.0]


def test_series_with_different_indexes_are_not_joined_by_position() -> None:
    frame = pd.DataFrame({"user": IDS, "item": [1, 2, 3], "rating": [5, 4, 3]})
    turned = frame["rating"].sort_values()
    with pytest.raises(
        ParameterError, match=r"users and values are Series with different indexes: .*values\.to_numpy\(\)"
    ):
        columns(users=frame["user"], values=turned)
    assert columns(users=frame["user"].to_numpy(), values=turned.to_numpy()).values.tolist() == [3.0, 4.0, 5.0]
    filtered = frame[frame["rating"] < 5]
    both = Interactions.from_columns(filtered["user"], filtered["item"], filtered["rating"])
    assert both.frame().rows() == [("bo", 2, 4.0), ("cy", 3, 3.0)]


def test_ids_in_the_index_of_pandas_give_advice() -> None:
    frame = pd.DataFrame({"user": IDS, "item": [1, 2, 3], "rating": [5, 4, 3]})
    expected = columns().frame()
    series = frame.set_index(["user", "item"])["rating"]
    with pytest.raises(DataError, match=r"cannot read a table from a Series; pass a frame; series\.reset_index\(\)"):
        read_ratings(series)
    assert read_ratings(series.reset_index()).frame().equals(expected)
    indexed = frame.set_index("user")
    with pytest.raises(DataError, match=r"its index contains 'user': frame\.reset_index\(\) converts it to columns"):
        read_ratings(indexed)
    assert read_ratings(indexed.reset_index()).frame().equals(expected)
    with pytest.raises(DataError, match="cannot read a table from a Series; pass a frame"):
        read_ratings(pl.Series([1, 2]))


def csv(folder: Path, cell: str) -> Path:
    path = folder / "r.csv"
    path.write_text(f'user,item,rating\na,x,1\nb,y,"{cell}"\nc,z,1\n')
    return path


@pytest.mark.parametrize(
    ("cell", "reason", "fixed"),
    [
        ("1,234", "is written with a comma; write 1234 if it separates thousands, or 1.234 if it is a", "1234"),
        ("12,345,678.5", "is written with a comma; write 1234 if it separates thousands", "12345678.5"),
        ("3,5", "is written with a comma; decimals need a point", "3.5"),
        ("1.234,5", "is written with a comma; decimals need a point", "1234.5"),
        ("1 234,5", "is written with a comma; decimals need a point", "1234.5"),
        ("1 234 567", "has thousands separators; write 1234567.5", "1234567"),
        ("1'234.5", "has thousands separators; write 1234567.5", "1234.5"),
        ("$5", "is not a number; write it without its unit or sign, as in 4.5", "5"),
        ("5 €", "is not a number; write it without its unit or sign, as in 4.5", "5"),
        ("80%", "is not a number; write it without its unit or sign, as in 4.5", "80"),
        ("5 stars", "is not a number; write it without its unit or sign, as in 4.5", "5"),
        ("4/5", "is not a number; write it without its unit or sign, as in 4.5", "4"),
        ("4 out of 5", "is not a number; write it without its unit or sign, as in 4.5", "4"),
        ("True", "is not a number; write 1 and 0 for true and false", "1"),
        ("no", "is not a number; write 1 and 0 for true and false", "0"),
    ],
)
def test_numbers_in_other_formats_get_advice_that_works(tmp_path: Path, cell: str, reason: str, fixed: str) -> None:
    frame = pl.DataFrame({"user": ["a", "b", "c"], "item": ["x", "y", "z"], "rating": ["1", cell, "1"]})
    readers: list[Callable[[], Any]] = [lambda: read_ratings(csv(tmp_path, cell)), lambda: read_ratings(frame)]
    for read in readers:
        with pytest.raises(DataError) as caught:
            read()
        assert f"the value {reason}" in str(caught.value)
    assert read_ratings(csv(tmp_path, fixed)).frame()["value"][1] == np.float32(float(fixed))


def test_a_column_of_booleans_gets_advice_that_works() -> None:
    frame = pl.DataFrame({"user": IDS, "item": [1, 2, 3], "rating": [True, False, True]})
    with pytest.raises(
        DataError, match="the value column contains Boolean, not numbers; write 1 and 0 for true and false"
    ):
        read_ratings(frame)
    assert read_ratings(frame.cast({"rating": pl.Int8})).values.tolist() == [1.0, 0.0, 1.0]


def with_zeros(levels: list[float], zeros: int) -> pl.DataFrame:
    values = [*levels * 2, *[0.0] * zeros]
    return pl.DataFrame({"user": list(range(len(values))), "item": 1, "rating": values})


@pytest.mark.parametrize(
    "levels",
    [list(map(float, range(1, 11))), [1.0, 2.0, 3.0, 4.0, 5.0], [at / 2 for at in range(1, 11)], [5.0, 8.0, 10.0]],
)
def test_separate_zeros_are_reported_and_the_advice_works(tmp_path: Path, levels: list[float]) -> None:
    frame = with_zeros(levels, 7)
    path = tmp_path / "r.csv"
    frame.write_csv(path)
    n = len(frame)
    constructed = Interactions.from_columns(frame["user"], frame["item"], frame["rating"])
    for loaded in (read_ratings(path), read_ratings(frame), constructed):
        assert loaded.report is not None
        assert (loaded.values == 0).sum() == 7  # no row is dropped silently
        note = next(note for note in loaded.report.notes if " are 0 while the others are between " in note)
        assert note.startswith(f"7 of {n} ratings are 0 while the others are between {levels[0]:g} and {levels[-1]:g}.")
    advised = re.search(r"rating_levels=\[([^]]*)\], on_error=\"quarantine\", quarantine=\"rejected\.csv\"", note)
    assert advised is not None
    declared = [float(level) for level in advised[1].split(",")]
    for source in (path, frame):
        rated = read_ratings(
            source, rating_levels=declared, on_error="quarantine", quarantine=tmp_path / "rejected.csv"
        )
        assert len(rated) == n - 7
        assert rated.report is not None
        assert not any("are 0 while" in note for note in rated.report.notes)
        assert len(read_events(source, value="")) == n
    options = re.findall(r"\(on the command line ([^)]*)\)", note)
    assert len(options) == 2
    for option, rows in zip(options, (n - 7, n), strict=True):
        arguments = [
            argument.strip('"').replace("rejected.csv", str(tmp_path / "q.csv")) for argument in option.split(" ")
        ]
        done = ok("describe", path, *arguments)
        assert f"{rows:,}" in done.output
    done = run("describe", path)
    assert f"7 of {n} ratings are 0 while" in " ".join(done.output.split())


@pytest.mark.parametrize(
    "values",
    [[0, 1], [0, 1, 2, 3, 4, 0.25], [0, 0, 0], [-1, 0, 1, 2, 3], [1, 2, 3, 4, 5], [0, 17.3, 29.1, 44.9], [0, 1, 2]],
)
def test_zeros_on_the_scale_are_not_reported(values: list[float]) -> None:
    report = Interactions.from_columns(list(range(len(values))), [1] * len(values), values).report
    assert report is not None
    assert not report.notes


def test_declared_zeros_are_not_reported() -> None:
    frame = with_zeros([1.0, 2.0, 3.0, 4.0, 5.0], 3)
    report = read_ratings(frame, rating_levels=[0, 1, 2, 3, 4, 5]).report
    assert report is not None
    assert not any("are 0 while" in note for note in report.notes)
