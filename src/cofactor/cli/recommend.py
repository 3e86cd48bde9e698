"""`cofactor recommend`: the best items for users, for everyone, or for somebody new."""

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

__all__ = ["known_id", "recommend", "show_ranking"]

ORDERS = ("mean", "cautious", "optimistic")
SHOWN_USERS = 20


def recommend(
    model: ModelFile,
    *,
    user: Annotated[list[str] | None, Option(metavar="ID", help="For this user. Repeatable.")] = None,
    everyone: Annotated[bool, Option("--all", help="For every user the model knows.")] = False,
    rated: Annotated[
        list[str] | None,
        Option(metavar="ITEM=RATING", help="For somebody new, who rated this item so. Repeatable."),
    ] = None,
    took: Annotated[
        list[str] | None,
        Option(metavar="ITEM", help="For somebody new, who took this item (models of events). Repeatable."),
    ] = None,
    about: Annotated[
        list[str] | None,
        Option(metavar="COLUMN=VALUE", help="For somebody new, as age=24, where priors know the column. Repeatable."),
    ] = None,
    n: N = 10,
    include_seen: Annotated[bool, Option("--include-seen", help="Also what the user has rated or taken.")] = False,
    by: Annotated[
        str,
        Option(
            metavar="|".join(ORDERS), parser=choice(*ORDERS), help="Cautious prefers what is surely good (bayesian-mf)."
        ),
    ] = "mean",
    diversity: Annotated[
        float,
        Option(
            metavar="0..1",
            parser=number(low=0, high=1),
            help="How much items should differ from each other; 0 is the plain order.",
        ),
    ] = 0.0,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Recommend the n best items: user, item, rank, score, answered_by, and the title where it is known.

    The score is what items are ranked by. Where the model has no evidence, popular items fill the list, and
    answered_by says popularity instead of model. The screen also shows the rating to expect and how many ratings stand
    behind each item: the fewer, the less sure its place.
    """
    from cofactor.cli.side_tables import check_output, write_frame
    from cofactor.recommender.recommender import Recommender

    new = bool(rated or took or about)
    if [bool(user), everyone, new].count(True) != 1:
        raise ParameterError("say for whom: --user ID, --all, or --rated ITEM=RATING (--took ITEM) for somebody new")
    check_output(output, inputs=[model])
    recommender = Recommender.load(model)
    order: Any = {"by": by, "diversity": diversity}
    if new:
        if include_seen:
            raise ParameterError(
                "--include-seen is for users the model knows; of a newcomer it only knows what you say"
            )
        history = _history(recommender, rated or (), took or ())
        ranked = recommender.for_history(history, user_features=_about(recommender, about or ())).recommend(n, **order)
    elif everyone:
        ranked = recommender.recommend_all(n, exclude_seen=not include_seen, **order)
    else:
        hint = f"; for somebody new: {'--took ITEM' if recommender.kind == 'events' else '--rated ITEM=RATING'}"
        ids = [known_id(recommender.users, "user", text, hint) for text in dict.fromkeys(user or ())]
        ranked = recommender.recommend(ids, n, exclude_seen=not include_seen, **order)
    if n > len(recommender.items):
        note(f"the catalog has {len(recommender.items):,} items, fewer than the {n:,} asked for")
    if output is not None:
        write_frame(ranked, output)
    if as_json:
        show_json(ranked.to_dicts() if output is None else {"rows": len(ranked), "output": output})
    elif output is not None:
        results().print(f"{len(ranked):,} recommendations are in {printable(output)}", soft_wrap=True)
    else:
        _show(recommender, ranked, by)


def known_id(ids: IdMap, what: str, text: str, hint: str = "") -> Any:
    """An id from the command line in the type that the model's ids have. Raises UnknownIdError."""
    found = ids.parse(text)
    if found not in ids:
        some = ", ".join(map(repr, ids.ids(range(min(3, len(ids)))).to_list()))
        raise UnknownIdError(f"{what} {text!r} is not known here; known are {some}, ...{hint}")
    return found


def _history(recommender: Recommender, rated: Sequence[str], took: Sequence[str]) -> list[Any]:
    """What a newcomer rated or took, in the model's own ids. Raises ParameterError, UnknownIdError."""
    if recommender.kind == "events":
        if rated:
            raise ParameterError("this model learnt from events: say what somebody new took, --took ITEM")
        return [known_id(recommender.items, "item", text) for text in took]
    if took:
        raise ParameterError("this model learnt from ratings: say how somebody new rated, --rated ITEM=RATING")
    return [_rated(recommender, text) for text in rated]


def _rated(recommender: Recommender, text: str) -> tuple[Any, float]:
    item, _, number = text.rpartition("=")
    try:
        rating = float(number)
    except ValueError as problem:
        raise ParameterError(f"--rated takes ITEM=RATING, as in --rated 50=5, not {text!r}") from problem
    if not item:
        raise ParameterError(f"--rated takes ITEM=RATING, as in --rated 50=5, not {text!r}")
    if recommender.scale is not None:
        recommender.scale.check(rating, name=f"--rated {text}: the rating")
    return known_id(recommender.items, "item", item), rating


def _about(recommender: Recommender, about: Sequence[str]) -> dict[str, Any] | None:
    """COLUMN=VALUE pairs, numbers where the prior learnt from numbers. Raises ParameterError."""
    from cofactor.data.features import PARTS

    prior = None if recommender.priors is None else recommender.priors.users
    learnt = {} if prior is None or prior.encoder is None else {column.name: column for column in prior.encoder.columns}
    told: dict[str, Any] = {}
    for text in about:
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise ParameterError(f"--about takes COLUMN=VALUE, as in --about age=24, not {text!r}")
        told[name] = value
        if name in learnt and learnt[name].form != PARTS:
            try:
                told[name] = float(value)
            except ValueError as problem:
                raise ParameterError(f"--about {text}: {name} is a number in this model") from problem
    return told or None


def _show(recommender: Recommender, ranked: pl.DataFrame, by: str) -> None:
    out = results()
    if "user" not in ranked.columns:
        show_ranking(out, recommender, ranked, head=None if by == "mean" else f"{by}\nrating")
        return
    users = ranked["user"].unique(maintain_order=True)
    for user in users.head(SHOWN_USERS):
        out.print(f"For user {printable(user)}", style="bold")
        show_ranking(out, recommender, ranked.filter(ranked["user"] == user))
    if len(users) > SHOWN_USERS:
        out.print(f"... and {len(users) - SHOWN_USERS:,} more users; -o FILE writes all of them")


def show_ranking(out: Console, recommender: Recommender, ranked: pl.DataFrame, *, head: str | None = None) -> None:
    """One user's list: rank, title or item, the rating to expect (or the score, under this head), and the support."""
    if len(ranked) == 0:
        out.print("nothing is left to recommend\n")
        return
    named, expected = "title" in ranked.columns, None if head else _expected(recommender, ranked)
    support = recommender.support[recommender.items.rows(ranked["item"])]
    heads = [("", "right"), *(["title"] if named else []), ("item", "right") if named else "item"]
    number_head = head or ("rating to\nexpect" if expected else "score")
    shown = table(*heads, (number_head, "right"), (f"{recommender.kind}\nbehind it", "right"), "answered\nby")
    for row, expectation, count in zip(ranked.iter_rows(named=True), expected or ranked["score"], support, strict=True):
        title = [printable(row["title"] or "")] if named else []
        score = f"{expectation:.2f}" if expected else f"{expectation:.3f}"
        shown.add_row(str(row["rank"]), *title, printable(row["item"]), score, f"{count:,}", row["answered_by"])
    out.print(shown)


def _expected(recommender: Recommender, ranked: pl.DataFrame) -> list[float] | None:
    """The rating to expect of each row, on the scale; None for models of events."""
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
