"""`cofactor evaluate --calibration`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import Result

from tests.support.command_line import run

SMALL = ("-m", "bayesian-mf", "--set", "factors=2", "--set", "iterations=40")


def ok(*arguments: object) -> Result:
    result = run("evaluate", *arguments)
    assert result.exit_code == 0, result.stderr or result.exception
    return result


def rejected(*arguments: object) -> str:
    result = run("evaluate", *arguments)
    assert result.exit_code == 2, result.stdout
    assert result.stdout == ""
    return result.stderr


@pytest.fixture(scope="module")
def ratings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return ratings of 50 users, every second of whom is hard to predict; bare.csv has the same without levels."""
    path = tmp_path_factory.mktemp("calibration") / "ratings.csv"
    rng = np.random.default_rng(0)
    rows, bare = ["user,item,rating"], ["user,item,rating"]
    for user in range(50):
        for film in rng.choice(30, 20, replace=False):
            y = rng.normal(2 + film / 15, 0.3 + user % 2)
            rows.append(f"{user},f{film},{int(np.clip(round(y), 1, 5))}")
            bare.append(f"{user},f{film},{y:.5f}")
    path.write_text("\n".join(rows) + "\n")
    path.with_name("bare.csv").write_text("\n".join(bare) + "\n")
    return path


def test_calibration_is_shown_in_80_columns(ratings: Path) -> None:
    output = ok(ratings, "--calibration", *SMALL, "-m", "bayesian-mf").stdout
    assert max(map(len, output.splitlines())) <= 80
    assert "800 training and 200 test rows" in output
    assert re.search(r"^ bayesian-mf #1 +\d\.\d{4} +-\d\.\d{4} +-\d\.\d{4} +\d\.\d{4} +\d\.\d{4}", output, re.MULTILINE)
    for level in ("80 %", "95 %"):
        assert re.search(rf"bayesian-mf #2: {level} intervals contain \d\d\.\d % of the ratings", output)
    assert len(re.findall(r"^ user's noise  ( +\d+\.\d / \d+\.\d){4}", output, re.MULTILINE)) == 4


def test_json_is_the_calibration(ratings: Path) -> None:
    document: dict[str, Any] = json.loads(
        ok(ratings, "--calibration", *SMALL, "--json").stdout, parse_constant=pytest.fail
    )
    (model,) = document["models"]
    assert (model["model"], model["n"], document["train"], document["test"], document["plot"]) == (
        "bayesian-mf",
        200,
        800,
        200,
        None,
    )
    assert len(model["coverage"]) == 17
    assert model["crps_gain"] == pytest.approx(1 - model["crps"] / model["constant_crps"])


def test_the_figure_is_an_html_page(ratings: Path, tmp_path: Path) -> None:
    pytest.importorskip("plotly", reason='plotly is not installed: pip install "cofactor[report]"')
    page = tmp_path / "reliability.html"
    output = ok(ratings, "--calibration", *SMALL, "--plot", page).stdout
    assert output.splitlines()[-1] == f"wrote the plot to {page}"
    assert "<title>bayesian-mf on random, 20% of the rows, seed 0</title>" in page.read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["reliability.html"]


def test_a_scale_without_levels_has_intervals_but_no_figure(ratings: Path, tmp_path: Path) -> None:
    bare = ratings.with_name("bare.csv")
    assert re.search(r"^ bayesian-mf +\d\.\d{4} +- +- +- +- *$", ok(bare, "--calibration", *SMALL).stdout, re.MULTILINE)
    assert "these ratings have none; see --rating-levels" in rejected(
        bare, "--calibration", *SMALL, "--plot", tmp_path / "r.html"
    )


def test_models_that_cannot_be_calibrated_are_reported(ratings: Path, tmp_path: Path) -> None:
    page = tmp_path / "r.html"
    assert "bias does not predict distributions over ratings" in rejected(ratings, "--calibration", "-m", "bias")
    for kind in (["--events"], ["--min-rating", 4]):
        assert "--calibration requires ratings" in rejected("no.csv", "--calibration", *kind)
    assert "--plot requires --calibration" in rejected("no.csv", "--plot", page)
    assert "--plot takes one model, not 2" in rejected("no.csv", "--calibration", *SMALL, *SMALL, "--plot", page)
    assert "must end in .html or .htm" in rejected("no.csv", "--calibration", "--plot", tmp_path / "r.png")
    assert list(tmp_path.iterdir()) == []


def test_without_plotly_the_plot_names_what_to_install_before_reading(tmp_path: Path) -> None:
    arguments = ["cofactor", "evaluate", "no-such.csv", "--calibration", "--plot", str(tmp_path / "r.html")]
    code = f"import sys\nsys.modules['plotly'] = None\nsys.argv = {arguments!r}\nfrom cofactor.cli import run\nrun()\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        'error: figures need plotly, which is not installed: pip install "cofactor[report]"'
    ]
