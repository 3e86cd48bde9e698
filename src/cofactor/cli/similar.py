"""`cofactor similar`: the nearest items of an item, or users of a user."""

from __future__ import annotations

from typing import Annotated

from typer import Option

from cofactor.cli.options import Json, ModelFile, N, Output
from cofactor.cli.terminal import printable, results, show_json, table
from cofactor.errors import ParameterError

__all__ = ["similar"]


def similar(
    model: ModelFile,
    *,
    item: Annotated[str | None, Option(metavar="ID", help="Items liked by the same people as this one.")] = None,
    user: Annotated[str | None, Option(metavar="ID", help="Users of the same taste as this one.")] = None,
    n: N = 10,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Find what is similar: items liked by the same people, or users of the same taste (cosine, -1 to 1)."""
    from cofactor.cli.recommend import known_id
    from cofactor.cli.side_tables import check_output, write_frame
    from cofactor.recommender.recommender import Recommender

    if (item is None) == (user is None):
        raise ParameterError("name one thing to compare with: --item ID or --user ID")
    check_output(output, inputs=[model])
    recommender = Recommender.load(model)
    if item is not None:
        what, found = "item", recommender.similar_items(known_id(recommender.items, "item", item), n)
        counts = recommender.support[recommender.items.rows(found["item"])]
    else:
        what, found = "user", recommender.similar_users(known_id(recommender.users, "user", str(user)), n)
        counts = recommender.histories.counts[recommender.users.rows(found["user"])]
    if output is not None:
        write_frame(found, output)
    if as_json:
        show_json(found.to_dicts() if output is None else {"rows": len(found), "output": output})
        return
    if output is not None:
        results().print(f"{len(found):,} rows are in {printable(output)}", soft_wrap=True)
        return
    named = "title" in found.columns
    heads = [("", "right"), *(["title"] if named else []), (what, "right") if named else what]
    shown = table(*heads, ("similarity", "right"), (f"{recommender.kind}\nbehind it", "right"))
    for row, count in zip(found.iter_rows(named=True), counts, strict=True):
        title = [printable(row["title"] or "")] if named else []
        shown.add_row(str(row["rank"]), *title, printable(row[what]), f"{row['score']:.3f}", f"{count:,}")
    results().print(shown)
