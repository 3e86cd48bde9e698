"""The report: all sections on one page without a network, the same numbers as JSON, and tables that are too small."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from cofactor import BayesianMF, Bias, BiasedMF, ImplicitALS, Interactions
from cofactor.arrays import plain
from cofactor.audit import exposure
from cofactor.errors import DataError, KindError
from cofactor.interpret import bias_ranking
from cofactor.report import Report, Section, Study, Table, accuracy, data, items, make_report, users
from cofactor.report.page import page
from cofactor.report.study import sample_users, sample_users_and_items
from tests.support.command_line import ok, run

pytest.importorskip("plotly", reason='plotly is not installed: pip install "cofactor[report]"')

EVIL = "</script><script>alert(1)</script><img src=http://evil.example/x>"
NAMES = [
    "load", "crosstab", "comparison", "calibration", "factor_map", "ranking", "exposure", "influence", "cold_start",
    "feedback_loop",
]  # fmt: skip
N_PICTURES = {
    "crosstab": 1, "comparison": 1, "calibration": 1, "factor_map": 1, "ranking": 2, "exposure": 2, "influence": 1,
    "cold_start": 1, "feedback_loop": 1,
}  # fmt: skip


def camps_table(n_users: int = 50, n_items: int = 30) -> Interactions:
    """Return ratings of two groups of users, with titles, ids and genres that contain HTML."""
    rng = np.random.default_rng(0)
    u = np.repeat(np.arange(n_users), 15)
    i = np.concatenate([rng.choice(n_items, 15, replace=False) for _ in range(n_users)])
    values = np.clip(np.round(3 + np.where((u + i) % 2, 1, -1) + rng.normal(0, 0.5, len(u))), 1, 5)
    table = Interactions.from_columns([f"{EVIL}{a}" for a in u], [f"{EVIL}{a}" for a in i], values)
    names = {
        "title": [f"{EVIL} $x$ {k}" for k in range(n_items)],
        "genres": [f"{EVIL}|B{k % 3}" for k in range(n_items)],
    }
    return table.with_item_table(pl.DataFrame({"item": table.items.all, **names}))


def study(table: Interactions, **more: Any) -> Study:
    estimator = more.pop("estimator", BiasedMF(factors=4, epochs=5))
    return Study(table, estimator, rounds=2, **more)


@pytest.fixture(scope="module")
def table() -> Interactions:
    return camps_table()


@pytest.fixture(scope="module")
def report(table: Interactions) -> Report:
    return make_report(study(table), title=EVIL)


@pytest.fixture(scope="module")
def html(report: Report) -> str:
    return report.html()


class Elements(HTMLParser):
    """Count elements, and record every resource that could be fetched."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "link", "img"):
            self.open.append(tag)
        self.fetched += [f"{tag} {value}" for name, value in attrs if name in ("src", "href", "srcset", "data")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_all_sections_are_included_with_their_figures(report: Report, html: str) -> None:
    assert [section.name for section in report.sections] == NAMES
    assert {section.name: list(section.missing) for section in report.sections if section.missing} == {}
    assert {section.name: len(section.pictures) for section in report.sections if section.pictures} == N_PICTURES
    elements = Elements(html)
    assert elements.open == []
    assert elements.tags.count("section") == len(NAMES)
    assert elements.tags.count("figure") == elements.tags.count("figcaption") == sum(N_PICTURES.values())
    assert elements.tags.count("script") == 1 + sum(N_PICTURES.values())
    for name, count in N_PICTURES.items():
        assert all(html.count(f'id="{name}_{k + 1}"') == 1 for k in range(count))
        assert f'<a href="#{name}">' in html


def test_no_resource_is_fetched_and_text_is_escaped(html: str) -> None:
    elements = Elements(html)
    assert all(fetched.startswith("a #") for fetched in elements.fetched)
    assert not {"img", "link", "iframe", "object"} & set(elements.tags)
    assert "<script>alert" not in html
    assert "@import" not in html
    assert not re.search(r"url\(['\"]?http", html)
    assert "&lt;/script&gt;" in html
    assert len(html) < 8e6
    assert '<meta name="viewport"' in html
    assert html.count("plotly.js v") == 1  # its script is in it once


def test_every_picture_has_a_caption_of_one_sentence(report: Report) -> None:
    for section in report.sections:
        for picture in section.pictures:
            assert re.fullmatch(r"[^.!?]+\.", picture.caption.replace("95 %", "").replace("0.", "")), picture.caption


def test_the_numbers_equal_those_of_the_library(report: Report, table: Interactions) -> None:
    sections, fitted_study = report.as_dict()["sections"], study(table)
    ranking = bias_ranking(fitted_study.recommender, min_support=sections["ranking"]["numbers"]["min_support"])
    assert sections["ranking"]["tables"]["bias_ranking"] == plain(ranking.to_dicts())
    exposed = exposure(fitted_study.recommender, column="genres")
    assert sections["exposure"]["numbers"]["coverage"] == exposed.coverage
    assert sections["exposure"]["tables"]["intervals"] == plain(exposed.intervals.to_dicts())
    assert exposed.genres is not None
    assert sections["exposure"]["tables"]["genres"] == plain(exposed.genres.table.to_dicts())
    assert sections["exposure"]["numbers"]["miscalibration"] == exposed.genres.miscalibration
    assert sum(row["rows"] for row in sections["load"]["tables"]["values"]) == len(table)
    assert len(sections["crosstab"]["tables"]["cells"]) == 100
    assert sections["crosstab"]["tables"]["cells"][0]["user"].startswith(EVIL)
    models = sections["comparison"]["tables"]["models"]
    assert {row["model"] for row in models} >= {"biased-mf", "bayesian-mf", "bias"}
    assert not any("seconds" in key or "mb" in key for key in models[0])
    assert {row["mitigation"] for row in sections["feedback_loop"]["tables"]["rounds"]} >= {
        "plain",
        "capped weight per user",
    }
    assert len(sections["feedback_loop"]["tables"]["last_round"]) == 4


def test_the_growth_in_the_feedback_loop_adds_up_to_the_last_round(report: Report) -> None:
    section = report.as_dict()["sections"]["feedback_loop"]
    (plain_row,) = (row for row in section["tables"]["last_round"] if row["mitigation"] == "plain")
    growth = section["tables"]["growth"]
    for measure, column in {"accuracy": "accuracy", "coverage": "coverage"}.items():
        *parts, last = (row for row in growth if row["measure"] == measure)
        assert sum(part["mean"] for part in parts) == pytest.approx(last["mean"]) == pytest.approx(plain_row[column])
        assert last["low"] <= last["mean"] <= last["high"]
        assert plain_row[f"{column}_low"] == pytest.approx(last["low"])


def test_the_page_shows_the_values_of_the_json(report: Report, html: str) -> None:
    for section in report.sections:
        for table in section.tables:
            for column in table.columns:
                value = table.frame[column][0]
                if isinstance(value, float) and column == "level":
                    assert f">{value:.3f}<" in html
                if isinstance(value, str):
                    assert value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") in html


@pytest.mark.long
def test_the_command_writes_the_same_bytes_and_a_json_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    rows = ["user,item,rating"]
    rows += [f"{u},{i},{rng.integers(1, 6)}" for u in range(25) for i in rng.choice(20, 8, replace=False)]
    (tmp_path / "ratings.csv").write_text("\n".join(rows) + "\n")
    pages = [tmp_path / "one.html", tmp_path / "two.html"]
    for target in pages:
        arguments = [str(tmp_path / "ratings.csv"), "-o", str(target), "--rounds", "1", "--set", "epochs=2"]
        done = ok("report", *arguments)
        assert done.stdout == f"wrote the report to {target} and its values to {target.with_suffix('.json')}\n"
    assert pages[0].read_bytes() == pages[1].read_bytes()
    texts = [target.with_suffix(".json").read_text() for target in pages]
    assert texts[0] == texts[1]
    document = json.loads(texts[0], parse_constant=pytest.fail)
    assert list(document["sections"]) == NAMES
    assert document["settings"]["estimator"]["epochs"] == 2
    assert "no item table" in document["sections"]["exposure"]["missing"][0]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "one.html", "one.json", "ratings.csv", "two.html", "two.json",
    ]  # fmt: skip


def test_reports_of_events(table: Interactions) -> None:
    events_report = make_report(study(table.to_events(min_rating=4), estimator=ImplicitALS(factors=4)))
    missing = {section.name for section in events_report.sections if not section.pictures}
    assert missing == {"load", "calibration", "ranking", "feedback_loop"}
    assert events_report.as_dict()["sections"]["comparison"]["numbers"]["metric"] == "ndcg@10"
    with pytest.raises(KindError):
        make_report(study(table, estimator=ImplicitALS()))
    with pytest.raises(DataError, match="no feature column"):
        make_report(study(table, genres="mood"))


@pytest.mark.parametrize(
    "table",
    [
        Interactions.from_columns(["ana"], ["alien"], [4]),
        Interactions.from_columns(range(30), ["alien"] * 30, [1, 2, 3] * 10),
        Interactions.from_columns([0, 0, 1, 1], [0, 1, 0, 1], [3, 3, 3, 3]),
        Interactions.from_columns(["ana"], ["alien"], kind="events"),
    ],
    ids=["one row", "one item", "all alike", "one event"],
)
def test_reports_of_small_and_unusual_tables_name_omitted_sections(table: Interactions) -> None:
    estimator = ImplicitALS(factors=2) if table.kind == "events" else BiasedMF(factors=2, epochs=2)
    small_report = make_report(study(table, estimator=estimator))
    json.dumps(small_report.as_dict(), allow_nan=False)
    assert [section.name for section in small_report.sections] == NAMES
    for section in small_report.sections:
        assert section.pictures or section.missing or section.name == "load"
        assert all(sentence.endswith(".") for sentence in section.missing)
    assert Elements(small_report.html()).open == []


def test_models_without_axes_or_factors_use_those_of_another_model(table: Interactions) -> None:
    bias_study = study(table, estimator=Bias())
    assert "bias has fewer than 2" in items.factor_map_section(bias_study).text[0]
    assert "audited with biased-mf" in users.influence_section(bias_study).text[0]


def test_equal_ratings_have_no_ranking(table: Interactions) -> None:
    same = study(Interactions.from_columns(table.u, table.i, np.full(len(table), 3.0)))
    with pytest.raises(KindError, match="no item biases"):
        items.ranking_section(same)
    assert "no levels" in accuracy.calibration_section(same).missing[0]


def test_large_tables_are_sampled_by_users_with_a_note(table: Interactions) -> None:
    small = sample_users(table, 200, 0)
    assert 1 <= small.n_users <= 14
    assert len(small) <= 200
    assert small.item_table is not None
    assert set(small.by_user.counts) == {15}
    assert sample_users(table, 10**6, 0) is table
    assert sample_users(table, 1, 0).n_users == 1
    part = sample_users_and_items(table, 20, 10, 0)
    assert part.n_users <= 20
    assert part.n_items == 10
    assert sample_users_and_items(table, 50, 30, 0) is table
    assert "random sample of" in study(table, max_rows=200).sample_notes[0]
    assert study(table).sample_notes == []


def test_the_genre_column_is_inferred_or_named_or_none(table: Interactions) -> None:
    assert study(table).genre_column == "genres"
    assert study(table, genres="title").genre_column == "title"
    numbers = table.with_item_table(pl.DataFrame({"item": table.items.all, "genres": range(30)}))
    assert study(numbers).genre_column is None
    assert study(Interactions.from_columns([1], [1], [1])).genre_column is None


def test_a_long_table_is_truncated_on_the_page_and_complete_in_the_json() -> None:
    frame = pl.DataFrame(
        {"history_length": [float(k) for k in range(30)], "share": [0.25] * 30, "p_adjusted": [1e-9] * 30}
    )
    section = Section(
        "part", "Part", ["<b>"], tables=[Table("all", "All", frame, dict.fromkeys(frame.columns, "x"), rows=20)]
    )
    text = page("t", {"source": None, "estimator": {"estimator": "bias"}, "seed": 0}, [section])
    assert text.count("<tr>") == 21
    assert "10 more rows in the JSON" in text
    assert "<p>&lt;b&gt;</p>" in text
    assert '<td class="number">25.0%</td><td class="number">&lt;0.001</td>' in text
    assert len(section.as_dict()["tables"]["all"]) == 30
    assert plain([np.float32("nan"), np.int64(3), (1, None)]) == [None, 3, [1, None]]


def test_without_plotly_the_command_names_what_to_install_before_reading(tmp_path: Path) -> None:
    arguments = ["cofactor", "report", "no-such.csv", "-o", str(tmp_path / "r.html")]
    code = f"import sys\nsys.modules['plotly'] = None\nsys.argv = {arguments!r}\nfrom cofactor.cli import run\nrun()\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "figures need plotly" in done.stderr
    result = run("report", "no-such.csv", "-o", tmp_path / "r.pdf")
    assert "must end in .html or .htm" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_movielens_has_every_section(movielens: Interactions) -> None:
    """Titles and genres of real data, for sections that need no long fit."""
    movielens_study = Study(movielens, BayesianMF(factors=4, iterations=20, burn_in=5))
    assert data.crosstab_section(movielens_study).pictures
    assert items.factor_map_section(movielens_study).tables[0].frame["name"].str.contains(r"\(19\d\d\)").any()
    assert movielens_study.genre_column == "genres"
