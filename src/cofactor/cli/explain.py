"""`cofactor explain`: what a score is made of."""

from __future__ import annotations

from typing import Annotated, Any

from typer import Argument, Option

from cofactor.cli.options import Json, ModelFile, whole_number
from cofactor.cli.terminal import printable, results, show_json, table

__all__ = ["explain"]

BASE = {"mean": "the average", "user": "the user's level", "item": "the item's level"}
SAYS = {"history": "", "neighbor": "a similar user, who gave it", "without": "it would fall without"}


def explain(
    model: ModelFile,
    user: Annotated[str, Argument(metavar="USER", help="Whose score: the user's id.")],
    item: Annotated[str, Argument(metavar="ITEM", help="Of what: the item's id.")],
    *,
    n: Annotated[
        int, Option("-n", "--n", metavar="N", parser=whole_number, help="How many parts to name, the largest first.")
    ] = 10,
    as_json: Json = False,
) -> None:
    """Tell why: what each item of a user's history adds to a score or takes away.

    The score is what items are ranked by; its parts add up to it. What no item of the history accounts for is shown as
    not attributed.
    """
    from cofactor.cli.recommend import known_id
    from cofactor.recommender.recommender import Recommender

    rec = Recommender.load(model)
    user_id, item_id = known_id(rec.users, "user", user), known_id(rec.items, "item", item)
    parts = rec.explain(user_id, item_id).to_dicts()
    score = sum(part["term"] for part in parts)
    if as_json:
        show_json({"user": user_id, "item": item_id, "score": score, "parts": parts})
        return
    levels = [part for part in parts if part["part"] in BASE and part["term"]]
    reasons = [part for part in parts if part["part"] in SAYS]
    shown = table("", ("given", "right"), ("adds", "right"))
    for part in levels:
        shown.add_row(BASE[part["part"]], "", f"{part['term']:+.3f}")
    for part in reasons[:n]:
        given = part.get("value")
        shown.add_row(_name(part), "" if given is None else f"{given:g}", f"{part['term']:+.3f}")
    if more := reasons[n:]:
        shown.add_row(f"{len(more):,} more", "", f"{sum(part['term'] for part in more):+.3f}")
    if parts[-1]["term"]:
        shown.add_row("not attributed", "", f"{parts[-1]['term']:+.3f}")
    shown.add_row("score", "", f"{score:.3f}")
    title = rec.titles[rec.items.row(item_id)] if rec.titles is not None else None
    results().print(f"{printable(title or item)}, for user {printable(user)}")
    results().print(shown)
    if rec.kind == "ratings":
        results().print(f"The rating to expect: {rec.predict(user_id, item_id):.2f}")


def _name(part: dict[str, Any]) -> str:
    """A part's item or user, by title where there is one, and what it says."""
    name = part.get("title") or part.get("item") or part.get("user") or "a user who is not there any more"
    says = SAYS[part["part"]]
    return printable(f"{name} ({says})" if says else name)
