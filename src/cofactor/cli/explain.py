"""`cofactor explain`: show how the items in a user's history affect a score."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from typer import Argument, Option

from cofactor.cli.options import Json, ModelFile, whole_number
from cofactor.cli.terminal import printable, results, show_json, table

__all__ = ["explain"]

BASE_TERMS = {"mean": "mean rating", "user": "bias of the user", "item": "bias of the item"}
HISTORY_TERMS = {"history": "", "neighbor": "a similar user's rating", "without": "decrease without it"}


def explain(
    model: ModelFile,
    user: Annotated[str, Argument(metavar="USER", help="ID of the user.")],
    item: Annotated[str, Argument(metavar="ITEM", help="ID of the item.")],
    *,
    method: Annotated[
        Literal["removal", "contribution"],
        Option(
            "--method",
            help="removal: the effect of removing each item from the history on the score; contribution: contributions "
            "that add up to the score.",
        ),
    ] = "removal",
    n: Annotated[
        int,
        Option("-n", "--n", metavar="N", parser=whole_number, help="Number of items to show, largest effect first."),
    ] = 10,
    as_json: Json = False,
) -> None:
    """Explain a score: the effect of removing each item from the user's history.

    The effect is the score with the item minus the score without it: a positive effect means that the item raises the
    score. Effects do not add up to the score. With --method contribution, the score is split into contributions that
    add up to it; the contribution that no item in the history accounts for is shown as not attributed.
    """
    from cofactor.cli.recommend import parse_id
    from cofactor.data.id_columns import json_rows
    from cofactor.recommender.recommender import Recommender

    rec = Recommender.load(model)
    user_id, item_id = parse_id(rec.users, "user", user), parse_id(rec.items, "item", item)
    view = rec.for_users(user_id)
    rows, score = json_rows(view.explain(item_id, method=method)), view.score(item_id)
    if as_json:
        rows_name = "effects" if method == "removal" else "parts"
        show_json({"user": str(user_id), "item": str(item_id), "score": score, "method": method, rows_name: rows})
        return
    title = rec.titles[rec.items.row(item_id)] if rec.titles is not None else None
    results().print(f"{printable(title or item)}, for user {printable(user)}")
    if method == "removal":
        _print_effects(rows, n)
        results().print(f"Score: {score:.3f}")
    else:
        _print_contributions(rows, n, score)
    if rec.kind == "ratings":
        results().print(f"Predicted rating: {rec.predict(user_id, item_id):.2f}")


def _print_effects(rows: list[dict[str, Any]], n: int) -> None:
    output_table = table("item in the history", ("value", "right"), ("effect", "right"))
    for row in rows[:n]:
        name = printable(row.get("title") or row["item"])
        output_table.add_row(name, f"{row['value']:g}", f"{row['effect']:+.3f}")
    if remaining := rows[n:]:
        output_table.add_row(f"{len(remaining):,} more", "", "")
    results().print(output_table)
    results().print("Effect: the score with the item in the history, minus the score without it.")


def _print_contributions(parts: list[dict[str, Any]], n: int, score: float) -> None:
    base_contributions = [part for part in parts if part["part"] in BASE_TERMS and part["term"]]
    history_contributions = [part for part in parts if part["part"] in HISTORY_TERMS]
    output_table = table("", ("value", "right"), ("adds", "right"))
    for part in base_contributions:
        output_table.add_row(BASE_TERMS[part["part"]], "", f"{part['term']:+.3f}")
    for part in history_contributions[:n]:
        value = part.get("value")
        output_table.add_row(_contribution_name(part), "" if value is None else f"{value:g}", f"{part['term']:+.3f}")
    if remaining := history_contributions[n:]:
        output_table.add_row(f"{len(remaining):,} more", "", f"{sum(part['term'] for part in remaining):+.3f}")
    if parts[-1]["term"]:
        output_table.add_row("not attributed", "", f"{parts[-1]['term']:+.3f}")
    output_table.add_row("score", "", f"{score:.3f}")
    results().print(output_table)


def _contribution_name(part: dict[str, Any]) -> str:
    """Return the title or ID of the item or user of a contribution, with a remark on its meaning."""
    name = part.get("title") or part.get("item") or part.get("user") or "a user who is no longer in the data"
    remark = HISTORY_TERMS[part["part"]]
    return printable(f"{name} ({remark})" if remark else name)
