"""One day of live traffic: MovieLens-100k replayed, each rating predicted before it is stored.

    python -m benchmarks.replay_day              about five minutes, writes benchmarks/replay_day.md and .png
    python -m benchmarks.replay_day --hour 1000  another length of the simulated hour

The first 80 % of the ratings by time are imported and trained on; the other 20,000 are replayed, 500 in each simulated
hour. `tests/support/replay_day.py` describes the replay.
"""

from __future__ import annotations

import argparse
import os
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import cofactor
from tests.support.replay_day import METHODS, Day, replay

PAGE = Path(__file__).parent / "replay_day.md"
PICTURE = PAGE.with_suffix(".png")


def page(day: Day, hour: int, first: int) -> str:
    promoted = sum(model.status != "held" for model in day.trainings)
    is_known = np.array(day.is_known)
    lines = [
        "# A day compressed",
        "",
        f"{first:,} ratings of MovieLens-100k imported, {len(day.truth):,} replayed as live traffic, one by one.",
        f"A simulated hour is {hour:,} ratings. Each rating is predicted before it is told.",
        f"Made by `python -m benchmarks.replay_day` on {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores.",
        "",
        "| who answers | RMSE | of users known at the start | of users who came | against frozen (95 % over users) |",
        "|---|---|---|---|---|",
    ]
    for method, name in METHODS.items():
        gain = "" if method == "frozen" else "{:+.4f} ({:+.4f} to {:+.4f})".format(*day.gain(method, "frozen"))
        parts = [day.rmse(method, which) for which in (slice(None), is_known, ~is_known)]
        lines.append(f"| {name} | {parts[0]:.4f} | {parts[1]:.4f} | {parts[2]:.4f} | {gain} |")
    lines += [
        "",
        f"Retraining on top of folding in: {'{:+.4f} ({:+.4f} to {:+.4f})'.format(*day.gain('live', 'folded'))} RMSE.",
        f"{is_known.sum():,} of the ratings are by users known at the start, {(~is_known).sum():,} by users who came.",
        "",
        f"{len(day.trainings)} trainings: {promoted} promoted, {len(day.trainings) - promoted} held by the gate.",
        f"{np.median(day.train_seconds):.2f} s each (median), with reading, measuring, publishing and pruning.",
        "",
        "![RMSE by simulated hour](replay_day.png)",
        "",
    ]
    if held := [model for model in day.trainings if model.reasons]:
        lines += [
            "Held, for example:",
            "",
            *(f"- model {model.version}: {'; '.join(model.reasons)}" for model in held[:5]),
            "",
        ]
    return "\n".join(lines)


def draw(day: Day, hour: int, path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 4.2), dpi=110)
    ends = range(hour, len(day.truth) + 1, hour)
    colors = {"live": "#2166ac", "folded": "#67a9cf", "frozen": "#8c8c8c"}
    for method, name in METHODS.items():
        axes.plot([end / hour for end in ends], [day.rmse(method, slice(0, end)) for end in ends], color=colors[method],
                  label=f"{name}: {day.rmse(method):.4f}", linewidth=2)  # fmt: skip
    axes.set_xlabel(f"simulated hours ({hour:,} ratings each)")
    axes.set_ylabel("RMSE of all predictions until then")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--hour", type=int, default=500)
    hour = options.parse_args().hour
    table = cofactor.datasets.load_movielens("100k").frame().sort("time", "user", "item")
    first = len(table) * 8 // 10
    with TemporaryDirectory() as folder:
        day = replay(table, Path(folder), first=first, hour=hour)
    PAGE.write_text(page(day, hour, first), encoding="utf-8")
    draw(day, hour, PICTURE)
    print(PAGE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
