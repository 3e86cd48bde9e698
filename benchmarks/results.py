"""Results of `bench_peers.py`, and their page."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["Line", "draw", "line", "machine", "page", "version"]


OURS = ("BiasedMF", "BayesianMF", "ImplicitALS")
"""Which curves are ours."""


@dataclass(frozen=True)
class Line:
    """One line of the page. `ours` and `theirs` are in `unit`; the ratio is ours / theirs, smaller is better.

    Without a peer `most` is the limit of `ours`. A line that has neither `must` nor `most` only informs.
    """

    work: str
    unit: str
    ours: float
    peer: str = ""
    theirs: float | None = None
    must: float | None = None
    reach: float | None = None
    most: float | None = None
    cpu: tuple[float | None, float | None] = (None, None)
    peak_mb: tuple[float | None, float | None] = (None, None)
    quality: str = ""

    @property
    def ratio(self) -> float | None:
        return None if self.theirs is None else self.ours / self.theirs

    @property
    def holds(self) -> bool | None:
        if self.most is not None:
            return self.ours <= self.most
        return None if self.must is None or self.ratio is None else self.ratio <= self.must


def line(
    work: str,
    ours: dict[str, Any],
    theirs: dict[str, Any],
    key: str,
    *,
    must: float | None = None,
    reach: float | None = None,
    quality: str = "",
) -> Line:
    """Return the ratio of a value of both sides; `quality` names a metric that both report."""
    cpu_key = key.replace("seconds", "cpu_seconds") if key != "p50_ms" else "cpu_ms"
    return Line(
        work,
        "ms" if key.endswith("_ms") else "s",
        ours[key],
        f"{theirs['peer']} {theirs['version']}",
        theirs[key],
        must,
        reach,
        cpu=(ours.get(cpu_key), theirs.get(cpu_key)),
        peak_mb=(ours.get("peak_mb"), theirs.get("peak_mb")),
        quality=f"{quality} {ours[quality]:.4f} / {theirs[quality]:.4f}" if quality else "",
    )


def version(package: str) -> str:
    return metadata.version(package)


def _number(x: float | None) -> str:
    if x is None:
        return ""
    if abs(x) >= 1000:
        return f"{x:,.0f}"
    return f"{x:.3g}" if abs(x) >= 0.0995 or x == 0 else f"{x:.2g}"


def _pair(pair: Sequence[float | None]) -> str:
    return " / ".join(_number(x) for x in pair if x is not None)


def page(results: dict[str, Any]) -> str:
    """Return RESULTS.md from RESULTS.json."""
    text = [
        "# cofactor beside its peers",
        "",
        "Made by `make bench-peers`. Ratios are ours / theirs, smaller is better; `must` is the bar of each. A row's",
        "sides ran alternately in one run on the same two threads; figures are medians, seconds are on the wall. Each",
        "side is a process of its own, and says the quality that it reached. Rows 9 and 10 take five rounds; what is",
        "slow (Surprise, the search for an objective) is run once.",
        "",
        "| # | work | cofactor | peer | ratio | must | reach | | CPU s | peak MB | quality |",
        "|-|-|-|-|-|-|-|-|-|-|-|",
    ]
    for number in sorted(results, key=int):
        for fields_of_line in results[number]["lines"]:
            table_line = Line(**fields_of_line)
            must = (
                _number(table_line.must) if table_line.most is None else f"{_number(table_line.most)} {table_line.unit}"
            )
            cells = [
                number,
                table_line.work,
                f"{_number(table_line.ours)} {table_line.unit}",
                f"{table_line.peer}: {_number(table_line.theirs)} {table_line.unit}" if table_line.peer else "",
                ""
                if table_line.ratio is None
                else f"**{table_line.ratio:.2f}**"
                if table_line.ratio >= 0.1
                else f"**{table_line.ratio:.3f}**",
                must,
                _number(table_line.reach),
                {True: "holds", False: "SHORT", None: ""}[table_line.holds],
                _pair(table_line.cpu),
                _pair(table_line.peak_mb),
                table_line.quality,
            ]
            text.append(f"| {' | '.join(cells)} |")
    text += ["", "![quality against seconds](curves.png)", ""]
    text += ["Quality against seconds of the fit, MovieLens-100k: every point is a fit of its own, rows 4, 5 and 15."]
    text += ["", "| rows | rounds | measured | on |", "|-|-|-|-|"]
    runs: dict[tuple[int, str, str], list[str]] = {}
    for number, result in results.items():
        runs.setdefault((result["rounds"], result["date"], result["machine"]), []).append(number)
    text += [
        f"| {', '.join(sorted(numbers, key=int))} | {' | '.join(map(str, run))} |"
        for run, numbers in sorted(runs.items())
    ]
    return "\n".join([*text, ""])


def draw(results: dict[str, Any], path: Path) -> None:
    """Quality against seconds, one panel for each row that has curves."""
    rows = [number for number in sorted(results, key=int) if results[number].get("curves")]
    if not rows:
        return
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * len(rows), 3.6), layout="constrained")
    for place, number in enumerate(rows, start=1):
        ((quality, curves),) = results[number]["curves"].items()
        seconds = [x for points in curves.values() for x, _ in points]
        scale = "log" if max(seconds) > 20 * min(seconds) else "linear"
        axes = figure.add_subplot(1, len(rows), place, xscale=scale, xlabel="fit, seconds", ylabel=quality)
        for name, points in curves.items():
            axes.plot(*zip(*points, strict=True), marker=".", label=name, linewidth=2 if name in OURS else 1)
        if quality == "rmse":
            values = [y for points in curves.values() for _, y in points]
            axes.set_ylim(min(values) - 0.003, min(min(values) + 0.06, max(values)))
        axes.xaxis.set_minor_formatter("")
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=110)


def machine() -> str:
    """Return the relevant properties of the processor, and the versions."""
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    name = next(
        (text.split(":")[1].strip() for text in info.splitlines() if text.startswith("model name")),
        platform.processor(),
    )
    vectors = "AVX-512" if "avx512f" in info else "AVX2" if "avx2" in info else ""
    versions = ", ".join(f"{package} {version(package)}" for package in ("numpy", "numba", "polars"))
    return f"{os.cpu_count()} x {name} {vectors}, Python {platform.python_version()}, {versions}"
