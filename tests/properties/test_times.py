"""Every usual time format gives the same whole seconds in every reader; ambiguous times are rejected or reported."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cofactor
from cofactor.data.interactions import Interactions
from cofactor.data.readers.read import read_events, read_ratings
from cofactor.errors import DataError
from tests.support.command_line import ok, run

POSTGRES = 1_676_043_693  # 2023-02-10 15:41:33 UTC


def as_csv(folder: Path, times: list[Any]) -> Any:
    path = folder / "r.csv"
    path.write_text("user,item,rating,time\n" + "".join(f'u,{at},1,"{time}"\n' for at, time in enumerate(times)))
    return path


def as_careful_csv(folder: Path, times: list[Any]) -> Any:
    path = as_csv(folder, times)
    path.write_text(path.read_text().replace("user,item", '"us\ner",item'))  # two lines of header: the careful pass
    return path


def as_json(folder: Path, times: list[Any]) -> Any:
    path = folder / "r.jsonl"
    frame(times).write_ndjson(path)
    return path


def as_parquet(folder: Path, times: list[Any]) -> Any:
    path = folder / "r.parquet"
    frame(times).write_parquet(path)
    return path


def as_sqlite(folder: Path, times: list[Any]) -> Any:
    path = folder / "r.db"
    path.unlink(missing_ok=True)
    with sqlite3.connect(path) as database:
        database.execute("create table r (user, item, rating, time)")
        database.executemany("insert into r values (?, ?, ?, ?)", frame(times).rows())
    database.close()
    return f"sqlite:///{path}"


def as_polars(_folder: Path, times: list[Any]) -> Any:
    return frame(times)


def as_pandas(_folder: Path, times: list[Any]) -> Any:
    return frame(times).to_pandas()


def as_objects(_folder: Path, times: list[Any]) -> Any:
    return frame(times).to_pandas().astype(object)


def as_arrow(_folder: Path, times: list[Any]) -> Any:
    return frame(times).to_arrow()


def frame(times: list[Any]) -> pl.DataFrame:
    return pl.DataFrame({"user": "u", "item": list(range(len(times))), "rating": 1.0, "time": times})


MAKERS: list[Callable[[Path, list[Any]], Any]] = [
    as_csv, as_careful_csv, as_json, as_parquet, as_sqlite, as_polars, as_pandas, as_objects, as_arrow,
]  # fmt: skip
QUICK = [maker for maker in MAKERS if maker is not as_parquet]  # reading Parquet starts a process


def read(source: Any, **options: Any) -> Interactions:
    query = "select * from r" if isinstance(source, str) else None
    return read_ratings(source, query=query, **options)


def seconds(source: Any) -> list[int]:
    times = read(source).times
    assert times is not None
    return times.tolist()  # type: ignore[no-any-return]


def notes(source: Any) -> str:
    report = read(source).report
    assert report is not None
    return "; ".join(report.notes)


SPELLINGS = {
    "2023-02-10 15:41:33+00": POSTGRES,
    "2023-02-10T15:41Z": POSTGRES - 33,
    "2023-02-10 15:41+02:00": POSTGRES - 33 - 7200,
    "20230210T154133Z": POSTGRES,
    "20230210T154133": POSTGRES,
    "20230210T1541": POSTGRES - 33,
    "20230210T154133.25+0530": POSTGRES - 19_800,
    "2023-02-10 15:41:33-03:30": POSTGRES + 12_600,
    "2023-02-10 15:41:33.999-08": POSTGRES + 28_800,
    "2023-02-10 15:41:33,999": POSTGRES,
    "2023-02-10t15:41:33z": POSTGRES,
    "2023-02-10 15:41:33 +05:45": POSTGRES - 20_700,
    "2023-02-10 15:41:33 UTC": POSTGRES,
    "2023-02-10 15:41:33.123456789Z": POSTGRES,
    "2023-02-10": 1_675_987_200,
    "1969-12-31 23:59:59.5": -1,
    " 2023-02-10 15:41:33 ": POSTGRES,
}


@pytest.mark.parametrize("maker", MAKERS)
def test_every_time_format_is_read_by_every_reader(tmp_path: Path, maker: Any) -> None:
    assert seconds(maker(tmp_path, list(SPELLINGS))) == list(SPELLINGS.values())


@pytest.mark.parametrize("maker", QUICK)
def test_a_column_of_calendar_dates_is_read_as_dates(tmp_path: Path, maker: Any) -> None:
    for times in ([20230210, 19991231], ["20230210", "19991231"]):
        source = maker(tmp_path, times)
        assert seconds(source) == [1_675_987_200, 946_598_400]
        assert "calendar dates written as numbers" in notes(source)
    moments = maker(tmp_path, [20230210154133, 20230210120000])
    assert seconds(moments) == [POSTGRES, 1_676_030_400]
    assert seconds(maker(tmp_path, [202302101541, 202302101200])) == [POSTGRES - 33, 1_676_030_400]
    assert seconds(maker(tmp_path, ["20230210", "2023-02-11", "20230212120000"])) == [
        1_675_987_200, 1_676_073_600, 1_676_203_200,
    ]  # fmt: skip
    assert seconds(maker(tmp_path, [20230210.0, 19991231.0])) == [1_675_987_200, 946_598_400]


@pytest.mark.parametrize("maker", QUICK)
def test_an_invalid_date_in_a_column_of_dates_is_rejected(tmp_path: Path, maker: Any) -> None:
    for wrong in (20230231, 20231301, 0):
        with pytest.raises(DataError, match=r"the time is not a calendar date, while most are: .*\b" + str(wrong)):
            read(maker(tmp_path, [20230210, wrong, 20230211]))


@pytest.mark.parametrize("maker", QUICK)
@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([1999, 2003], "they look like years"),
        ([43861.5, 43862.25], "they look like the day numbers of a spreadsheet"),
        ([43861, 43862], "they look like the day numbers of a spreadsheet"),
        ([1, 2], "times are between 1970-01-01 and 1970-01-01"),
        ([1_676_043, 1_676_044], "times are between 1970-01-20 and 1970-01-20"),
        ([20230231, 20239999], "times are between 1970-08-23 and 1970-08-23"),
        ([1_676_043_693, 9_999_999_999], "times are between 2023-02-10 and 2286-11-20"),
        (["0001-01-01", "2023-02-10"], "times are between 0001-01-01 and 2023-02-10"),
    ],
)
def test_implausible_times_are_reported(tmp_path: Path, maker: Any, times: list[Any], message: str) -> None:
    source = maker(tmp_path, times)
    assert message in notes(source)
    report = read(source, time="").report
    assert report is not None
    assert "times" not in "; ".join(report.notes)  # the advice works


def test_plausible_times_give_no_note(tmp_path: Path) -> None:
    for times in ([881_250_949, 1_676_043_693], [1_676_043_693_000], ["1997-12-04", "2023-02-10"], [1_900_010_100]):
        assert "times are between" not in notes(as_csv(tmp_path, times))
    assert seconds(as_csv(tmp_path, [20230210, 1_676_043_693, 1_676_043_694])) == [
        20230210,
        1_676_043_693,
        1_676_043_694,
    ]


@pytest.mark.parametrize(
    "text",
    ["2023-02-30", "2023-13-01", "2023-02-10 25:00", "2023-02-10T15:41:33+25:00", "2023-02-10T15:41:33+05:99",
     "2023-02", "10.02.2023", "02/10/2023", "2023-02-10T", "15:41:33", "20230210T99", "Fri Feb 10 2023", "2023-02-10Z5",
     "\u0662023-02-10"],
)  # fmt: skip
def test_invalid_times_are_rejected_with_their_line(tmp_path: Path, text: str) -> None:
    path = as_csv(tmp_path, ["2023-02-10", "2023-02-11", text])
    with pytest.raises(DataError, match="line 4: the time is neither a number of seconds nor an ISO date"):
        read_ratings(path)
    loaded = read_events(path, on_error="quarantine")
    assert loaded.times is not None
    assert loaded.times.tolist() == [1_675_987_200, 1_676_073_600]


def test_units_and_dates_do_not_mix(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line 4: the time is in seconds while most are in dates"):
        read_ratings(as_csv(tmp_path, ["2023-02-10 15:41+02:00", "20230210T154133Z", "1676043693"]))
    with pytest.raises(DataError, match="line 2: the time is in dates while most are in milliseconds"):
        read_ratings(as_csv(tmp_path, ["2023-02-10T15:41Z", 1_676_043_693_000, 1_676_043_694_000]))


def test_typed_times_of_frames_and_objects() -> None:
    zone = timezone(timedelta(hours=5, minutes=30))
    moment = datetime(2023, 2, 10, 21, 11, 33, tzinfo=zone)
    assert seconds(frame([date(2023, 2, 10)])) == [1_675_987_200]
    assert seconds(frame([moment.astimezone(UTC).replace(tzinfo=None)])) == [POSTGRES]
    objects = pd.DataFrame({"user": "u", "item": [1, 2], "rating": 1.0})
    objects["time"] = pd.Series([moment, moment.astimezone(UTC)], dtype=object)
    assert seconds(objects) == [POSTGRES, POSTGRES]
    objects["time"] = pd.to_datetime(objects["time"], utc=True)
    assert seconds(objects) == [POSTGRES, POSTGRES]


@given(
    st.integers(-2_200_000_000, 4_100_000_000),
    st.integers(0, 999_999),
    st.integers(-14 * 60, 14 * 60),
    st.sampled_from(["%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S.%f", "%Y%m%dT%H%M%S"]),
    st.sampled_from(["{sign}{h:02}:{m:02}", "{sign}{h:02}{m:02}", " {sign}{h:02}:{m:02}"]),
)
def test_times_in_any_zone_round_trip(local: int, micro: int, offset: int, form: str, zone: str) -> None:
    h, m = divmod(abs(offset), 60)
    clock = datetime.fromtimestamp(0, UTC) + timedelta(seconds=local, microseconds=micro)
    text = clock.strftime(form) + zone.format(sign="-" if offset < 0 else "+", h=h, m=m)
    assert seconds(frame([text])) == [local - 60 * offset]


def test_predictions_accept_the_same_time_formats(tmp_path: Path) -> None:
    table = pl.DataFrame({"user": ["a", "a", "b", "b"], "item": ["x", "y", "x", "y"], "rating": [1.0, 2, 3, 4]})
    table.write_csv(tmp_path / "r.csv")
    ok("fit", tmp_path / "r.csv", "-o", tmp_path / "m", "--model", "bias")
    pairs = table.select("user", "item").with_columns(at=pl.Series(list(SPELLINGS)[:4]))
    pairs.write_csv(tmp_path / "p.csv")
    options = ["predict", str(tmp_path / "m"), "--pairs", str(tmp_path / "p.csv"), "--time-column", "at"]
    done = run(*[*options, "-o", str(tmp_path / "o.csv")])
    assert done.exit_code == 0, done.output
    pairs.with_columns(at=pl.lit("soon")).write_csv(tmp_path / "p.csv")
    done = run(*[*options, "-o", str(tmp_path / "o.csv")])
    assert done.exit_code == 2
    assert "pair 1: the time is neither a number of seconds nor an ISO date: 'soon'" in " ".join(done.output.split())


def test_the_advice_on_times_works_on_the_command_line(tmp_path: Path) -> None:
    path = as_csv(tmp_path, [1999, 2003])
    done = ok("describe", path)
    output = " ".join(done.output.split())
    assert "they look like years; if this is wrong, write them as dates such as 2023-02-10, or leave" in output
    done = ok("describe", path, "--time", "")
    assert "look like years" not in done.output
    assert cofactor.read_ratings(path, time="").times is None
