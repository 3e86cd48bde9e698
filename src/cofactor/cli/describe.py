"""`cofactor describe`: summarize a table and how it was loaded, with a cross-tabulation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, cast

from typer import Option

from cofactor.cli.input_options import Source, reads_table
from cofactor.cli.options import Json, whole_number
from cofactor.cli.terminal import bar, printable, results, show_json, table

if TYPE_CHECKING:
    from rich.console import Console

    from cofactor.arrays import Counts
    from cofactor.data.crosstab import CrossTab
    from cofactor.data.interactions import Interactions

__all__ = ["describe", "show_facts", "show_values"]


@reads_table
def describe(
    source: Source,
    *,
    top_users: Annotated[
        int, Option(metavar="N", parser=whole_number, help="Number of most active users in the cross-tab.")
    ] = 10,
    top_items: Annotated[
        int, Option(metavar="N", parser=whole_number, help="Number of most rated items in the cross-tab.")
    ] = 8,
    as_json: Json = False,
) -> None:
    """Summarize a table before training: load report, counts, distribution of values, and a cross-tabulation.

    The load report covers rejected rows, inferred columns and duplicates. In the cross-tab, a dot is a missing rating.
    """
    from cofactor.data.crosstab import crosstab

    ratings = source.read()
    cross_tab = crosstab(ratings, users=top_users, items=top_items)
    if as_json:
        show_json({**facts(ratings), "values": values(ratings), "crosstab": _crosstab_dict(cross_tab)})
        return
    out = results()
    show_facts(out, ratings, cast("Counts", source.counts or "log"))
    show_values(out, ratings)
    out.print(str(cross_tab), soft_wrap=True)


def facts(ratings: Interactions) -> dict[str, Any]:
    """Return the counts, density, time span, rating scale and load report of a table as JSON-serializable values.

    Parameters
    ----------
    ratings : Interactions
        Table to describe; it must not be empty.

    Returns
    -------
    dict
        JSON-serializable values by name.
    """
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
        **{name: _min_median_max(n) for name, n in counts.items()},
        "load": None if ratings.report is None else ratings.report.as_dict(),
    }


def values(ratings: Interactions) -> list[dict[str, float]]:
    """Return the frequency of each rating level or distinct value, or of ten bins; see `value_counts`.

    Parameters
    ----------
    ratings : Interactions
        Table to describe; it must not be empty.

    Returns
    -------
    list of dict
        One dict per value or bin, with keys from, to and count.
    """
    from cofactor.data.value_counts import value_counts

    return [{"from": low, "to": high, "count": count} for low, high, count in value_counts(ratings).rows()]


def show_facts(out: Console, ratings: Interactions, counts: Counts = "log") -> None:
    """Print the load report and the counts of a table, one line each.

    Parameters
    ----------
    out : rich.console.Console
        Console to print to.
    ratings : Interactions
        Table to describe; it must not be empty.
    counts : {"log", "binary", "raw"}, default "log"
        Transformation of the values of events for which the range is printed.
    """
    import numpy as np

    from cofactor.arrays import transform_counts

    summary, report = facts(ratings), ratings.report
    rows: list[tuple[str, str]] = []
    if report is not None:
        rows.append(("source", printable(report.source)))
        rows.append(("rows read", f"{report.rows:,}"))
        reasons = "; ".join(f"{reason}: {count:,}" for reason, count in report.rejection_counts.items())
        rows.append(("rejected", f"{len(report.rejected_rows):,} ({printable(reasons)})" if reasons else "none"))
        duplicates = f"{report.duplicates:,} ({report.duplicate_rule})" if report.duplicates else "none"
        rows.append(("duplicates", duplicates))
    rows.append((ratings.kind, f"{len(ratings):,}"))
    for role, n in (("users", ratings.n_users), ("items", ratings.n_items)):
        min_count, median_count, max_count = summary[f"per_{role[:-1]}"].values()
        rows.append((role, f"{n:,}, with {min_count:,} to {max_count:,} {ratings.kind} each (median {median_count:,})"))
    matrix_size = f"{ratings.n_users:,} x {ratings.n_items:,} cells"
    rows.append(("density", f"{ratings.density:.2%} of the {matrix_size}; {1 - ratings.density:.2%} are empty"))
    if summary["time"] is not None:
        first, last = (timestamp[:10] for timestamp in summary["time"])
        rows.append(("time", f"{first} to {last}"))
    if ratings.scale is not None:
        scale = ratings.scale
        levels = f", {len(scale.levels)} levels" if scale.levels else ""
        rows.append(("scale", f"{scale.low:g} to {scale.high:g}{levels}; mean {summary['mean']:.2f}"))
    elif ratings.kind == "events" and ratings.values.max() > 1:
        low, median, high = (_format_edge(float(f(ratings.values))) for f in (np.min, np.median, np.max))
        confidence = transform_counts(ratings.values, counts)
        ends = f"{confidence.min():.3g} to {confidence.max():.3g} with counts={counts}"
        rows.append(("values", f"{low} to {high} (median {median}); confidence {ends}"))
    output_table = table("", "")
    output_table.show_header, output_table.box = False, None
    for name, text in rows:
        output_table.add_row(name, text)
    out.print(output_table)


def show_values(out: Console, ratings: Interactions) -> None:
    """Print the distribution of the values as a bar chart.

    Parameters
    ----------
    out : rich.console.Console
        Console to print to.
    ratings : Interactions
        Table to describe; it must not be empty.
    """
    bins = values(ratings)
    largest_count, n_values = max(v["count"] for v in bins), len(ratings)
    names = [
        f"{v['from']:g}" if v["from"] == v["to"] else f"{_format_edge(v['from'])} to {_format_edge(v['to'])}"
        for v in bins
    ]
    width = max(8, *map(len, names))
    out.print()
    for name, v in zip(names, bins, strict=True):
        fraction = v["count"] / n_values
        out.print(f"{name:>{width}}  {v['count']:>9,}  {fraction:>4.0%} {bar(v['count'] / largest_count, 40)}")
    out.print()


def _format_edge(value: float) -> str:
    """Format the edge of a bin."""
    return f"{value:,.0f}" if value.is_integer() else f"{value:.3g}"


def _min_median_max(counts: Any) -> dict[str, Any]:
    import numpy as np

    return {"min": int(counts.min()), "median": int(np.median(counts)), "max": int(counts.max())}


def _crosstab_dict(table: CrossTab) -> dict[str, Any]:
    return {
        "users": [*map(str, table.users)],
        "items": [*map(str, table.items)],
        "titles": table.titles,
        "values": table.values,
    }
