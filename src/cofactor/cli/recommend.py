"""`cofactor recommend`: the best items for some users, for all users, or for a new user."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from cofactor.cli.options import Json, ModelFile, N, Output, choice, number
from cofactor.cli.terminal import note, printable, results, show_json, table
from cofactor.errors import ParameterError, UnknownIdError

if TYPE_CHECKING:
    import polars as pl
    from rich.console import Console

    from cofactor.data.ids import IdMap
    from cofactor.recommender.recommender import Recommender

__all__ = ["parse_id", "recommend", "show_ranking"]

ORDERS = ("mean", "lower", "upper")
SHOWN_USERS = 20


def recommend(
    model: ModelFile,
    *,
    user: Annotated[list[str] | None, Option(metavar="ID", help="Recommend for this user. Repeatable.")] = None,
    everyone: Annotated[bool, Option("--all", help="Recommend for all users of the model.")] = False,
    rated: Annotated[
        list[str] | None,
        Option(metavar="ITEM=RATING", help="Recommend for a new user who rated this item. Repeatable."),
    ] = None,
    took: Annotated[
        list[str] | None,
        Option(metavar="ITEM", help="Recommend for a new user who consumed this item (models of events). Repeatable."),
    ] = None,
    user_features: Annotated[
        list[str] | None,
        Option(
            metavar="COLUMN=VALUE", help="Feature of the new user, such as age=24, for models with priors. Repeatable."
        ),
    ] = None,
    n: N = 10,
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
            help="How much the items should differ from each other; 0 keeps the order by score.",
        ),
    ] = 0.0,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Recommend the n best items. Output columns: user, item, rank, score, answered_by, and title if available.

    The score is what items are ranked by. If the model has no evidence, the list is filled with popular items, whose
    answered_by is popularity instead of model. The terminal also shows the predicted rating and the number of ratings
    of each item: the fewer, the less certain its rank.
    """
    from cofactor.cli.side_tables import check_output, write_frame
    from cofactor.data.id_columns import json_rows
    from cofactor.recommender.recommender import Recommender

    is_new_user = bool(rated or took or user_features)
    if [bool(user), everyone, is_new_user].count(True) != 1:
        raise ParameterError("give one of --user ID, --all, or --rated ITEM=RATING (--took ITEM) for a new user")
    check_output(output, inputs=[model])
    recommender = Recommender.load(model)
    order: Any = {"rank_by": rank_by, "diversity": diversity}
    if is_new_user:
        if include_seen:
            raise ParameterError("--include-seen is for users of the model; it cannot be combined with a new user")
        history = _history(recommender, rated or (), took or ())
        ranked = recommender.for_history(
            history, user_features=_user_features(recommender, user_features or ())
        ).recommend(n, **order)
    elif everyone:
        ranked = recommender.recommend_all(n, exclude_seen=not include_seen, **order)
    else:
        hint = f"; for a new user: {'--took ITEM' if recommender.kind == 'events' else '--rated ITEM=RATING'}"
        ids = [parse_id(recommender.users, "user", text, hint) for text in dict.fromkeys(user or ())]
        ranked = recommender.recommend(ids, n, exclude_seen=not include_seen, **order)
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


def parse_id(ids: IdMap, what: str, text: str, hint: str = "") -> Any:
    """Return an ID from the command line in the type of the model's IDs.

    Parameters
    ----------
    ids : IdMap
        IDs of the model.
    what : {'user', 'item'}
        Role of the ID, for the message.
    text : str
        ID as typed.
    hint : str, default ""
        Text to append to the message.

    Returns
    -------
    int or str
        The ID.

    Raises
    ------
    UnknownIdError
        If the model does not have this ID.
    """
    row = int(ids.rows([text], parse=True)[0])
    if row < 0:
        examples = ", ".join(map(repr, ids.ids(range(min(3, len(ids)))).to_list()))
        raise UnknownIdError(f"{what} {text!r} is not known to the model; known are {examples}, ...{hint}")
    return ids.ids([row])[0]


def _history(recommender: Recommender, rated: Sequence[str], took: Sequence[str]) -> list[Any]:
    """Return the history of a new user in the IDs of the model. Raises ParameterError, UnknownIdError."""
    if recommender.kind == "events":
        if rated:
            raise ParameterError("this model was fitted to events: use --took ITEM instead of --rated")
        return [parse_id(recommender.items, "item", text) for text in took]
    if took:
        raise ParameterError("this model was fitted to ratings: use --rated ITEM=RATING instead of --took")
    return [_rated(recommender, text) for text in rated]


def _rated(recommender: Recommender, text: str) -> tuple[Any, float]:
    """Parse ITEM=RATING. Raises ParameterError, UnknownIdError."""
    item, _, number = text.rpartition("=")
    try:
        rating = float(number)
    except ValueError as error:
        raise ParameterError(f"--rated takes ITEM=RATING, as in --rated 50=5, not {text!r}") from error
    if not item:
        raise ParameterError(f"--rated takes ITEM=RATING, as in --rated 50=5, not {text!r}")
    if recommender.scale is not None:
        recommender.scale.check(rating, name=f"--rated {text}: the rating")
    return parse_id(recommender.items, "item", item), rating


def _user_features(recommender: Recommender, user_features: Sequence[str]) -> dict[str, Any] | None:
    """Parse COLUMN=VALUE pairs; values of numeric columns of the prior become numbers. Raises ParameterError."""
    from cofactor.data.features import PARTS

    prior = None if recommender.priors is None else recommender.priors.users
    columns = {} if prior is None or prior.encoder is None else {c.name: c for c in prior.encoder.columns}
    features: dict[str, Any] = {}
    for text in user_features:
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise ParameterError(f"--user-features takes COLUMN=VALUE, as in --user-features age=24, not {text!r}")
        features[name] = value
        if name in columns and columns[name].form != PARTS:
            try:
                features[name] = float(value)
            except ValueError as error:
                raise ParameterError(f"--user-features {text}: {name} must be a number in this model") from error
    return features or None


def _show(recommender: Recommender, ranked: pl.DataFrame, rank_by: str) -> None:
    out = results()
    if "user" not in ranked.columns:
        show_ranking(out, recommender, ranked, head=None if rank_by == "mean" else f"{rank_by}\nrating")
        return
    users = ranked["user"].unique(maintain_order=True)
    for user in users.head(SHOWN_USERS):
        out.print(f"For user {printable(user)}", style="bold")
        show_ranking(out, recommender, ranked.filter(ranked["user"] == user))
    if len(users) > SHOWN_USERS:
        out.print(f"... and {len(users) - SHOWN_USERS:,} more users; use -o FILE to write all of them")


def show_ranking(out: Console, recommender: Recommender, ranked: pl.DataFrame, *, head: str | None = None) -> None:
    """Print the list of one user: rank, title or item, predicted rating or score, and number of ratings.

    Parameters
    ----------
    out : rich.console.Console
        Where to print.
    recommender : Recommender
        The recommender.
    ranked : polars.DataFrame
        Rows of the user, best first.
    head : str or None, default None
        Header of the score; None shows predicted ratings if the model has them.
    """
    if len(ranked) == 0:
        out.print("no items are left to recommend\n")
        return
    has_titles, predicted = "title" in ranked.columns, None if head else _predicted_ratings(recommender, ranked)
    support = recommender.support[recommender.items.rows(ranked["item"])]
    heads = [("", "right"), *(["title"] if has_titles else []), ("item", "right") if has_titles else "item"]
    number_head = head or ("predicted\nrating" if predicted else "score")
    shown = table(*heads, (number_head, "right"), (f"number of\n{recommender.kind}", "right"), "answered\nby")
    for row, value, count in zip(ranked.iter_rows(named=True), predicted or ranked["score"], support, strict=True):
        title = [printable(row["title"] or "")] if has_titles else []
        score = f"{value:.2f}" if predicted else f"{value:.3f}"
        shown.add_row(str(row["rank"]), *title, printable(row["item"]), score, f"{count:,}", row["answered_by"])
    out.print(shown)


def _predicted_ratings(recommender: Recommender, ranked: pl.DataFrame) -> list[float] | None:
    """Return the predicted rating of each row, on the rating scale; None for models without ratings."""
    import numpy as np

    from cofactor.models.factor import FactorModel

    if recommender.kind == "events":
        return None
    if "user" in ranked.columns:
        return list(recommender.predict(ranked["user"], ranked["item"])["prediction"])
    model = recommender.model
    if not isinstance(model, FactorModel):
        return None
    ratings = model.link(ranked["score"].to_numpy())
    return list(ratings if model.scale is None else np.clip(ratings, model.scale.low, model.scale.high))
