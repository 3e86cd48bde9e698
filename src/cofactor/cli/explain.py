"""`cofactor explain`: the contributions of a user's history to a score."""

from __future__ import annotations

from typing import Annotated, Any

from typer import Argument, Option

from cofactor.cli.options import Json, ModelFile, whole_number
from cofactor.cli.terminal import printable, results, show_json, table

__all__ = ["explain"]

BASE = {"mean": "mean rating", "user": "bias of the user", "item": "bias of the item"}
REASONS = {"history": "", "neighbor": "a similar user's rating", "without": "decrease without it"}


def explain(
    model: ModelFile,
    user: Annotated[str, Argument(metavar="USER", help="ID of the user.")],
    item: Annotated[str, Argument(metavar="ITEM", help="ID of the item.")],
    *,
    n: Annotated[
        int, Option("-n", "--n", metavar="N", parser=whole_number, help="Number of parts to show, largest first.")
    ] = 10,
    as_json: Json = False,
) -> None:
    """Explain a score: the contribution of each item in the user's history.

    The score is what items are ranked by, and its parts add up to it. The part that no item of the history accounts
    for is shown as not attributed.
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
    biases = [part for part in parts if part["part"] in BASE and part["term"]]
    reasons = [part for part in parts if part["part"] in REASONS]
    shown = table("", ("value", "right"), ("adds", "right"))
    for part in biases:
        shown.add_row(BASE[part["part"]], "", f"{part['term']:+.3f}")
    for part in reasons[:n]:
        value = part.get("value")
        shown.add_row(_name(part), "" if value is None else f"{value:g}", f"{part['term']:+.3f}")
    if rest := reasons[n:]:
        shown.add_row(f"{len(rest):,} more", "", f"{sum(part['term'] for part in rest):+.3f}")
    if parts[-1]["term"]:
        shown.add_row("not attributed", "", f"{parts[-1]['term']:+.3f}")
    shown.add_row("score", "", f"{score:.3f}")
    title = rec.titles[rec.items.row(item_id)] if rec.titles is not None else None
    results().print(f"{printable(title or item)}, for user {printable(user)}")
    results().print(shown)
    if rec.kind == "ratings":
        results().print(f"Predicted rating: {rec.predict(user_id, item_id):.2f}")


def _name(part: dict[str, Any]) -> str:
    """Return the title or ID of a part's item or user, with a remark on what the part means."""
    name = part.get("title") or part.get("item") or part.get("user") or "a user who is no longer in the data"
    remark = REASONS[part["part"]]
    return printable(f"{name} ({remark})" if remark else name)
