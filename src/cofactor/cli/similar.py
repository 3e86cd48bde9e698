"""`cofactor similar`: find the items most similar to an item, or the users most similar to a user."""

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
    item: Annotated[str | None, Option(metavar="ID", help="Find items liked by the same users as this item.")] = None,
    user: Annotated[str | None, Option(metavar="ID", help="Find users with similar taste to this user.")] = None,
    n: N = 10,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Find items liked by the same users, or users with similar taste, by cosine similarity from -1 to 1."""
    from cofactor.cli.recommend import parse_id
    from cofactor.cli.side_tables import check_output, write_frame
    from cofactor.data.id_columns import json_rows
    from cofactor.recommender.recommender import Recommender

    if (item is None) == (user is None):
        raise ParameterError("pass either --item ID or --user ID")
    check_output(output, inputs=[model])
    recommender = Recommender.load(model)
    if item is not None:
        role, neighbors = "item", recommender.similar_items(parse_id(recommender.items, "item", item), n)
        counts = recommender.support[recommender.items.rows(neighbors["item"])]
    else:
        role, neighbors = "user", recommender.similar_users(parse_id(recommender.users, "user", str(user)), n)
        counts = recommender.histories.counts[recommender.users.rows(neighbors["user"])]
    if output is not None:
        write_frame(neighbors, output)
    if as_json:
        show_json(json_rows(neighbors) if output is None else {"rows": len(neighbors), "output": output})
        return
    if output is not None:
        results().print(f"wrote {len(neighbors):,} rows to {printable(output)}", soft_wrap=True)
        return
    has_titles = "title" in neighbors.columns
    headers = [("", "right"), *(["title"] if has_titles else []), (role, "right") if has_titles else role]
    output_table = table(*headers, ("similarity", "right"), (f"number of\n{recommender.kind}", "right"))
    for row, count in zip(neighbors.iter_rows(named=True), counts, strict=True):
        title = [printable(row["title"] or "")] if has_titles else []
        output_table.add_row(str(row["rank"]), *title, printable(row[role]), f"{row['score']:.3f}", f"{count:,}")
    results().print(output_table)
