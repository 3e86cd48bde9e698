"""Figures: what is drawn is what the frame says, a page needs no network, and life without plotly."""

from __future__ import annotations

import re
import subprocess
import sys
from math import sqrt

import numpy as np
import polars as pl
import pytest

from cofactor.data.scale import Scale
from cofactor.errors import DataError
from cofactor.evaluate.calibration import reliability
from cofactor.models.distribution import Distribution
from cofactor.plots import reliability_plot, self_contained_html

pytest.importorskip("plotly", reason='plotly is not installed: pip install "cofactor[report]"')

STARS = Scale.declared([1, 2, 3, 4, 5])


@pytest.fixture(scope="module")
def frame() -> pl.DataFrame:
    rng = np.random.default_rng(0)
    means = rng.normal(3.3, 0.9, (4000, 1))
    stars = np.clip(np.round(rng.normal(means[:, 0], 0.8)), 1, 5)
    return reliability(Distribution.of(means, np.full_like(means, 0.8), STARS), stars)


def test_one_line_a_level_with_the_frames_numbers(frame: pl.DataFrame) -> None:
    diagonal, *lines = reliability_plot(frame.sample(fraction=1.0, shuffle=True, seed=1)).data
    assert (list(diagonal.x), list(diagonal.y)) == ([0, 1], [0, 1])
    assert [line.name for line in lines] == ["2", "3", "4", "5"]
    assert len({line.marker.color for line in lines}) == 4
    for line in lines:
        part = frame.filter(pl.col("level") == float(line.name)).sort("low")
        np.testing.assert_allclose(line.x, part["predicted"])
        np.testing.assert_allclose(line.y, part["observed"])
        np.testing.assert_allclose(line.error_y.array, 2 * part["sd"])
        assert [told[0] for told in line.customdata] == part["n"].to_list()
        assert "%{customdata[0]:,} ratings" in line.hovertemplate


def test_a_bar_is_two_standard_deviations_of_chance() -> None:
    two = Distribution.of([[1.5]] * 16, [[1.0]] * 16, Scale.declared([1, 2]))
    (line,) = reliability_plot(reliability(two, [1.0, 2.0] * 8)).data[1:]
    assert line.error_y.array[0] == pytest.approx(2 * sqrt(0.25 / 16))


def test_a_page_is_whole_repeatable_and_shows_names_as_they_are(frame: pl.DataFrame) -> None:
    title = "<b>mine</b> & yours"
    pages = [self_contained_html(reliability_plot(frame, title=title), title=title) for _ in range(2)]
    assert pages[0] == pages[1]
    assert "<title>&lt;b&gt;mine&lt;/b&gt; &amp; yours</title>" in pages[0]
    assert "<b>mine" not in pages[0]
    assert not re.search(r"<(script|link|img)[^>]*(src|href)=", pages[0])  # nothing is fetched
    assert len(pages[0]) > 1_000_000  # the script is inside


def test_scales_of_two_and_of_many_levels_are_drawn() -> None:
    rng = np.random.default_rng(1)
    for levels in ([0, 1], [x / 2 for x in range(21)]):
        mass = rng.dirichlet(np.ones(len(levels)), 200)
        one = Distribution.of_mass(mass, Scale.declared(levels))
        assert len(reliability_plot(reliability(one, rng.choice(levels, 200))).data) == len(levels)


def test_what_cannot_be_drawn_is_said(frame: pl.DataFrame) -> None:
    with pytest.raises(DataError, match="lacks observed, sd; take the one"):
        reliability_plot(frame.drop("observed", "sd"))
    bare = reliability(Distribution.of([[3.0]], [[1.0]], Scale(1.0, 5.0)), [3.3])
    with pytest.raises(DataError, match="a scale without levels"):
        reliability_plot(bare)


def test_without_plotly_a_figure_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['plotly'] = None\n"
        "import polars as pl\n"
        "from cofactor.errors import MissingExtraError\n"
        "from cofactor.plots import RELIABILITY, reliability_plot\n"
        "try: reliability_plot(pl.DataFrame({name: [0.5] for name in RELIABILITY}))\n"
        "except MissingExtraError as problem: print(problem)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == 'figures need plotly, which is not installed: pip install "cofactor[report]"\n', done.stderr


def test_nothing_imports_plotly_before_a_figure_is_drawn() -> None:
    code = "import sys, cofactor.plots, cofactor.evaluate, cofactor.cli.application; print('plotly' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "False\n", done.stderr
