"""`cofactor describe`: what a table holds, how it was read, and a corner of it with its blanks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from cofactor.cli.input_options import Source, reads_table
from cofactor.cli.options import Json, whole_number
from cofactor.cli.terminal import bar, printable, results, show_json, table

if TYPE_CHECKING:
    from rich.console import Console

    from cofactor.data.crosstab import CrossTab
    from cofactor.data.interactions import Interactions

__all__ = ["describe", "show_facts", "show_values"]

BINS = 10


@reads_table
def describe(
    source: Source,
    *,
    top_users: Annotated[
        int, Option(metavar="N", parser=whole_number, help="Busiest users to show in the cross-tab.")
    ] = 10,
    top_items: Annotated[int, Option(metavar="N", parser=whole_number, help="Most rated items to show in it.")] = 8,
    as_json: Json = False,
) -> None:
    """Look at a table before anything is learnt: how the reading went, counts, and a cross-tab.

    Rows that were refused, guessed columns and duplicates are told. In the cross-tab a blank is a dot.
    """
    from cofactor.data.crosstab import crosstab

    ratings = source.read()
    corner = crosstab(ratings, users=top_users, items=top_items)
    if as_json:
        show_json({**facts(ratings), "values": values(ratings), "crosstab": _corner(corner)})
        return
    out = results()
    show_facts(out, ratings)
    show_values(out, ratings)
    out.print(str(corner), soft_wrap=True)


def facts(ratings: Interactions) -> dict[str, Any]:
    """Counts, density, span of time, scale and the load report, as plain values. The table has rows."""
    import numpy as np

    counts = {"per_user": ratings.by_user.counts, "per_item": ratings.by_item.counts}
    scale, times = ratings.scale, ratings.times
    span = None
    if times is not None:
        span = [f"{np.datetime64(int(t), 's')}" for t in (times.min(), times.max())]
    return {
        "kind": ratings.kind,
        "rows": len(ratings),
        "users": ratings.n_users,
        "items": ratings.n_items,
        "density": ratings.density,
        "time": span,
        "scale": None if scale is None else {"low": scale.low, "high": scale.high, "levels": list(scale.levels)},
        "mean": float(ratings.values.mean(dtype=np.float64)),
        **{name: _spread(n) for name, n in counts.items()},
        "load": None if ratings.report is None else ratings.report.as_dict(),
    }


def values(ratings: Interactions) -> list[dict[str, float]]:
    """How often each value occurs: by value where there are few, else in ten equal steps."""
    import numpy as np

    distinct, counts = np.unique(ratings.values, return_counts=True)
    if ratings.scale is not None and ratings.scale.levels:
        found = dict(zip(np.round(distinct, 6).tolist(), counts.tolist(), strict=True))
        grid = [round(float(np.float32(level)), 6) for level in ratings.scale.levels]
        return [{"from": v, "to": v, "count": found.get(v, 0)} for v in grid]
    if len(distinct) <= 2 * BINS:
        return [{"from": float(v), "to": float(v), "count": int(n)} for v, n in zip(distinct, counts, strict=True)]
    counts, edges = np.histogram(ratings.values.astype(np.float64), BINS)
    return [
        {"from": float(low), "to": float(high), "count": int(n)}
        for low, high, n in zip(edges[:-1], edges[1:], counts, strict=True)
    ]


def show_facts(out: Console, ratings: Interactions) -> None:
    """How the reading went and the counts, a line each."""
    known, report = facts(ratings), ratings.report
    lines: list[tuple[str, str]] = []
    if report is not None:
        lines.append(("source", printable(report.source)))
        lines.append(("rows read", f"{report.rows:,}"))
        refused = "; ".join(f"{reason}: {count:,}" for reason, count in report.refused.items())
        lines.append(("refused", f"{len(report.refusals):,} ({printable(refused)})" if refused else "none"))
        twice = f"{report.duplicates:,} ({report.duplicate_rule})" if report.duplicates else "none"
        lines.append(("duplicates", twice))
    lines.append((ratings.kind, f"{len(ratings):,}"))
    for what, n in (("users", ratings.n_users), ("items", ratings.n_items)):
        least, median, most = known[f"per_{what[:-1]}"].values()
        lines.append((what, f"{n:,}, with {least:,} to {most:,} {ratings.kind} each (median {median:,})"))
    cells = f"{ratings.n_users:,} x {ratings.n_items:,} cells"
    lines.append(("known", f"{ratings.density:.2%} of the {cells}; {1 - ratings.density:.2%} are blank"))
    if known["time"] is not None:
        first, last = (moment[:10] for moment in known["time"])
        lines.append(("time", f"{first} to {last}"))
    if ratings.scale is not None:
        scale = ratings.scale
        levels = f", {len(scale.levels)} levels" if scale.levels else ""
        lines.append(("scale", f"{scale.low:g} to {scale.high:g}{levels}; mean {known['mean']:.2f}"))
    shown = table("", "")
    shown.show_header, shown.box = False, None
    for name, text in lines:
        shown.add_row(name, text)
    out.print(shown)


def show_values(out: Console, ratings: Interactions) -> None:
    """The distribution of the values as bars."""
    held = values(ratings)
    most, total = max(one["count"] for one in held), len(ratings)
    names = [f"{v['from']:g}" if v["from"] == v["to"] else f"{v['from']:.3g} to {v['to']:.3g}" for v in held]
    width = max(8, *map(len, names))
    out.print()
    for name, one in zip(names, held, strict=True):
        share = one["count"] / total
        out.print(f"{name:>{width}}  {one['count']:>9,}  {share:>4.0%} {bar(one['count'] / most, 40)}")
    out.print()


def _spread(counts: Any) -> dict[str, Any]:
    import numpy as np

    return {"min": int(counts.min()), "median": int(np.median(counts)), "max": int(counts.max())}


def _corner(corner: CrossTab) -> dict[str, Any]:
    return {"users": corner.users, "items": corner.items, "titles": corner.titles, "values": corner.values}
