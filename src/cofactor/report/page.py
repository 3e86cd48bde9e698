"""HTML page of a report: each section with its figures and captions, then its tables.

The page contains no scripts except plotly.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import isfinite
from typing import Any

import polars as pl

from cofactor.plots import snippet
from cofactor.plots.theme import FONT, STYLE, script
from cofactor.report.section import Section, Table

__all__ = ["page"]

CSS = """
  :root {color-scheme: light dark; --ink: #22272e; --quiet: #636c76; --line: #d9dde2; --page: #ffffff; --link: #2f62b5}
  @media (prefers-color-scheme: dark) {
    :root {--ink: #d9dde2; --quiet: #9aa3ad; --line: #3a424c; --page: #171b21; --link: #8ab4f8}
  }
  * {box-sizing: border-box}
  body {margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 60rem; color: var(--ink); background: var(--page);
    font: 16px/1.5 FONT; overflow-wrap: break-word}
  h1 {font-size: 1.7rem; margin: 0 0 .3rem; line-height: 1.2} h2 {font-size: 1.3rem; margin: 3rem 0 .5rem}
  a {color: var(--link)} .quiet, figcaption, caption {color: var(--quiet)} .missing {font-style: italic}
  nav ol {columns: 16rem; padding-left: 1.4rem} figure {margin: 1rem 0 1.5rem} figcaption {font-size: .95rem}
  .wide {overflow-x: auto; margin: 1rem 0} table {border-collapse: collapse; font-size: .875rem; min-width: 50%}
  td:not(.number) {min-width: 6.5rem} td.long {min-width: 15rem}
  details {margin: 1rem 0} summary {color: var(--quiet); font-size: .875rem; font-weight: 600; cursor: pointer}
  caption {text-align: left; padding: .3rem 0; font-weight: 600} thead {border-bottom: 1px solid var(--line)}
  th, td {text-align: left; padding: .2rem .8rem .2rem 0; vertical-align: top; font-variant-numeric: tabular-nums}
  th {font-weight: 600} .number {text-align: right; white-space: nowrap}
  tbody tr + tr {border-top: 1px solid var(--line)}
  @media print {
    @page {size: A4; margin: 12mm}
    details::details-content {content-visibility: visible; block-size: auto}
    main {zoom: .75} body {max-width: none; padding: 0} nav {display: none} figure, tr {break-inside: avoid}
    h2 {break-after: avoid} .wide {overflow: visible}}
"""
MAX_ROWS, MAX_CHARACTERS = 12, 40
"""Tables with more rows are collapsed under their caption; columns with longer strings get a wider minimum width."""
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{css}{style}</style>
{script}</head>
<body>
<header><h1>{title}</h1><p class="quiet">{subtitle}</p></header>
<nav><ol>
{contents}
</ol></nav>
<main>
{sections}
</main>
</body>
</html>
"""
SHARE_PREFIXES = ("share", "covered", "expected", "had", "shown", "top_share", "coverage", "favorite")
"""Prefixes of column names whose values are shown as percentages."""
ID_COLUMNS = ("user", "item", "history_length", "group", "axis", "quartile", "round")
"""Names of columns whose integers are shown without thousands separators."""


def page(title: str, settings: dict[str, Any], sections: Sequence[Section]) -> str:
    """Return the HTML page for a report.

    Parameters
    ----------
    title : str
        Title of the page.
    settings : dict
        Dictionary with keys source, estimator (a dict with its name under "estimator") and seed, as in `Report`.
    sections : sequence of Section
        Sections in order; if there are none, the page has only a header.

    Returns
    -------
    str
        The page, with all text escaped.

    Raises
    ------
    MissingExtraError
        plotly is not installed.
    """
    spec = settings["estimator"]
    subtitle = f"{settings['source'] or 'a table'} · {spec['estimator']} · seed {settings['seed']}"
    contents = [f'<li><a href="#{section.name}">{_text(section.title)}</a></li>' for section in sections]
    return PAGE.format(
        title=_text(title), css=CSS.replace("FONT", FONT), style=STYLE, script=script(), subtitle=_text(subtitle),
        contents="\n".join(contents), sections="\n".join(map(_section, sections)),
    )  # fmt: skip


def _section(section: Section) -> str:
    parts = [f'<section id="{section.name}">', f"<h2>{_text(section.title)}</h2>"]
    parts += [f"<p>{_text(paragraph)}</p>" for paragraph in section.text]
    for number, picture in enumerate(section.pictures, start=1):
        html = snippet(picture.figure, f"{section.name}_{number}")
        parts.append(f"<figure>{html}<figcaption>{_text(picture.caption)}</figcaption></figure>")
    parts += [_table(table) for table in section.tables if table.columns]
    parts += [f'<p class="missing">{_text(sentence)}</p>' for sentence in section.missing]
    return "\n".join([*parts, "</section>"])


def _table(table: Table) -> str:
    """Return the HTML of the first rows of a table, with the columns that the page shows."""
    frame = table.frame.select(list(table.columns))
    classes = [_css_class(column) for column in frame.get_columns()]
    header_cells = [
        f"<th{class_}>{_text(table_header)}</th>"
        for class_, table_header in zip(classes, table.columns.values(), strict=True)
    ]
    table_header = f"<thead><tr>{''.join(header_cells)}</tr></thead>" if any(table.columns.values()) else ""
    rows = [
        "".join(
            f"<td{class_}>{_text(_format_value(name, value))}</td>"
            for class_, name, value in zip(classes, frame.columns, row, strict=True)
        )
        for row in frame.head(table.rows).rows()
    ]
    body = "\n".join(f"<tr>{row}</tr>" for row in rows)
    n_hidden = len(frame) - len(rows)
    footer = f'<p class="quiet">{n_hidden:,} more rows in the JSON file of this report.</p>' if n_hidden > 0 else ""
    is_long = len(rows) > MAX_ROWS
    caption = "" if is_long else f"<caption>{_text(table.caption)}</caption>"
    html = f'<div class="wide"><table>{caption}{table_header}<tbody>\n{body}\n</tbody></table></div>{footer}'
    return f"<details><summary>{_text(table.caption)}</summary>{html}</details>" if is_long else html


def _css_class(column: pl.Series) -> str:
    """Return the class attribute of a column: numbers are right-aligned, and long text gets a minimum width."""
    if column.dtype.is_numeric():
        return ' class="number"'
    max_length = column.cast(pl.String).str.len_chars().max() or 0
    return ' class="long"' if isinstance(max_length, int) and max_length > MAX_CHARACTERS else ""


def _format_value(column: str, value: Any) -> str:
    """Format a value in a column for the page."""
    if isinstance(value, float):
        if not isfinite(value):
            return "-"
        if column.startswith(SHARE_PREFIXES):
            return f"{value:.1%}"
        if column.startswith("p_") and value < 0.001:
            return "<0.001"
        return f"{value:,.6g}" if column in ("history_length", "total", "from", "to") else f"{value:.3f}"
    if isinstance(value, int) and not isinstance(value, bool) and column not in ID_COLUMNS:
        return f"{value:,}"
    return "-" if value is None else str(value)


def _text(text: object) -> str:
    """Escape text for HTML, and replace unprintable characters with spaces."""
    return escape("".join(c if c.isprintable() or c == "\n" else " " for c in str(text)))
