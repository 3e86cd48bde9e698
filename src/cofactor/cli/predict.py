"""`cofactor predict`: predict the rating for one user-item pair, or for every user-item pair in a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from typer import Option

from cofactor.cli.options import Json, ModelFile, Output
from cofactor.cli.terminal import note, printable, results, show_json, table
from cofactor.errors import ParameterError

if TYPE_CHECKING:
    import polars as pl

    from cofactor.arrays import Int64
    from cofactor.recommender.recommender import Recommender

__all__ = ["predict"]

MAX_DISPLAYED_ROWS = 20


def predict(
    model: ModelFile,
    *,
    pairs: Annotated[
        str | None, Option(metavar="FILE", help="File of user-item pairs, with a user and an item column.")
    ] = None,
    user: Annotated[str | None, Option(metavar="ID", help="ID of one user, with --item.")] = None,
    item: Annotated[str | None, Option(metavar="ID", help="ID of one item, with --user.")] = None,
    output: Output = None,
    user_column: Annotated[str | None, Option(metavar="COLUMN", help="Column with the user IDs in FILE.")] = None,
    item_column: Annotated[str | None, Option(metavar="COLUMN", help="Column with the item IDs in FILE.")] = None,
    time_column: Annotated[str | None, Option(metavar="COLUMN", help="Column with the times in FILE.")] = None,
    as_json: Json = False,
) -> None:
    """Predict ratings for user-item pairs, in the order of the pairs in the file.

    For unknown users and items, predictions use average values, and a note is printed on stderr. A model of events
    predicts ranking scores.
    """
    from cofactor.cli.side_tables import check_output, read_pairs, write_frame
    from cofactor.data.id_columns import json_rows
    from cofactor.recommender.recommender import Recommender

    is_single = user is not None and item is not None
    if is_single == (pairs is not None) or (user is None) != (item is None):
        raise ParameterError("pass either --pairs FILE, or both --user ID and --item ID")
    check_output(output, inputs=[model, pairs])
    recommender = Recommender.load(model)
    if pairs is not None:
        users, items, times = read_pairs(pairs, user=user_column, item=item_column, time=time_column)
    else:
        import polars as pl

        users = pl.Series("user", [recommender.users.parse(str(user))])
        items, times = pl.Series("item", [recommender.items.parse(str(item))]), None
    predictions = _predict_pairs(recommender, users, items, times)
    if output is not None:
        write_frame(predictions, output)
    if as_json:
        show_json(json_rows(predictions) if output is None else {"pairs": len(predictions), "output": output})
    elif output is not None:
        results().print(f"wrote {len(predictions):,} predictions to {printable(output)}", soft_wrap=True)
    else:
        _show(predictions)


def _predict_pairs(recommender: Recommender, users: pl.Series, items: pl.Series, times: Int64 | None) -> pl.DataFrame:
    """Predict the ratings for the pairs, and print notes on unknown IDs and unused times."""
    u, i = recommender.users.rows(users), recommender.items.rows(items)
    for role, rows, ids in (("user", u, users), ("item", i, items)):
        is_unknown = rows < 0
        if len(rows) == 1 and is_unknown.any():
            note(f"{role} {ids[0]!r} is not known to the model: predicted with average values")
        elif is_unknown.any():
            first = ids[int(is_unknown.argmax())]
            counts = f"{is_unknown.sum():,} of {len(rows):,}"
            note(f"{counts} pairs have an unknown {role} ({first!r}, ...): predicted with average values")
    if times is not None and not getattr(recommender.model, "uses_times", False):
        note("the model does not use times, so the time column is ignored (bayesian-mf with time_bin uses it)")
    predictions: pl.DataFrame = recommender.predict(users, items, times=times)
    return predictions


def _show(predictions: pl.DataFrame) -> None:
    out = results()
    if len(predictions) == 1:
        out.print(f"{predictions['prediction'][0]:.3f}")
        return
    output_table = table("user", "item", ("prediction", "right"))
    for user, item, prediction in predictions.head(MAX_DISPLAYED_ROWS).iter_rows():
        output_table.add_row(printable(user), printable(item), f"{prediction:.3f}")
    out.print(output_table)
    if len(predictions) > MAX_DISPLAYED_ROWS:
        out.print(f"... and {len(predictions) - MAX_DISPLAYED_ROWS:,} more; use -o FILE to write all of them")
