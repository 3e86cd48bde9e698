"""`cofactor explain`: show how the items in a user's history contribute to a score."""

from __future__ import annotations

from typing import Annotated, Any

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
    n: Annotated[
        int,
        Option("-n", "--n", metavar="N", parser=whole_number, help="Number of contributions to show, largest first."),
    ] = 10,
    as_json: Json = False,
) -> None:
    """Explain a score: the contribution of each item in the user's history.

    Items are ranked by this score, which is the sum of the contributions. The contribution that no item in the
    history accounts for is shown as not attributed.
    """
    from cofactor.cli.recommend import parse_id
    from cofactor.data.id_columns import json_rows
    from cofactor.recommender.recommender import Recommender

    rec = Recommender.load(model)
    user_id, item_id = parse_id(rec.users, "user", user), parse_id(rec.items, "item", item)
    parts = json_rows(rec.explain(user_id, item_id))
    score = sum(part["term"] for part in parts)
    if as_json:
        show_json({"user": str(user_id), "item": str(item_id), "score": score, "parts": parts})
        return
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
    title = rec.titles[rec.items.row(item_id)] if rec.titles is not None else None
    results().print(f"{printable(title or item)}, for user {printable(user)}")
    results().print(output_table)
    if rec.kind == "ratings":
        results().print(f"Predicted rating: {rec.predict(user_id, item_id):.2f}")


def _contribution_name(part: dict[str, Any]) -> str:
    """Return the title or ID of the item or user of a contribution, with a remark on its meaning."""
    name = part.get("title") or part.get("item") or part.get("user") or "a user who is no longer in the data"
    remark = HISTORY_TERMS[part["part"]]
    return printable(f"{name} ({remark})" if remark else name)
