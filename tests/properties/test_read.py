"""Readers: every format gives the same table, column names are inferred, times become seconds."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cofactor.data.id_columns import integer_id
from cofactor.data.interactions import Interactions
from cofactor.data.readers.columns import bare_name, choose_columns, role_by_name, roles_by_position
from cofactor.data.readers.read import read_events, read_ratings, read_table
from cofactor.errors import DataError

TABLE = pl.DataFrame(
    {
        "userId": [2, 1, 2, 1],
        "movieId": ["tt7", "tt1", "tt1", "tt9"],
        "rating": [4.0, 3.5, 5.0, 0.5],
        "timestamp": [880_000_003, 880_000_002, 880_000_001, 880_000_000],
    }
)


def write(folder: Path, text: str, name: str = "r.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


def notes(loaded: Interactions) -> str:
    assert loaded.report is not None
    return "; ".join(loaded.report.notes)


def same(a: Interactions, b: Interactions) -> bool:
    return a.frame().equals(b.frame()) and a.kind == b.kind and a.scale == b.scale


def text_as(name: str) -> bytes:
    if ".jsonl" in name:
        return TABLE.write_ndjson().encode()
    if ".dat" in name:
        return "".join("::".join(map(str, row)) + "\n" for row in TABLE.rows()).encode()
    separator = "\t" if ".tsv" in name or ".inter" in name else ";" if ".txt" in name else ","
    return TABLE.write_csv(separator=separator).encode()


@pytest.mark.parametrize("packed", ["", ".gz", ".zst"])
@pytest.mark.parametrize("name", ["r.csv", "r.tsv", "r.inter", "r.txt", "r.dat", "r.jsonl", "r[1].csv"])
def test_every_text_format_gives_the_same_table(tmp_path: Path, name: str, packed: str) -> None:
    pack = {"": bytes, ".gz": gzip.compress, ".zst": zstd}[packed]
    path = tmp_path / (name + packed)
    path.write_bytes(pack(text_as(name)))
    assert same(read_ratings(path), read_ratings(TABLE))
    assert same(read_ratings(str(path)), read_ratings(TABLE))
    nameless = tmp_path / "nameless"
    nameless.write_bytes(path.read_bytes())
    assert same(read_ratings(nameless), read_ratings(TABLE))


def test_parquet_and_every_frame_give_the_same_table(tmp_path: Path) -> None:
    TABLE.write_parquet(tmp_path / "r.parquet")
    expected = read_ratings(TABLE)
    pandas = TABLE.to_pandas().set_index(pd.Index([9, 8, 7, 6]))
    for source in (
        tmp_path / "r.parquet",
        TABLE.lazy(),
        TABLE.to_arrow(),
        pandas,
        pandas.astype(object),
        pandas.astype({"movieId": "category"}),
        TABLE.with_columns(pl.col("movieId").cast(pl.Categorical)),
        TABLE.with_columns(pl.col("userId").cast(pl.UInt8), pl.col("rating").cast(pl.Decimal(4, 1))),
    ):
        assert same(read_ratings(source), expected)
    (tmp_path / "wrong.csv").write_bytes((tmp_path / "r.parquet").read_bytes())
    assert same(read_ratings(tmp_path / "wrong.csv"), expected)


def test_the_format_argument_overrides_the_file_extension(tmp_path: Path) -> None:
    path = write(tmp_path, "user\titem\trating\na\tx\t1\n", "r.csv")
    assert read_ratings(path, format="tsv").frame().rows() == [("a", "x", 1.0)]
    path = write(tmp_path, "a::x::1\nb::y:z::2\n", "r.csv")
    assert read_ratings(path, format="::").items.all.to_list() == ["x", "y:z"]


def test_a_file_without_header_has_user_item_value_time(tmp_path: Path) -> None:
    movielens = write(tmp_path, "196\t242\t3\t881250949\n186\t302\t4\t891717742\n", "u.data")
    loaded = read_ratings(movielens)
    assert loaded.frame().rows() == [(186, 302, 4.0, 891717742), (196, 242, 3.0, 881250949)]
    assert "no header; columns by position: user=1, item=2, value=3, time=4" in notes(loaded)
    swapped = read_ratings(movielens, user="2", item="1")
    assert swapped.users.all.to_list() == [242, 302]


@pytest.mark.parametrize(
    ("line", "columns"),
    [
        ("ana,alien", None),
        ("ana,7", ("user", "item")),
        ("ana,alien,3", ("user", "item", "value")),
        ("ana,alien,880000000", ("user", "item", "time")),
        ("ana,alien,3,880000000", ("user", "item", "value", "time")),
        ("ana,alien,3,880000000,x", ("user", "item", "value", "time")),
        ("user,alien,3", None),
        ("ana,alien,scary", None),
    ],
)
def test_columns_of_events_without_header(line: str, columns: tuple[str, ...] | None) -> None:
    roles = roles_by_position(line.split(","), events=True)
    assert (roles if roles is None else tuple(roles)) == columns


def test_event_values_default_to_1_and_are_summed(tmp_path: Path) -> None:
    events = read_events(write(tmp_path, "visitorid,itemid\n1,7\n1,7\n2,7\n"))
    assert events.frame().rows() == [(1, 7, 2.0), (2, 7, 1.0)]
    assert events.kind == "events"
    assert events.scale is None
    assert events.report is not None
    assert (events.report.duplicates, events.report.duplicate_rule) == (1, "summed")
    plays = read_events(write(tmp_path, "user,artist,plays\na,x,3\na,x,4\n"))
    assert plays.values.tolist() == [7.0]
    rated = read_events(write(tmp_path, "user,item,rating\na,x,3\n"))
    assert "rating is used as the value of each event" in notes(rated)


def test_duplicates_keep_the_last_rating_by_time_or_file_order(tmp_path: Path) -> None:
    timed = read_ratings(write(tmp_path, "user,item,rating,ts\na,x,5,200\na,x,1,100\n"))
    assert timed.values.tolist() == [5.0]
    untimed = read_ratings(write(tmp_path, "user,item,rating\na,x,5\na,x,1\n"))
    assert untimed.values.tolist() == [1.0]
    assert untimed.report is not None
    assert (untimed.report.rows, untimed.report.duplicates) == (2, 1)


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("userId", "user"), ("USER_ID", "user"), ("User-ID", "user"), ("uid", "user"), ("visitorid", "user"),
        ("customer id", "user"), ("reviewerID", "user"), ("user_id:token", "user"), ("\ufeffuser", "user"),
        ("movieId", "item"), ("iid", "item"), ("asin", "item"), ("ISBN", "item"), ("track", "item"),
        ("item_id:token", "item"), ("artistID", "item"), ("product", "item"), ("business_id", "item"),
        ("rating:float", "value"), ("stars", "value"), ("overall", "value"), ("Book-Rating", "value"),
        ("timestamp:float", "time"), ("unixReviewTime", "time"), ("date", "time"), ("weight", "weight"),
        ("title", None), ("genres", None), ("", None), ("42", None),
    ],
)  # fmt: skip
def test_usual_names(name: str, role: str | None) -> None:
    assert role_by_name(name) == role


def test_columns_can_always_be_named(tmp_path: Path) -> None:
    path = write(tmp_path, "who,what,how much,when,user,weight\na,x,3,5,zzz,2\n")
    loaded = read_ratings(path, user="who", item="what", value="how much", time="when")
    assert loaded.frame().rows() == [("a", "x", 3.0, 5, 2.0)]
    assert "columns by name: weight=weight" in notes(loaded)
    with pytest.raises(DataError, match="there is no column 'nobody' for the user; the columns are 'who'"):
        read_ratings(path, user="nobody")
    with pytest.raises(DataError, match="column 'what' cannot be used as both the user and the item"):
        read_ratings(path, user="what", item="what", value="how much")
    with pytest.raises(DataError, match="column 'who' occurs 2 times"):
        choose_columns(["who", "who"], {"user": "who"}, required=[], source="a table")


def test_an_empty_name_omits_an_optional_column(tmp_path: Path) -> None:
    path = write(tmp_path, "user,item,plays,date,weight\na,x,3,soon,heavy\n")
    with pytest.raises(DataError, match=r'the time is neither.*leave the column out with time=""'):
        read_ratings(path)
    loaded = read_events(path, time="", weight="", value="")
    assert loaded.frame().rows() == [("a", "x", 1.0)]
    with pytest.raises(DataError, match="the value column cannot be omitted"):
        read_ratings(path, value="")


def test_column_names_match_approximately_but_exact_matches_win() -> None:
    chosen = choose_columns(["Who", "who:token", "WHO "], {"user": "who"}, required=[], source="a table")
    assert chosen == {"user": 1}
    assert bare_name(" a:float_seq ") == "a"


@pytest.mark.parametrize(
    ("cells", "seconds", "note"),
    [
        (["0", "881250949"], [0, 881250949], ""),
        (["-5", "0"], [-5, 0], ""),
        (["881250949000", "881250950999"], [881250949, 881250950], "milliseconds"),
        (["881250949000000", "881250950999999"], [881250949, 881250950], "microseconds"),
        (["881250949000000000", "1600000000123456789"], [881250949, 1600000000], "nanoseconds"),
        (["881250949.75", "-0.5"], [881250949, -1], "fractions"),
        (["8.8e8", " 5 "], [880000000, 5], ""),
        (["1997-12-04", "1970-01-01"], [881193600, 0], "UTC"),
        (["1997-12-04 15:55:49", "1997-12-04T15:55"], [881250949, 881250900], "UTC"),
        (["1997-12-04T15:55:49Z", "1997-12-04 15:55:49 UTC"], [881250949, 881250949], "UTC"),
        (["1997-12-04T15:55:49.250+02:00", "1997-12-04 15:55:49.5-0100"], [881243749, 881254549], "UTC"),
    ],
)
def test_times_become_whole_seconds(tmp_path: Path, cells: list[str], seconds: list[int], note: str) -> None:
    path = write(tmp_path, "user,item,rating,time\n" + "".join(f"a,{n},1,{c}\n" for n, c in enumerate(cells)))
    loaded = read_ratings(path)
    assert loaded.times is not None
    assert loaded.times.tolist() == seconds
    assert note in notes(loaded)


def test_times_of_frames(tmp_path: Path) -> None:
    moment = datetime(1997, 12, 4, 15, 55, 49, tzinfo=UTC)
    for column, seconds in (
        (pl.Series([moment]), 881250949),
        (pl.Series([moment.replace(tzinfo=None)]), 881250949),
        (pl.Series([moment]).dt.convert_time_zone("Asia/Tokyo"), 881250949),
        (pl.Series([moment]).cast(pl.Datetime("ns", "UTC")), 881250949),
        (pl.Series([date(1997, 12, 4)]), 881193600),
        (pl.Series([881250949000]), 881250949),
        (pl.Series([881250949.9]), 881250949),
    ):
        frame = pl.DataFrame({"user": [1], "item": [1], "rating": [1], "time": column})
        for source in (frame, frame.to_pandas()):
            times = read_ratings(source).times
            assert times is not None
            assert times.tolist() == [seconds]


def test_typed_sources_keep_the_types_of_ids(tmp_path: Path) -> None:
    frame = pl.DataFrame({"user": ["1", "2"], "item": [1, 2], "rating": [1.0, 2.0]})
    assert read_ratings(frame).users.all.to_list() == ["1", "2"]
    path = write(tmp_path, frame.write_ndjson(), "r.jsonl")
    assert read_ratings(path).users.all.to_list() == ["1", "2"]
    assert read_ratings(write(tmp_path, frame.write_csv())).users.all.to_list() == [1, 2]


def test_integral_floating_point_ids_are_read_as_integers_and_reported() -> None:
    loaded = read_ratings(pd.DataFrame({"user": [1.0, 2.0], "item": [1, 2], "rating": [1.0, 2.0]}))
    assert loaded.users.all.to_list() == [1, 2]
    assert "user IDs are floating-point numbers" in notes(loaded)


def test_blanks_around_ids_are_kept_and_reported(tmp_path: Path) -> None:
    loaded = read_ratings(write(tmp_path, "user,item,rating\nana,The Beatles ,3\nana,Abba,4\n"))
    assert loaded.items.all.to_list() == ["Abba", "The Beatles "]
    assert "1 item IDs have leading or trailing whitespace" in notes(loaded)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.sampled_from([1.0, 2.5, 5.0])), min_size=1))
def test_written_files_round_trip(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int, float]]) -> None:
    path = tmp_path_factory.mktemp("round") / "r.csv"
    pl.DataFrame(rows, schema=["user", "item", "rating"], orient="row").write_csv(path)
    expected = {(user, item): value for user, item, value in rows}
    assert {(u, i): v for u, i, v in read_ratings(path).frame().rows()} == expected


@given(
    st.lists(st.from_regex(r"\A[+-]?[0-9]{1,20}\Z") | st.sampled_from(["a", "1.0", "-7.00", "2.5", "٣"]), min_size=1)
)
def test_integers_are_recognized_like_ids(tmp_path_factory: pytest.TempPathFactory, ids: list[str]) -> None:
    lines = [f"{id_},{place},1" for place, id_ in enumerate(ids)]
    path = write(tmp_path_factory.mktemp("ids"), "user,item,rating\n" + "\n".join(lines) + "\n")
    users = read_ratings(path).users
    assert (users.id_type == "integer") == all(integer_id(id_, parse=True) is not None for id_ in ids)
    expected = {integer_id(id_, parse=True) for id_ in ids} if users.id_type == "integer" else set(ids)
    assert sorted(map(str, users.all)) == sorted(map(str, expected))


def test_item_tables_keep_all_columns_and_join_on_their_ids(tmp_path: Path) -> None:
    path = write(tmp_path, 'movieId:token,title,year\n7,"Alien, the film",1979\n8,,1986\n')
    table = read_table(path)
    assert table.rows() == [(7, "Alien, the film", "1979"), (8, None, "1986")]
    assert table.columns == ["movieId", "title", "year"]
    ratings = read_ratings(write(tmp_path, "user,item,rating\nana,8,3\nana,7,4\n", "s.csv"))
    assert ratings.with_item_table(table).titles.to_list() == ["Alien, the film", None]


def test_item_tables_of_every_format(tmp_path: Path) -> None:
    table = pl.DataFrame({"item": ["a", "b"], "title": ["Ä", "B"]})
    table.write_parquet(tmp_path / "i.parquet")
    for source in (
        table,
        table.to_pandas(),
        tmp_path / "i.parquet",
        write(tmp_path, table.write_csv(), "i.csv"),
        write(tmp_path, table.write_csv(separator="\t"), "i.tsv"),
        write(tmp_path, table.write_ndjson(), "i.jsonl"),
    ):
        assert read_table(source).rows() == table.rows()
    headerless = read_table(write(tmp_path, "1::Toy Story (1995)::Animation|Comedy\n", "movies.dat"))
    assert headerless.rows() == [(1, "Toy Story (1995)", "Animation|Comedy")]
    assert headerless.columns == ["1", "2", "3"]


def test_the_order_of_rows_is_kept_across_blocks(tmp_path: Path) -> None:
    n = 300_000
    frame = pl.DataFrame({"user": np.arange(n) % 1000, "item": 0, "rating": np.arange(n) % 7})
    path = tmp_path / "r.csv"
    frame.write_csv(path)
    expected = {user: float(value) for user, value in zip(frame["user"], frame["rating"], strict=True)}
    assert read_ratings(path).values.tolist() == [expected[user] for user in range(1000)]


def test_clean_files_are_never_read_by_the_slow_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cofactor.data.readers.text_table.Batches", None)  # the slow pass collects rows in it
    for name in ("r.csv", "r.tsv", "r.dat", "r.csv.gz"):
        (tmp_path / name).write_bytes(gzip.compress(text_as(name)) if ".gz" in name else text_as(name))
        assert len(read_ratings(tmp_path / name)) == 4
    quoted = TABLE.with_columns(title=pl.lit('The "best", ever')).write_csv().replace("\n", "\r\n") + "\r\n"
    assert len(read_ratings(write(tmp_path, quoted))) == 4
    with pytest.raises(TypeError):
        read_ratings(write(tmp_path, "user,item,rating\na,x,1\na,x\n"))


def test_the_report_has_plain_values_for_json(tmp_path: Path) -> None:
    report = read_ratings(write(tmp_path, "user,item,rating\na,x,1\na,x,b\n"), on_error="quarantine").report
    assert report is not None
    document = json.loads(json.dumps(report.as_dict()))
    assert document["rejected"] == {"the value is not a number": 1}
    assert (document["rows"], document["duplicates"]) == (2, 0)
