"""`cofactor recommend`: recommend items to given users, to all users, or to a new user."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from cofactor.cli.options import (
    Engine,
    Json,
    Master,
    ModelFile,
    N,
    Output,
    SparkSettings,
    check_spark_options,
    choice,
    count,
    number,
    spark_settings,
)
from cofactor.cli.terminal import note, printable, results, show_json, table
from cofactor.errors import ParameterError, UnknownIdError

if TYPE_CHECKING:
    import polars as pl
    from rich.console import Console

    from cofactor.data.ids import IdMap
    from cofactor.recommender.recommender import Recommender

__all__ = ["parse_id", "recommend", "show_ranking"]

ORDERS = ("mean", "lower", "upper")
MAX_DISPLAYED_USERS = 20


def recommend(
    model: ModelFile,
    *,
    user: Annotated[list[str] | None, Option(metavar="ID", help="Recommend items to this user. Repeatable.")] = None,
    all_users: Annotated[bool, Option("--all", help="Recommend items to all users in the model.")] = False,
    rated: Annotated[
        list[str] | None,
        Option(metavar="ITEM=RATING", help="Recommend items to a new user who rated this item. Repeatable."),
    ] = None,
    item: Annotated[
        list[str] | None,
        Option(
            metavar="ITEM",
            help="Recommend items to a new user who consumed this item (event models). Repeatable; latest last.",
        ),
    ] = None,
    user_features: Annotated[
        list[str] | None,
        Option(
            metavar="COLUMN=VALUE", help="Feature of the new user, such as age=24, for models with priors. Repeatable."
        ),
    ] = None,
    n: N = 10,
    where: Annotated[
        str | None,
        Option(
            metavar="EXPR",
            help="List only items whose columns in the item table match this expression, such as "
            "'year >= 1990 and genre contains \"Drama\"'.",
        ),
    ] = None,
    min_support: Annotated[
        int,
        Option(
            metavar="N",
            parser=count,
            help="List only items with at least this number of ratings or events.",
        ),
    ] = 0,
    exclude: Annotated[list[str] | None, Option(metavar="ID", help="Do not list this item. Repeatable.")] = None,
    include_seen: Annotated[bool, Option("--include-seen", help="Include items that the user has seen.")] = False,
    rank_by: Annotated[
        str,
        Option(
            metavar="|".join(ORDERS),
            parser=choice(*ORDERS),
            help="Rank by the expected rating, or by the lower or upper end of its 80 % interval (bayesian-mf).",
        ),
    ] = "mean",
    diversity: Annotated[
        float,
        Option(
            metavar="0..1",
            parser=number(low=0, high=1),
            help="Diversity of the items in a list; 0 keeps the order by score.",
        ),
    ] = 0.0,
    output: Output = None,
    engine: Engine = "local",
    master: Master = None,
    spark: SparkSettings = None,
    db_table: Annotated[
        str | None,
        Option(
            "--table",
            metavar="TABLE",
            help="With --engine spark and -o jdbc:...: table of the database.",
            rich_help_panel="Apache Spark",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Recommend the top n items for one user, several users, all users, or a new user.

    Output columns: user, item, rank, score, prediction, support, answered_by, and title if available. Items are ranked
    by score. The prediction is the predicted rating; it is empty for a model of events. If the model has no evidence,
    the list is completed with popular items, whose answered_by is popularity instead of model. The support is the
    number of ratings or events of the item: the smaller it is, the less certain the rank. The terminal shows the
    predicted rating or, for a model of events, the score.

    With --engine spark, --all ranks items on Apache Spark, and -o is a folder for Parquet files, which all machines
    share, or a database as jdbc:... with --table. An earlier result is replaced when the new one is complete.
    """
    from cofactor.cli.side_tables import check_output, write_frame
    from cofactor.data.id_columns import json_rows
    from cofactor.recommender.recommender import Recommender

    is_new_user = bool(rated or item or user_features)
    if [bool(user), all_users, is_new_user].count(True) != 1:
        raise ParameterError(
            "pass either --user ID or --all; for a new user, pass --rated ITEM=RATING, or --item ITEM if the model was "
            "trained on events"
        )
    check_spark_options(engine, {"--master": master, "--spark": spark, "--table": db_table})
    if engine == "spark" and not (all_users and output):
        raise ParameterError("--engine spark requires --all and -o: it writes the lists of all users")
    if engine == "local":
        check_output(output, inputs=[model])
    recommender = Recommender.load(model)
    options: Any = {"rank_by": rank_by, "diversity": diversity, "where": where, "min_support": min_support}
    if exclude:
        excluded_rows = recommender.items.rows(exclude, parse=True)
        if n_unknown := int((excluded_rows < 0).sum()):
            note(f"{n_unknown:,} of the {len(exclude):,} items to exclude are not known to the model")
        options["exclude"] = recommender.items.ids(excluded_rows[excluded_rows >= 0])
    if engine == "spark":
        options |= {"n": n, "exclude_seen": not include_seen, "table": db_table, "settings": spark_settings(spark)}
        _recommend_on_spark(model, str(output), options | ({"master": master} if master else {}), as_json)
        return
    if is_new_user:
        if include_seen:
            raise ParameterError(
                "--include-seen applies only to users in the model; it cannot be combined with a new user"
            )
        history = _parse_history(recommender, rated or (), item or ())
        ranked = recommender.for_history(
            history, user_features=_parse_user_features(recommender, user_features or ())
        ).recommend(n, **options)
    elif all_users:
        ranked = recommender.recommend_all(n, exclude_seen=not include_seen, **options)
    else:
        hint = f"; for a new user: {'--item ITEM' if recommender.kind == 'events' else '--rated ITEM=RATING'}"
        ids = [parse_id(recommender.users, "user", text, hint) for text in dict.fromkeys(user or ())]
        ranked = recommender.recommend(ids, n, exclude_seen=not include_seen, **options)
    if n > len(recommender.items):
        note(f"the catalog has {len(recommender.items):,} items, fewer than the requested {n:,}")
    if output is not None:
        write_frame(ranked, output)
    if as_json:
        show_json(json_rows(ranked) if output is None else {"rows": len(ranked), "output": output})
    elif output is not None:
        results().print(f"wrote {len(ranked):,} recommendations to {printable(output)}", soft_wrap=True)
    else:
        _show(recommender, ranked, rank_by)


def _recommend_on_spark(model: str, output: str, options: dict[str, Any], as_json: bool) -> None:
    """Write the lists of all users with Apache Spark."""
    from cofactor.cluster import recommend_all

    result = recommend_all(model, output, **options)
    if as_json:
        show_json({"users": result.users, "rows": result.rows, "output": output})
        return
    results().print(
        f"wrote {result.rows:,} recommendations for {result.users:,} users to {printable(output)}", soft_wrap=True
    )


def parse_id(ids: IdMap, role: str, text: str, hint: str = "") -> Any:
    """Convert an ID from the command line to the type of the model's IDs.

    Parameters
    ----------
    ids : IdMap
        IDs in the model.
    role : {'user', 'item'}
        Role of the ID, for the error message.
    text : str
        ID as typed by the user.
    hint : str, default ""
        Text to append to the error message.

    Returns
    -------
    int or str
        ID in the type of the model's IDs.

    Raises
    ------
    UnknownIdError
        If the model does not contain the ID.
    """
    row = int(ids.rows([text], parse=True)[0])
    if row < 0:
        examples = ", ".join(map(repr, ids.ids(range(min(3, len(ids)))).to_list()))
        raise UnknownIdError(f"{role} {text!r} is not known to the model; known IDs are {examples}, ...{hint}")
    return ids.id_at(row)


def _parse_history(recommender: Recommender, rated: Sequence[str], items: Sequence[str]) -> list[Any]:
    """Parse the history of a new user with the model's IDs; raise ParameterError or UnknownIdError."""
    if recommender.kind == "events":
        if rated:
            raise ParameterError("this model was trained on events: use --item ITEM instead of --rated")
        return [parse_id(recommender.items, "item", text) for text in items]
    if items:
        raise ParameterError("this model was trained on ratings: use --rated ITEM=RATING instead of --item")
    return [_parse_rated(recommender, text) for text in rated]


def _parse_rated(recommender: Recommender, text: str) -> tuple[Any, float]:
    """Parse ITEM=RATING; raise ParameterError or UnknownIdError."""
    item, _, number = text.rpartition("=")
    try:
        rating = float(number)
    except ValueError as error:
        raise ParameterError(f"--rated takes ITEM=RATING, such as --rated 50=5, not {text!r}") from error
    if not item:
        raise ParameterError(f"--rated takes ITEM=RATING, such as --rated 50=5, not {text!r}")
    if recommender.scale is not None:
        recommender.scale.check(rating, name=f"--rated {text}: the rating")
    return parse_id(recommender.items, "item", item), rating


def _parse_user_features(recommender: Recommender, user_features: Sequence[str]) -> dict[str, Any] | None:
    """Parse COLUMN=VALUE pairs, with numbers for numeric columns of the prior; raise ParameterError if invalid."""
    from cofactor.data.features import PARTS

    prior = None if recommender.priors is None else recommender.priors.user_prior
    columns = {} if prior is None or prior.encoder is None else {c.name: c for c in prior.encoder.columns}
    features: dict[str, Any] = {}
    for text in user_features:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise ParameterError(f"--user-features takes COLUMN=VALUE, such as --user-features age=24, not {text!r}")
        features[name] = value
        if name in columns and columns[name].form != PARTS:
            try:
                features[name] = float(value)
            except ValueError as error:
                raise ParameterError(f"--user-features {text}: {name} must be a number for this model") from error
    return features or None


def _show(recommender: Recommender, ranked: pl.DataFrame, rank_by: str) -> None:
    out = results()
    if "user" not in ranked.columns or not len(ranked):
        show_ranking(out, recommender, ranked, score_header=None if rank_by == "mean" else f"{rank_by}\nrating")
        return
    users = ranked["user"].unique(maintain_order=True)
    for user in users.head(MAX_DISPLAYED_USERS):
        out.print(f"For user {printable(user)}", style="bold")
        show_ranking(out, recommender, ranked.filter(ranked["user"] == user))
    if len(users) > MAX_DISPLAYED_USERS:
        out.print(f"... and {len(users) - MAX_DISPLAYED_USERS:,} more users; use -o FILE to write all of them")


def show_ranking(
    out: Console, recommender: Recommender, ranked: pl.DataFrame, *, score_header: str | None = None
) -> None:
    """Print the ranked list for one user: rank, title or item, predicted rating or score, and number of ratings.

    Parameters
    ----------
    out : rich.console.Console
        Console to print to.
    recommender : Recommender
        Recommender that ranked the items.
    ranked : polars.DataFrame
        Ranked items for the user, best first.
    score_header : str or None, default None
        Header of the score column; None shows predicted ratings if the model predicts them.
    """
    if len(ranked) == 0:
        out.print("no items are left to recommend\n")
        return
    has_titles = "title" in ranked.columns
    predicted_ratings = None if score_header or recommender.kind == "events" else ranked["prediction"].to_list()
    headers = [("", "right"), *(["title"] if has_titles else []), ("item", "right") if has_titles else "item"]
    score_header = score_header or ("predicted\nrating" if predicted_ratings else "score")
    output_table = table(*headers, (score_header, "right"), (f"number of\n{recommender.kind}", "right"), "answered\nby")
    for row, value in zip(ranked.iter_rows(named=True), predicted_ratings or ranked["score"], strict=True):
        title = [printable(row["title"] or "")] if has_titles else []
        score = f"{value:.2f}" if predicted_ratings else f"{value:.3f}"
        support = f"{row['support']:,}"
        output_table.add_row(str(row["rank"]), *title, printable(row["item"]), score, support, row["answered_by"])
    out.print(output_table)
