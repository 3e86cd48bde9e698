"""`cofactor plan`: numbers with suffixes, the table, JSON, and errors."""

from __future__ import annotations

from typing import Any

import pytest
from typer import BadParameter

from cofactor.capacity import planning
from cofactor.capacity.memory import TracedMemory
from cofactor.capacity.speed import FitCost
from cofactor.cli.plan import quantity, storage_size
from tests.support.command_line import json_of, ok, rejected, stdout_of

SIZE = ("--users", "10M", "--items", "1_000_000", "--events", "1B")


@pytest.fixture
def instant(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the measurements by constants."""
    gigabytes = TracedMemory(*(n * 10**9 for n in (0, 15, 12, 13, 0)))
    monkeypatch.setattr(planning, "measure_memory", lambda *_: gigabytes)
    monkeypatch.setattr(planning, "fit_cost", lambda *_: FitCost(80.0, 200.0))
    monkeypatch.setattr(planning, "list_seconds", lambda *_: 0.004)


@pytest.mark.parametrize(
    ("text", "value"),
    [("10M", 10**7), ("1B", 10**9), ("2.5k", 2_500), ("1_000_000", 10**6), ("1,000", 1_000), ("1.25b", 125 * 10**7),
     (7, 7), (" 3 m ", 3 * 10**6), ("0.001M", 1_000)],
)  # fmt: skip
def test_quantities(text: Any, value: int) -> None:
    assert quantity(text) == value


@pytest.mark.parametrize("text", ["", "0", "0M", "-5", "1.5", "2.0005k", "M", "1MM", "ten", "1e6", "nan", "_1", "1T"])
def test_other_text_is_not_a_quantity(text: str) -> None:
    with pytest.raises(BadParameter, match=r"must be a positive whole number such as 10M, 1B, 2.5k or 1_000_000, not"):
        quantity(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("64GB", 64 * 10**9),
        ("64g", 64 * 10**9),
        ("1.5T", 15 * 10**11),
        ("512MiB", 2**29),
        ("1000", 1_000),
        ("1 kB", 1_000),
    ],
)
def test_storage_sizes(text: str, value: int) -> None:
    assert storage_size(text) == value


@pytest.mark.parametrize("text", ["", "0GB", "-1GB", "64PB", "GB", "1.5B", "5iB", "12 apples"])
def test_other_text_is_not_a_size(text: str) -> None:
    with pytest.raises(BadParameter, match=r"must be a size such as 64GB, 1.5TB or 512MiB, not"):
        storage_size(text)


@pytest.mark.usefixtures("instant")
def test_the_table_fits_80_columns() -> None:
    result = ok("plan", *SIZE, "--cores", "4", "--memory", "16GB", "--disk", "1TB")
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "implicit-als, 64 factors: 1,000,000,000 events" in result.stdout
    assert "machine: 4 cores, 16.0 GB of memory, 1,000.0 GB of free disk space" in result.stdout
    lines = dict(line.strip().rsplit("  ", 1) for line in result.stdout.splitlines() if "  " in line.strip())
    values = {name.strip(): value.strip() for name, value in lines.items()}
    assert values["disk: table file"] == "20.1 GB"
    assert values["memory of a fit"] == "15.0 GB"
    assert values["time of a pass"] == "20 s"
    assert values["time of a fit"] == "4.2 min"
    assert values["disk: model file"] == "11.0 GB"
    assert "each pass reads the mapped columns from the disk" in result.stderr
    assert result.stdout.splitlines()[-2].startswith("This machine is enough, up to about ")


@pytest.mark.usefixtures("instant")
def test_the_advice_is_the_last_line() -> None:
    text = " ".join(stdout_of("plan", *SIZE, "--memory", "8GB", "--disk", "1TB").split())
    assert text.endswith(
        "Use Spark: the fit needs 15.0 GB of 8.0 GB memory; that is the work of at least 2 such machines."
    )


@pytest.mark.usefixtures("instant")
def test_json_contains_all_quantities_in_bytes_and_seconds() -> None:
    machine = ("--cores", "2", "--memory", "64GB", "--disk", "1TB")
    plan = json_of("plan", *SIZE, *machine, "--factors", "32", "--set", "epochs=5", "--times")
    assert (plan["model"], plan["factors"], plan["events"]) == ("implicit-als", 32, 10**9)
    assert plan["table_bytes"] == pytest.approx(28e9 + 96e6, rel=1e-3)
    assert (plan["seconds_per_pass"], plan["fit_seconds"]) == (40, 300)
    assert plan["use_spark"] is False


@pytest.mark.usefixtures("instant")
def test_the_skew_of_the_items_is_asked_for_where_it_matters() -> None:
    assert "--item-skew" in ok("plan", *SIZE, "--model", "bpr").stderr
    assert "--item-skew" not in ok("plan", *SIZE, "--model", "bpr", "--item-skew", "4").stderr
    assert "--item-skew" not in ok("plan", *SIZE).stderr


def test_errors_are_one_line() -> None:
    for arguments, message in (
        (("--users", "ten", *SIZE[2:]), "error: --users must be a positive whole number such as 10M"),
        ((*SIZE, "--memory", "lots"), "error: --memory must be a size such as 64GB"),
        ((*SIZE, "--model", "ease"), "error: estimator must be implicit-als, explicit-als, biased-mf, bpr; got ease"),
        ((*SIZE[:4], "--events", "100000B"), "error: events must be at most users * items"),
        ((*SIZE, "--factors", "0"), "error: --factors must be"),
        ((*SIZE, "--model", "als"), "error: "),
    ):
        error = rejected("plan", *arguments)
        assert error.startswith(message)
        assert len(error.splitlines()) == 1


def test_a_small_plan_is_measured() -> None:
    plan = json_of("plan", "--users", "2k", "--items", "500", "--events", "50k", "--model", "bpr", "--factors", "8")
    assert plan["fit_memory"] > 10**7
    assert 0 < plan["seconds_per_pass"] < 10
    assert plan["requests_per_second"] > 1
