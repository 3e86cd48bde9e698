"""Figures show the values of the frame, pages need no network, and plotly is optional."""

from __future__ import annotations

import re
import subprocess
import sys
from math import sqrt
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cofactor.audit.concentration import Concentration
from cofactor.data.scale import Scale
from cofactor.errors import DataError
from cofactor.evaluate.reliability import reliability
from cofactor.models.distribution import Distribution
from cofactor.plots import (
    bias_ranking_plot,
    cold_start_plot,
    comparison_plot,
    crosstab_plot,
    factor_map_plot,
    factor_map_png,
    genres_plot,
    influence_plot,
    lorenz_plot,
    reliability_plot,
    script,
    self_contained_html,
    simulation_plot,
    snippet,
)
from cofactor.plots.labels import place_labels

pytest.importorskip("plotly", reason='plotly is not installed: pip install "cofactor[report]"')

STARS = Scale.from_levels([1, 2, 3, 4, 5])


@pytest.fixture(scope="module")
def frame() -> pl.DataFrame:
    rng = np.random.default_rng(0)
    means = rng.normal(3.3, 0.9, (4000, 1))
    stars = np.clip(np.round(rng.normal(means[:, 0], 0.8)), 1, 5)
    return reliability(Distribution.of(means, np.full_like(means, 0.8), STARS), stars)


def test_each_level_has_a_line_with_the_values_of_the_frame(frame: pl.DataFrame) -> None:
    diagonal, *lines = reliability_plot(frame.sample(fraction=1.0, shuffle=True, seed=1)).data
    assert (list(diagonal.x), list(diagonal.y)) == ([0, 1], [0, 1])
    assert [line.name for line in lines] == ["2", "3", "4", "5"]
    assert len({line.marker.color for line in lines}) == 4
    for line in lines:
        part = frame.filter(pl.col("level") == float(line.name)).sort("low")
        np.testing.assert_allclose(line.x, part["predicted"])
        np.testing.assert_allclose(line.y, part["observed"])
        np.testing.assert_allclose(line.error_y.array, 2 * part["sd"])
        assert [point[0] for point in line.customdata] == part["n"].to_list()
        assert "%{customdata[0]:,} ratings" in line.hovertemplate


def test_error_bars_are_two_standard_deviations() -> None:
    two = Distribution.of([[1.5]] * 16, [[1.0]] * 16, Scale.from_levels([1, 2]))
    (line,) = reliability_plot(reliability(two, [1.0, 2.0] * 8)).data[1:]
    assert line.error_y.array[0] == pytest.approx(2 * sqrt(0.25 / 16))


def test_a_page_is_complete_reproducible_and_escapes_names(frame: pl.DataFrame) -> None:
    title = "<b>mine</b> & yours"
    pages = [self_contained_html(reliability_plot(frame, title=title), title=title) for _ in range(2)]
    assert pages[0] == pages[1]
    assert "<title>&lt;b&gt;mine&lt;/b&gt; &amp; yours</title>" in pages[0]
    assert "<b>mine" not in pages[0]
    assert not re.search(r"<(script|link|img)[^>]*(src|href)=", pages[0])  # no request is sent
    assert len(pages[0]) > 1_000_000  # the script is inside


def test_scales_of_two_and_of_many_levels_are_drawn() -> None:
    rng = np.random.default_rng(1)
    for levels in ([0, 1], [x / 2 for x in range(21)]):
        mass = rng.dirichlet(np.ones(len(levels)), 200)
        distribution = Distribution.of_mass(mass, Scale.from_levels(levels))
        assert len(reliability_plot(reliability(distribution, rng.choice(levels, 200))).data) == len(levels)


def test_frames_that_cannot_be_drawn_are_rejected(frame: pl.DataFrame) -> None:
    with pytest.raises(DataError, match="missing: observed, sd; use the"):
        reliability_plot(frame.drop("observed", "sd"))
    bare = reliability(Distribution.of([[3.0]], [[1.0]], Scale(1.0, 5.0)), [3.3])
    with pytest.raises(DataError, match="their scale has no levels"):
        reliability_plot(bare)


def test_without_plotly_a_figure_names_what_to_install() -> None:
    code = (
        "import sys; sys.modules['plotly'] = None\n"
        "import polars as pl\n"
        "from cofactor.errors import MissingExtraError\n"
        "from cofactor.plots import RELIABILITY_COLUMNS, reliability_plot\n"
        "try: reliability_plot(pl.DataFrame({name: [0.5] for name in RELIABILITY_COLUMNS}))\n"
        "except MissingExtraError as problem: print(problem)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == 'figures need plotly, which is not installed: pip install "cofactor[report]"\n', done.stderr


def test_plotly_is_not_imported_before_a_figure_is_drawn() -> None:
    code = "import sys, cofactor.plots, cofactor.evaluate, cofactor.cli.application; print('plotly' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "False\n", done.stderr


def points(trace: object) -> list[tuple[object, object]]:
    return list(zip(trace.x, trace.y, strict=True))  # type: ignore[attr-defined]


EVIL = "</script><b>A & B</b>"
ESCAPED = "&lt;/script&gt;&lt;b&gt;A &amp; B&lt;/b&gt;"


def test_a_comparison_has_a_marker_and_an_error_bar_for_each_model() -> None:
    table = pl.DataFrame(
        {
            "model": ["mine", "tuned", EVIL], "role": ["requested", "tuned baseline", "baseline"],
            "versus_best": ["best", "within noise", "worse (p<0.001)"], "metric": ["rmse"] * 3,
            "value": [0.9, 0.91, 0.95], "low": [0.88, 0.9, None], "high": [0.93, 0.94, None],
        }
    )  # fmt: skip
    figure = comparison_plot(table)
    assert [points(trace) for trace in figure.data] == [[(0.9, 0)], [(0.91, 1)], [(0.95, 2)]]
    assert [trace.name for trace in figure.data] == ["selected", "tuned baseline", "baseline"]
    assert figure.data[0].error_x.array[0] == pytest.approx(0.03)
    assert figure.data[0].error_x.arrayminus[0] == pytest.approx(0.02)
    names = [note.text for note in figure.layout.annotations]
    assert names == ["mine · best", "tuned · within noise", f"{ESCAPED} · worse (p&lt;0.001)"]
    assert "lower is better" in figure.layout.xaxis.title.text
    assert "NDCG@10 (higher" in comparison_plot(table.with_columns(metric=pl.lit("ndcg@10"))).layout.xaxis.title.text


def test_a_cross_tab_separates_observed_and_predicted_values() -> None:
    cells = pl.DataFrame(
        {"user": ["ana", "ana", "bo", "bo"], "item": [1, 2, 1, 2], "observed": [5.0, None, None, 3.0],
         "prediction": [4.6, 3.9, 2.25, 3.2], "low": [4.0, 3.0, 1.0, 2.5], "high": [5.0, 4.5, 3.0, 3.9],
         "title": [EVIL, None, EVIL, None]}
    )  # fmt: skip
    figure = crosstab_plot(cells)
    observed, predicted = figure.data
    assert [[*map(list, layer.z)] for layer in figure.data] == [[[5.0, None], [None, 3.0]], [[None, 3.9], [2.25, None]]]
    assert [[*map(list, layer.text)] for layer in figure.data] == [[["5", ""], ["", "3"]], [["", "3.9"], ["2.2", ""]]]
    assert (observed.zmin, observed.zmax) == (predicted.zmin, predicted.zmax) == (2.25, 5.0)
    assert observed.customdata[0][0] == f"user ana<br>{ESCAPED}<br>observed 5, predicted 4.60<br>4.00 to 5.00"
    assert figure.layout.xaxis.ticktext[1] == "2"
    plot = crosstab_plot(cells.head(1).select("user", "item", "observed", "prediction"))
    assert plot.data[0].zmin < plot.data[0].zmax


@pytest.fixture(scope="module")
def items() -> pl.DataFrame:
    rng = np.random.default_rng(3)
    places = {f"axis_{axis}": rng.normal(0, 1 / axis, 200) for axis in (1, 2)}
    names = [EVIL if k == 0 else f"A film with the long name {k} ($5)" for k in range(200)]
    return pl.DataFrame({"item": range(200), **places, "support": rng.integers(1, 500, 200), "title": names})


def test_a_factor_map_has_all_items_and_labels_the_extremes(items: pl.DataFrame) -> None:
    figure = factor_map_plot(items)
    drawn = sorted(pair for trace in figure.data for pair in points(trace))
    assert drawn == sorted(items.select("axis_1", "axis_2").rows())
    named = {(note.x, note.y) for note in figure.layout.annotations}
    assert named <= set(points(figure.data[1]))
    assert 8 <= len(named) <= 14
    assert (items["axis_1"].min(), items.sort("axis_1")["axis_2"][0]) in named
    assert any(ESCAPED in text for trace in figure.data for text in trace.text)


def test_one_item_and_coincident_items_are_drawn(items: pl.DataFrame) -> None:
    assert len(factor_map_plot(items.head(1)).layout.annotations) == 1
    same = items.with_columns(axis_1=pl.lit(0.0), axis_2=pl.lit(0.0)).drop("title")
    assert len(factor_map_plot(same).layout.annotations) >= 1


@given(
    st.lists(st.tuples(st.floats(0, 310), st.floats(0, 400)), min_size=1, max_size=20),
    st.floats(20, 160),
    st.floats(1, 4),
)
def test_labels_do_not_overlap_at_any_width(places: list[tuple[float, float]], width: float, wider: float) -> None:
    for spot_width in (310.0, 310.0 * wider):
        boxes = []
        for spot in place_labels(places, [(width, 15)] * len(places), 310, 400):
            x, y = places[spot.point][0] * spot_width / 310 + spot.dx, places[spot.point][1] + spot.dy
            left = x if spot.dx > 0 else x - width
            boxes.append((left, y - 7.5, left + width, y + 7.5))
        for k, box in enumerate(boxes):
            assert box[0] >= -1e-6
            assert box[2] <= spot_width + 1e-6
            for other in boxes[:k]:
                apart = box[0] >= other[2] - 1e-6 or other[0] >= box[2] - 1e-6
                assert apart or box[1] >= other[3] or other[1] >= box[3]


def test_a_factor_map_png_needs_no_display(items: pl.DataFrame, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    pages = [tmp_path / "one.png", tmp_path / "two.png"]
    for page in pages:
        factor_map_png(items, page, title="$x$ <b>")
    assert pages[0].read_bytes() == pages[1].read_bytes()
    assert pages[0].read_bytes().startswith(b"\x89PNG")
    with pytest.raises(DataError, match="missing: axis_2"):
        factor_map_png(items.drop("axis_2"), pages[0])


def test_levels_are_drawn_next_to_averages(items: pl.DataFrame) -> None:
    frame = items.select("item", "title", "support", level="axis_1", average="axis_2").sort("level", descending=True)
    bar, average, level = bias_ranking_plot(frame, n=3).data
    ends = pl.concat([frame.head(3), frame.tail(3)])
    assert list(level.x) == ends["level"].to_list()
    assert list(average.x) == ends["average"].to_list()
    assert list(bar.x[:3]) == [ends["average"][0], ends["level"][0], None]
    assert len(bias_ranking_plot(frame.head(4), n=3).data[2].x) == 4


def test_lorenz_curves_lie_below_the_diagonal() -> None:
    parts = {"people": [1, 1, 8], EVIL: [1, 1, 1]}
    curves = pl.concat([Concentration.of(held).lorenz.with_columns(what=pl.lit(what)) for what, held in parts.items()])
    even, uneven, other = lorenz_plot(curves).data
    assert points(even) == [(0, 0), (1, 1)]
    assert points(uneven) == list(zip([0, 1 / 3, 2 / 3, 1], [0, 0.1, 0.2, 1], strict=True))
    assert other.name == ESCAPED


def test_genres_and_influence_are_dumbbell_plots() -> None:
    genres = pl.DataFrame({"genre": ["Drama", EVIL], "had": [0.7, 0.3], "shown": [0.9, 0.1]})
    figure = genres_plot(genres)
    assert [list(trace.x) for trace in figure.data[1:]] == [[0.7, 0.3], [0.9, 0.1]]
    assert [note.text for note in figure.layout.annotations] == ["Drama", ESCAPED]
    groups = pl.DataFrame(
        {"group": [0, 1], "users": [90, 10], "share_of_users": [0.9, 0.1], "share_of_influence": [0.4, 0.6],
         "ratio": [0.6, 3.0], "flagged": [False, True]}
    )  # fmt: skip
    drawn = influence_plot(groups)
    assert [list(trace.x) for trace in drawn.data[1:]] == [[0.1, 0.9], [0.6, 0.4]]  # the most influential first
    assert drawn.data[2].marker.symbol == ("diamond", "circle")
    assert "flagged" in drawn.layout.annotations[0].text


def test_a_cold_start_curve_has_both_models_and_their_bands() -> None:
    names = [f"{who}{end}" for who in ("personal", "baseline") for end in ("", "_low", "_high")]
    curve = pl.DataFrame({"history_length": [0, 3], **{name: [float(k), k + 0.5] for k, name in enumerate(names)}})
    figure = cold_start_plot(curve)
    _, baseline, band, personal = figure.data
    assert (list(personal.y), list(baseline.y)) == ([0, 0.5], [3, 3.5])
    assert list(band.y) == [2, 2.5, 1.5, 1]
    assert figure.layout.xaxis.ticktext == ("0", "3")
    assert "higher is better" in cold_start_plot(curve, metric="ndcg@10").layout.yaxis.title.text


def test_a_simulation_has_a_panel_for_each_measure_and_a_line_for_each_mitigation() -> None:
    frame = pl.DataFrame(
        {"mitigation": ["plain", "plain", EVIL, EVIL], "round": [2, 1, 1, 2], "a": [4, 3, 2, 1], "b": [0] * 4}
    )
    figure = simulation_plot(frame, {"a": "accuracy", "b": "coverage"})
    assert [(trace.name, trace.yaxis, list(trace.y)) for trace in figure.data] == [
        ("plain", "y", [3, 4]), (ESCAPED, "y", [2, 1]), ("plain", "y2", [0, 0]), (ESCAPED, "y2", [0, 0]),
    ]  # fmt: skip
    assert [note.text for note in figure.layout.annotations] == ["accuracy", "coverage"]
    with pytest.raises(DataError, match="at least one column of frame"):
        simulation_plot(frame, {})
    assert figure.data[0].error_y.array is None
    bounds = frame.with_columns(a_low=pl.Series([3.5, 1.0, 2.0, 0.5]), a_high=pl.Series([4.5, 3.0, float("nan"), 3.0]))
    bars = simulation_plot(bounds, {"a": "accuracy", "b": "coverage"}).data
    assert (list(bars[0].error_y.array), list(bars[0].error_y.arrayminus)) == ([0, 0.5], [2, 0.5])
    assert (list(bars[1].error_y.array), list(bars[1].error_y.arrayminus)) == ([0, 2], [0, 0.5])
    assert bars[2].error_y.array is None


def test_frames_without_rows_or_columns_are_rejected() -> None:
    draw = [comparison_plot, crosstab_plot, factor_map_plot, bias_ranking_plot, lorenz_plot, genres_plot,
    influence_plot,
            cold_start_plot]  # fmt: skip
    for function in draw:
        with pytest.raises(DataError, match=r"must have the columns .* missing"):
            function(pl.DataFrame({"nothing": [1]}))
    with pytest.raises(DataError, match="at least one row"):
        genres_plot(pl.DataFrame({"genre": [], "had": [], "shown": []}))


def test_titles_cannot_end_a_script_and_figures_have_no_fixed_width(items: pl.DataFrame) -> None:
    figure = factor_map_plot(items.with_columns(title=pl.lit("</script><script>alert(1)</script>")))
    text = snippet(figure, "one")
    assert "alert(1)" in text  # it is included as text
    assert "<script>alert" not in text
    assert text.count("</script>") == 1  # plotly's own
    assert figure.layout.width is None
    assert "plotly.js v" not in text
    assert script().count("<script>") == 1


def test_a_curve_without_intervals_has_no_band() -> None:
    nan = float("nan")
    ends = {f"{who}_{end}": [nan, 0.8, 0.7] for who in ("personal", "baseline") for end in ("low", "high")}
    curve = pl.DataFrame(
        {"history_length": [0, 1, 5], "personal": [1.0, 0.8, 0.7], "baseline": [1.0, 0.9, 0.9], **ends}
    )
    figure = cold_start_plot(curve)
    bands = [trace for trace in figure.data if trace.mode == "none"]
    assert [list(band.x) for band in bands] == [[1, 2, 2, 1]] * 2
    assert [data[1] for data in figure.data[1].customdata] == ["no interval", "0.8000 to 0.8000", "0.7000 to 0.7000"]
