"""Python, the command line and HTTP give the same answer to the same question: a law over every estimator.

QUESTIONS is a table. A row names an operation, its arguments, and what is expected: "answer", or the reason of a
rejection. Each interface has an adapter that translates the row, and every interface that has the operation must give
the same list, prediction, explanation or rejection. The few documented differences are rows of DIFFERENCES.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias
from unittest.mock import patch

import numpy as np
import polars as pl
import pytest
import typer.main
from fastapi.testclient import TestClient
from httpx import Response

from cofactor import Interactions, Recommender
from cofactor.cli import app
from cofactor.data.interactions import Kind
from cofactor.errors import DataError, KindError, ParameterError, UnknownIdError
from cofactor.estimators import REGISTRY
from cofactor.models.base import HasUncertainty
from cofactor.service.api.app import create_app
from cofactor.service.bootstrap import import_table
from cofactor.service.registry import ArtifactRegistry, add_candidate, promote
from cofactor.service.settings import ServiceSettings
from cofactor.store import Store
from tests.support.estimators import small
from tests.support.priors import with_prior_at_all_lengths

# The table: two groups of users who share no item, low ratings, a user and an item without any row

N_USERS, N_ITEMS = 40, 25
RARE = range(32, 37)
"""Users who only rated the items of the second group."""
LONELY, LATE, UNRATED = 39, 38, 24
"""Two users and an item without any row; one of the users rates later."""
DISLIKED = 23
"""An item that was only rated low, by users 0 to 3."""
GENRES = ("war", "drama", "comedy")


class Raw(NamedTuple):
    """An id that is passed as it is, not the id of the user or item of a number."""

    id: int | str


@dataclass(frozen=True)
class Ids:
    """How users and items are called."""

    integer: bool

    def user(self, n: int) -> int | str:
        """The id of a user: a few texts look like numbers."""
        return n if self.integer else {17: "17", 18: "017"}.get(n, f"user {n}")

    def item(self, n: int) -> int | str:
        return 100 + n if self.integer else {5: "5", 6: "05"}.get(n, f"film-{n}=a")


def rated(ids: Ids, kind: Kind) -> Interactions:
    """The table: ratings of 1 to 5, or those of 4 and 5 as events, with lower ratings as seen."""
    rng = np.random.default_rng(7)
    rows = []
    for user in range(LATE):
        pool = np.arange(18, 23) if user in RARE else np.arange(18)
        for item in rng.choice(pool, 3 if user in RARE else 8, replace=False):
            taste = 4.4 if (user + item) % 2 == 0 else 2.4
            rows.append((user, item, float(np.clip(np.round(taste + rng.normal(0, 0.8)), 1, 5))))
    rows += [(user, DISLIKED, 1.0 + user % 2) for user in range(4)]
    rows += [(LONELY, UNRATED, 5.0), (LATE, UNRATED, 5.0)]
    users, items, values = zip(*rows, strict=True)
    times = 1_600_000_000 + 60 * rng.permutation(len(rows))
    table = Interactions.from_columns([*map(ids.user, users)], [*map(ids.item, items)], values, times=times)
    table = table.with_item_table(
        {
            "item": [ids.item(n) for n in range(N_ITEMS)],
            "title": [None if n == 3 else f"Film {n}" for n in range(N_ITEMS)],
            "genre": [GENRES[n % 3] for n in range(N_ITEMS)],
            "year": [None if n == 6 else 1970 + n for n in range(N_ITEMS)],
            "price": [None if n == 7 else float("nan") if n == 8 else n / 2 for n in range(N_ITEMS)],
            "released": [date(1970 + n, 6, 1) for n in range(N_ITEMS)],
            "parts": [" | ".join(["new"] * (n % 2) + ["long"] * (n % 3 == 0)) or None for n in range(N_ITEMS)],
        }
    )
    table = table.with_user_table(
        {"user": [ids.user(n) for n in range(N_USERS)], "age": [20.0 + n for n in range(N_USERS)]}
    )
    table = table.select(table.i != table.items.row(ids.item(UNRATED)))
    return table if kind == "ratings" else table.to_events(min_rating=4)


# The models


@dataclass(frozen=True)
class Case:
    """A model: which estimator, what it learns from, how ids look, and whether it has priors for new users."""

    estimator: str
    kind: Kind
    integer_ids: bool = False
    priors: bool = False
    settings: tuple[tuple[str, Any], ...] = ()

    @property
    def name(self) -> str:
        """A name for the test report."""
        parts = [self.estimator, self.kind, *(str(getattr(value, "name", value)) for _, value in self.settings)]
        parts += ["integer ids"] * self.integer_ids + ["priors"] * self.priors
        return "/".join(parts)

    @cache  # noqa: B019 - the cases are few and live as long as the process
    def fit(self) -> tuple[Interactions, Recommender]:
        """The table, and the recommender that learned from it."""
        table = rated(Ids(self.integer_ids), self.kind)
        estimator = small(self.estimator, k=5, shrink=1.0).set_params(**dict(self.settings))
        rec = Recommender.fit(estimator, table)
        return table, with_prior_at_all_lengths(rec.with_priors(user_features=["age"])) if self.priors else rec


CASES = [
    *(
        Case(name, kind)
        for name, estimator in REGISTRY.items()
        for kind in ("ratings", "events")
        if estimator.kind in (kind, "any")
    ),
    Case("neural-mf", "ratings", settings=(("head", "classification"),)),
    Case("biased-mf", "ratings", integer_ids=True),
    Case("item-knn", "events", integer_ids=True),
    Case("user-knn", "ratings", integer_ids=True),
    Case("explicit-als", "ratings", priors=True),
    Case("implicit-als", "events", integer_ids=True, priors=True),
    Case("paired-models", "ratings", integer_ids=True, priors=True),
    Case(
        "paired-models",
        "ratings",
        settings=(("ranker", small("sequential-item-knn")), ("rating_model", small("bayesian-mf"))),
    ),
    Case("paired-models", "ratings", settings=(("ranker", small("ease")), ("rating_model", small("item-knn")))),
]


# Answers in a common form


class RejectedRow(NamedTuple):
    """A rejected question. reason: "unknown id", "not possible", "bad value"; None where the interface gives none."""

    reason: str | None
    message: str


class Place(NamedTuple):
    """A row of a list."""

    item: str
    rank: int
    score: float
    prediction: float | None
    support: int | None
    answered_by: str | None
    title: str | None


def places(rows: list[dict[str, Any]], with_user: bool = False) -> list[Any]:
    """Rows of any interface as places, with their user where there are several."""
    entries = [
        Place(
            str(row["item"]),
            row["rank"],
            row["score"],
            row.get("prediction"),
            row.get("support"),
            row.get("answered_by"),
            row.get("title"),
        )
        for row in rows
    ]
    return [(str(row["user"]), place) for row, place in zip(rows, entries, strict=True)] if with_user else entries


def parts(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Parts of an explanation; users are left out, since HTTP does not name them."""
    texts = [None if row.get("item") is None else str(row["item"]) for row in rows]
    return [
        (row["part"], text, row.get("value"), row["term"], row.get("title"))
        for row, text in zip(rows, texts, strict=True)
    ]


def same(first: Any, second: Any) -> bool:
    """Whether two answers are equal, numbers within a tolerance."""
    if isinstance(first, float) and isinstance(second, float | int):
        return bool(np.isclose(first, second, rtol=1e-5, atol=1e-5))
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second)


# Interfaces


@dataclass(frozen=True)
class Served:
    """One model in three interfaces."""

    case: Case
    ids: Ids
    table: Interactions
    rec: Recommender
    path: Path
    client: TestClient

    def user(self, number_or_id: Any) -> Any:
        return number_or_id.id if isinstance(number_or_id, Raw) else self.ids.user(number_or_id)

    def item(self, number_or_id: Any) -> Any:
        return number_or_id.id if isinstance(number_or_id, Raw) else self.ids.item(number_or_id)


@contextmanager
def served_in(folder: Path, case: Case) -> Iterator[Served]:
    """A model saved once: loaded in Python, named on the command line, and promoted in a service with the same rows."""
    table, rec = case.fit()
    settings = ServiceSettings.of({"data": str(folder), "key_cache_seconds": 60.0})
    artifacts = ArtifactRegistry(settings.artifacts)
    with Store.open(settings.url) as store:
        assert table.item_table is not None
        assert table.user_table is not None
        import_table(store, table)
        model = promote(
            store, artifacts, add_candidate(store, artifacts, rec, watermark=store.events.watermark()).version
        )
        key = store.keys.create("write", "a test")
        path = artifacts.path(str(model.file))
        with TestClient(create_app(settings), raise_server_exceptions=False) as client:
            client.headers["Authorization"] = f"Bearer {key}"
            yield Served(case, Ids(case.integer_ids), table, Recommender.load(path), path, client)


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Case], Served]]:
    """The model of a case in three interfaces, until that of another case is wanted."""
    with ExitStack() as stack:
        opened: dict[Case, Served] = {}

        def serve(case: Case) -> Served:
            if case not in opened:
                stack.close()
                opened.clear()
                opened[case] = stack.enter_context(served_in(tmp_path_factory.mktemp("interfaces"), case))
            return opened[case]

        yield serve


Arguments = Mapping[str, Any]
"""Arguments of a question, by their names in Python."""

OPTIONS = ("n", "rank_by", "diversity")
FILTERED = (*OPTIONS, "where", "min_support")


def selected(arguments: Arguments, *names: str) -> dict[str, Any]:
    """The arguments of these names that are present; without names, the options of lists."""
    return {name: arguments[name] for name in names or OPTIONS if name in arguments}


def python_answer(work: Callable[[], Any]) -> Any:
    """Return the answer of Python."""
    try:
        return work()
    except UnknownIdError as error:
        return RejectedRow("unknown id", str(error))
    except KindError as error:
        return RejectedRow("not possible", str(error))
    except (DataError, ParameterError) as error:
        return RejectedRow("bad value", str(error))


@cache
def command() -> Any:
    return typer.main.get_command(app)


def printed(*arguments: Any) -> str | RejectedRow:
    """What the command line prints."""
    out, messages, code = io.StringIO(), io.StringIO(), 0
    with redirect_stdout(out), redirect_stderr(messages):
        try:
            command()([str(argument) for argument in arguments], prog_name="cofactor")
        except SystemExit as end:
            code = int(end.code or 0)
    if code:
        assert code == 2, messages.getvalue()
        assert out.getvalue() == ""
        return RejectedRow(None, " ".join(messages.getvalue().split()))
    return out.getvalue()


def cli_answer(*arguments: Any) -> Any:
    """What the command line prints as JSON."""
    return of(printed(*arguments, "--json"), json.loads)


def http_answer(response: Response) -> Any:
    """Return the answer of the service."""
    answer = response.json()
    if response.is_success:
        return answer
    reasons = {404: "unknown id", 409: "not possible", 422: "bad value"}
    return RejectedRow(reasons[response.status_code], answer["detail"])


def of(answer: Any, form: Callable[[Any], Any]) -> Any:
    """An answer in the common form; a rejection as it is."""
    return answer if isinstance(answer, RejectedRow) else form(answer)


def options(values: Arguments) -> list[Any]:
    """Options of the command line."""
    return [part for name, value in values.items() for part in (f"--{name.replace('_', '-')}", value)]


# Operations, each in the interfaces that have it


def post(served: Served, path: str, body: Mapping[str, Any]) -> Any:
    content = json.dumps(body)  # may hold NaN, which httpx rejects
    return http_answer(served.client.post(path, content=content, headers={"Content-Type": "application/json"}))


def get(served: Served, path: str, **parameters: Any) -> Any:
    return http_answer(served.client.get(path, params=parameters))


def listed(answer: Any) -> Any:
    return of(answer, lambda body: places(body["items"]))


def framed(work: Callable[[], pl.DataFrame], with_user: bool = False) -> Any:
    return of(python_answer(work), lambda frame: places(frame.to_dicts(), with_user))


class List:
    """The list of a user: user, n, by, diversity."""

    def python(self, served: Served, arguments: Arguments) -> Any:
        return framed(lambda: served.rec.recommend(served.user(arguments["user"]), **selected(arguments)))

    def cli(self, served: Served, arguments: Arguments) -> Any:
        named = ["--user", served.user(arguments["user"]), *options(selected(arguments))]
        return of(cli_answer("recommend", served.path, *named), places)

    def post(self, served: Served, arguments: Arguments) -> Any:
        body = {"user": served.user(arguments["user"]), **selected(arguments), "log": False}
        return listed(post(served, "/v1/recommendations", body))

    def get(self, served: Served, arguments: Arguments) -> Any:
        """A list with options has no GET: it is requested with POST."""
        if selected(arguments, "rank_by", "diversity"):
            return self.post(served, arguments)
        user = served.user(arguments["user"])
        return listed(get(served, "/v1/recommendations", user=user, **selected(arguments, "n"), log=False))


class Lists:
    """The lists of several users: users, n, by, diversity."""

    def python(self, served: Served, arguments: Arguments) -> Any:
        users = [served.user(user) for user in arguments["users"]]
        return framed(lambda: served.rec.recommend(users, **selected(arguments)), with_user=True)

    def cli(self, served: Served, arguments: Arguments) -> Any:
        users = [part for user in arguments["users"] for part in ("--user", served.user(user))]
        response = cli_answer("recommend", served.path, *users, *options(selected(arguments)))
        return of(response, lambda rows: places(rows, with_user=True))

    def http(self, served: Served, arguments: Arguments) -> Any:
        body = {"users": [served.user(user) for user in arguments["users"]], **selected(arguments)}
        return of(post(served, "/v1/recommendations/batch", body), self.flat)

    @staticmethod
    def flat(response: Any) -> Any:
        return [(user_list["user"], place) for user_list in response["lists"] for place in places(user_list["items"])]


class EveryList(Lists):
    """The lists of all users: n."""

    def python(self, served: Served, arguments: Arguments) -> Any:
        return framed(lambda: served.rec.recommend_all(**selected(arguments)), with_user=True)

    def cli(self, served: Served, arguments: Arguments) -> Any:
        response = cli_answer("recommend", served.path, "--all", *options(selected(arguments)))
        return of(response, lambda rows: places(rows, with_user=True))

    def http(self, served: Served, arguments: Arguments) -> Any:
        users = served.rec.users.all.to_list()
        return of(post(served, "/v1/recommendations/batch", {"users": users, **selected(arguments)}), self.flat)


class ListWithSeen:
    """The list of a user with the items that the user has seen: user, n. HTTP does not have it."""

    def python(self, served: Served, arguments: Arguments) -> Any:
        user = served.user(arguments["user"])
        return framed(lambda: served.rec.recommend(user, exclude_seen=False, **selected(arguments)))

    def cli(self, served: Served, arguments: Arguments) -> Any:
        named = ["--user", served.user(arguments["user"]), "--include-seen", *options(selected(arguments))]
        return of(cli_answer("recommend", served.path, *named), places)


class ListOfGenre:
    """The list of a user of the items of a genre: user, genre, and items to leave out."""

    def python(self, served: Served, arguments: Arguments) -> Any:
        out = [served.item(item) for item in arguments["exclude"]]
        items = [served.ids.item(n) for n in range(N_ITEMS) if GENRES[n % 3] == arguments["genre"]]
        wanted = [item for item in items if item not in out]
        return framed(
            lambda: served.rec.recommend(
                served.user(arguments["user"]), candidates=wanted, **selected(arguments, "n", "diversity")
            )
        )

    def cli(self, served: Served, arguments: Arguments) -> Any:
        return FilteredList().cli(served, self.filters(arguments))

    def http(self, served: Served, arguments: Arguments) -> Any:
        return FilteredList().http(served, self.filters(arguments))

    @staticmethod
    def filters(arguments: Arguments) -> dict[str, Any]:
        return {**arguments, "where": f"genre = '{arguments['genre']}'"}


class FilteredList:
    """The list of a user with filters: user, n, where, min_support, exclude."""

    def python(self, served: Served, arguments: Arguments) -> Any:
        user, exclude = served.user(arguments["user"]), [served.item(item) for item in arguments.get("exclude", ())]
        return framed(lambda: served.rec.recommend(user, exclude=exclude, **selected(arguments, *FILTERED)))

    def cli(self, served: Served, arguments: Arguments) -> Any:
        exclude = [part for item in arguments.get("exclude", ()) for part in ("--exclude", served.item(item))]
        filters = [*exclude, *options(selected(arguments, *FILTERED))]
        return of(cli_answer("recommend", served.path, "--user", served.user(arguments["user"]), *filters), places)

    def http(self, served: Served, arguments: Arguments) -> Any:
        exclude = [served.item(item) for item in arguments.get("exclude", ())]
        body = {"user": served.user(arguments["user"]), "exclude": exclude, **selected(arguments, *FILTERED)}
        return listed(post(served, "/v1/recommendations", body | {"log": False}))


def pairs(served: Served, history: Any) -> list[Any]:
    """A history as Python takes it: pairs, or items of a model of events."""
    return [(served.item(item), value) if value is not None else served.item(item) for item, value in history]


def typed(served: Served, history: Any) -> list[Any]:
    """A history on the command line."""
    return [
        part
        for item, value in history
        for part in (
            ("--rated", f"{served.item(item)}={value}") if value is not None else ("--item", served.item(item))
        )
    ]


def sent(served: Served, history: Any) -> list[Any]:
    """A history over HTTP."""
    return [
        {"item": served.item(item)} if value is None else {"item": served.item(item), "value": value}
        for item, value in history
    ]


class NewUserList:
    """The list of a new user: history, n, by, diversity. The command line needs a history."""

    def python(self, served: Served, arguments: Arguments) -> Any:
        return framed(
            lambda: served.rec.for_history(pairs(served, arguments["history"])).recommend(**selected(arguments))
        )

    def cli(self, served: Served, arguments: Arguments) -> Any:
        named = [*typed(served, arguments["history"]), *options(selected(arguments))]
        return of(cli_answer("recommend", served.path, *named), places)

    def http(self, served: Served, arguments: Arguments) -> Any:
        body = {"history": sent(served, arguments["history"]), **selected(arguments)}
        return listed(post(served, "/v1/recommendations", body))


class NewUserCounts:
    """The list of a new user who took items several times, or dislikes them. The command line takes items once."""

    def python(self, served: Served, arguments: Arguments) -> Any:
        return NewUserList().python(served, arguments)

    def http(self, served: Served, arguments: Arguments) -> Any:
        return NewUserList().http(served, arguments)


class NoHistoryList:
    """The list of a user of whom nothing is known: n, by, diversity. The command line needs a history."""

    def python(self, served: Served, arguments: Arguments) -> Any:
        return framed(lambda: served.rec.for_history([]).recommend(**selected(arguments)))

    def history(self, served: Served, arguments: Arguments) -> Any:
        return listed(post(served, "/v1/recommendations", {"history": [], **selected(arguments)}))

    def user(self, served: Served, arguments: Arguments) -> Any:
        body = {"user": "somebody unknown", **selected(arguments), "log": False}
        return listed(post(served, "/v1/recommendations", body))


class AgedUserList:
    """The list of a new user of an age and without a history: user, age, n. A prior by age counts."""

    def python(self, served: Served, arguments: Arguments) -> Any:
        return framed(
            lambda: served.rec.for_history([], user_features={"age": arguments["age"]}).recommend(
                **selected(arguments, "n")
            )
        )

    def cli(self, served: Served, arguments: Arguments) -> Any:
        named = ["--user-features", f"age={arguments['age']}", *options(selected(arguments, "n"))]
        return of(cli_answer("recommend", served.path, *named), places)

    def http(self, served: Served, arguments: Arguments) -> Any:
        user = {"user": served.user(arguments["user"]), "metadata": {"age": arguments["age"]}}
        assert served.client.put("/v1/users", json=user).is_success
        return listed(post(served, "/v1/recommendations", {"user": user["user"], **selected(arguments, "n")}))


def later_times(history: Any) -> list[int]:
    """One time for each entry of a history, in order, after all times of the table."""
    return [1_700_000_000 + 60 * position for position in range(len(history))]


def send_events(served: Served, user: Any, history: Any, kind: Kind) -> RejectedRow | None:
    """Send events to the service; return the first rejection."""
    for time, (item, value) in zip(later_times(history), history, strict=True):
        body = {"user": user, "item": served.item(item), "kind": "rating" if kind == "ratings" else "event"}
        body["time"] = time
        stored = post(served, "/v1/events", body | ({} if value is None else {"value": value}))
        if isinstance(stored, RejectedRow):
            return stored
    return None


def updated(served: Served, user: Any, history: Any) -> Recommender:
    """The recommender after these events of a user."""
    items = [served.item(item) for item, _ in history]
    values = [1.0 if value is None else value for _, value in history]
    new = Interactions.from_columns(
        [user] * len(items), items, values, times=later_times(history), kind=served.rec.kind
    )
    return served.rec.updated(new)


class LaterList:
    """The list of a user after new events: user, history, n. A user who is new, too, where `new`."""

    def python(self, served: Served, arguments: Arguments) -> Any:
        user = served.user(arguments["user"])
        return framed(lambda: updated(served, user, arguments["history"]).recommend(user, **selected(arguments)))

    def http(self, served: Served, arguments: Arguments) -> Any:
        user = served.user(arguments["user"])
        if rejected_row := send_events(served, user, arguments["history"], served.rec.kind):
            return rejected_row
        return listed(post(served, "/v1/recommendations", {"user": user, **selected(arguments), "log": False}))


class NewUserLaterList(LaterList):
    """The list of a new user after events, which is that of a history: user, history, n."""

    def history(self, served: Served, arguments: Arguments) -> Any:
        return NewUserList().python(served, arguments)

    def cli(self, served: Served, arguments: Arguments) -> Any:
        return NewUserList().cli(served, arguments)


class LowRatingList:
    """The list of a user of a model of events after a low rating: user, item. The command line learns nothing."""

    def python(self, served: Served, arguments: Arguments) -> Any:
        user, item = served.user(arguments["user"]), served.item(arguments["item"])
        held = served.table.frame().filter(user=user)["item"][0]
        new = Interactions.from_columns([user, user], [held, item], [5, 1]).to_events(min_rating=4)
        assert new.seen is not None
        only_low = new.select(np.zeros(len(new), bool))
        return framed(lambda: served.rec.updated(only_low).recommend(user, n=N_ITEMS))

    def http(self, served: Served, arguments: Arguments) -> Any:
        user = served.user(arguments["user"])
        assert send_events(served, user, [(arguments["item"], 1.0)], "ratings") is None
        return listed(post(served, "/v1/recommendations", {"user": user, "n": N_ITEMS, "log": False}))


class Prediction:
    """The expected rating of a pair: user, item."""

    def python(self, served: Served, arguments: Arguments) -> Any:
        return python_answer(lambda: served.rec.predict(served.user(arguments["user"]), served.item(arguments["item"])))

    def cli(self, served: Served, arguments: Arguments) -> Any:
        named = ["--user", served.user(arguments["user"]), "--item", served.item(arguments["item"])]
        return of(cli_answer("predict", served.path, *named), lambda rows: rows[0]["prediction"])

    def http(self, served: Served, arguments: Arguments) -> Any:
        response = get(
            served, "/v1/predictions", user=served.user(arguments["user"]), item=served.item(arguments["item"])
        )
        return of(response, lambda answer: answer["prediction"])


class Predictions:
    """The expected ratings of many pairs: users, items."""

    def python(self, served: Served, arguments: Arguments) -> Any:
        users, items = [*map(served.user, arguments["users"])], [*map(served.item, arguments["items"])]
        return of(python_answer(lambda: served.rec.predict(users, items)), lambda frame: frame["prediction"].to_list())

    def cli(self, served: Served, arguments: Arguments) -> Any:
        users, items = map(served.user, arguments["users"]), map(served.item, arguments["items"])
        path = served.path.with_name("pairs.csv")
        pl.DataFrame({"user": [*users], "item": [*items]}).write_csv(path)
        response = cli_answer("predict", served.path, "--pairs", path)
        return of(response, lambda rows: [row["prediction"] for row in rows])

    def http(self, served: Served, arguments: Arguments) -> Any:
        return [
            Prediction().http(served, {"user": user, "item": item})
            for user, item in zip(arguments["users"], arguments["items"], strict=True)
        ]


class TimedPredictions:
    """The expected ratings of a user at times: user, items, times. HTTP predicts for now."""

    def python(self, served: Served, arguments: Arguments) -> Any:
        user, items = served.user(arguments["user"]), [*map(served.item, arguments["items"])]
        response = python_answer(lambda: served.rec.predict(user, items, times=arguments["times"]))
        return of(response, lambda frame: frame["prediction"].to_list())

    def cli(self, served: Served, arguments: Arguments) -> Any:
        items = [*map(served.item, arguments["items"])]
        path = served.path.with_name("timed.csv")
        columns = {"user": [served.user(arguments["user"])] * len(items), "item": items, "when": arguments["times"]}
        pl.DataFrame(columns).write_csv(path)
        response = cli_answer("predict", served.path, "--pairs", path, "--time-column", "when")
        return of(response, lambda rows: [row["prediction"] for row in rows])


class Explanation:
    """Why an item has its score: user, item, method."""

    def python(self, served: Served, arguments: Arguments) -> Any:
        user, item = served.user(arguments["user"]), served.item(arguments["item"])
        return python_explanation(served.rec, user, item, arguments["method"])

    def cli(self, served: Served, arguments: Arguments) -> Any:
        user, item, method = served.user(arguments["user"]), served.item(arguments["item"]), arguments["method"]
        return of(cli_answer("explain", served.path, user, item, "--method", method), explained(method))

    def http(self, served: Served, arguments: Arguments) -> Any:
        user, item, method = served.user(arguments["user"]), served.item(arguments["item"]), arguments["method"]
        return of(get(served, "/v1/explanations", user=user, item=item, method=method), explained(method))


class LaterExplanation:
    """Why an item has its score after new events of the user: user, history, item, method."""

    def python(self, served: Served, arguments: Arguments) -> Any:
        user, item = served.user(arguments["user"]), served.item(arguments["item"])
        rec = updated(served, user, arguments["history"])
        return python_explanation(rec, user, item, arguments["method"])

    def http(self, served: Served, arguments: Arguments) -> Any:
        assert send_events(served, served.user(arguments["user"]), arguments["history"], served.rec.kind) is None
        return Explanation().http(served, arguments)


def python_explanation(rec: Recommender, user: Any, item: Any, method: Any) -> Any:
    frame = python_answer(lambda: rec.explain(user, item, method=method))
    rows_name = "effects" if method == "removal" else "parts"
    score = python_answer(lambda: rec.for_users(user).score(item))
    return of(frame, lambda rows: explained(method)({"score": score, rows_name: rows.to_dicts()}))


def explained(method: str) -> Callable[[Any], Any]:
    """The score and the effects or contributions of an answer."""
    if method == "contribution":
        return lambda answer: (answer["score"], parts(answer["parts"]))
    return lambda answer: (answer["score"], [(str(e["item"]), e["value"], e["effect"]) for e in answer["effects"]])


class Similar:
    """Similar items: item, n."""

    def python(self, served: Served, arguments: Arguments) -> Any:
        return framed(lambda: served.rec.similar_items(served.item(arguments["item"]), **selected(arguments, "n")))

    def cli(self, served: Served, arguments: Arguments) -> Any:
        named = ["--item", served.item(arguments["item"]), *options(selected(arguments, "n"))]
        return of(cli_answer("similar", served.path, *named), places)

    def http(self, served: Served, arguments: Arguments) -> Any:
        return listed(get(served, "/v1/items/similar", item=served.item(arguments["item"]), **selected(arguments, "n")))


class SimilarUsers:
    """Similar users: user, n. HTTP does not name users."""

    def python(self, served: Served, arguments: Arguments) -> Any:
        response = python_answer(
            lambda: served.rec.similar_users(served.user(arguments["user"]), **selected(arguments, "n"))
        )
        return of(response, lambda frame: [(str(user), rank, score) for user, rank, score in frame.rows()])

    def cli(self, served: Served, arguments: Arguments) -> Any:
        named = ["--user", served.user(arguments["user"]), *options(selected(arguments, "n"))]
        response = cli_answer("similar", served.path, *named)
        return of(response, lambda rows: [(row["user"], row["rank"], row["score"]) for row in rows])


class QuestionnaireItems:
    """The items of the questions to a new user who gives these answers: answers."""

    def python(self, served: Served, arguments: Arguments) -> Any:
        def next_items() -> list[str]:
            questions, names = served.rec.for_history([]).questions(), list[str]()
            for answer in arguments["answers"]:
                item = questions.next_item()
                assert item is not None
                title = None if served.rec.titles is None else served.rec.titles[served.rec.items.row(item)]
                names.append(title or str(item))
                questions = questions.with_answer(item, answer)
            return names

        return python_answer(next_items)

    def cli(self, served: Served, arguments: Arguments) -> Any:
        lines = "".join("?\n" if answer is None else f"{answer}\n" for answer in arguments["answers"])
        with patch("sys.stdin", io.StringIO(lines)):
            response = printed("onboard", served.path, "--questions", len(arguments["answers"]))
        return of(response, lambda text: re.findall(r"^\d+\. (.*): $", text, re.MULTILINE))

    def http(self, served: Served, arguments: Arguments) -> Any:
        answers: list[dict[str, Any]] = []
        names = []
        for answer in arguments["answers"]:
            response = post(served, "/v1/onboarding", {"answers": answers})
            if isinstance(response, RejectedRow):
                return response
            names.append(response["title"] or response["item"])
            answers.append({"item": response["item"], "value": answer})
        return names


class UnknownOption:
    """A list with an option that does not exist: Python's own TypeError names it."""

    def python(self, served: Served, arguments: Arguments) -> Any:
        try:
            recommend: Any = served.rec.recommend
            recommend(served.user(arguments["user"]), **{arguments["option"]: 1})
        except TypeError as error:
            return RejectedRow("bad value", str(error))
        return None

    def cli(self, served: Served, arguments: Arguments) -> Any:
        return cli_answer(
            "recommend", served.path, "--user", served.user(arguments["user"]), f"--{arguments['option']}", 1
        )

    def post(self, served: Served, arguments: Arguments) -> Any:
        return post(served, "/v1/recommendations", {"user": served.user(arguments["user"]), arguments["option"]: 1})

    def get(self, served: Served, arguments: Arguments) -> Any:
        return get(served, "/v1/recommendations", user=served.user(arguments["user"]), **{arguments["option"]: 1})


# The questions


def ranker_of(rec: Recommender) -> Any:
    """The model that ranks and compares items."""
    return getattr(rec.model, "ranker", rec.model)


def no_distribution(rec: Recommender) -> bool:
    return not isinstance(ranker_of(rec), HasUncertainty)


def no_item_vectors(rec: Recommender) -> bool:
    return not hasattr(ranker_of(rec), "similar_items") or getattr(ranker_of(rec), "factors", None) == 0


def no_user_vectors(rec: Recommender) -> bool:
    return not hasattr(ranker_of(rec), "similar_users") or getattr(ranker_of(rec), "factors", None) == 0


def no_questions(rec: Recommender) -> bool:
    """Whether there are no factors of ratings."""
    model = getattr(rec.model, "rating_model", rec.model)
    model = getattr(model, "average", model)  # that of a posterior
    return rec.kind == "events" or getattr(model, "factors", 0) == 0


ADAPTERS = ("python", "cli", "http", "post", "get", "history", "user")
"""Methods of an operation: the interfaces, and several routes of one interface."""


@dataclass(frozen=True)
class Question:
    """A row of the table.

    operation: with a method for each interface. arguments: of the operation. rejection: the reason why all interfaces
    reject it, None for an answer. match: a pattern in each message. impossible: whether it is "not possible" for a
    recommender. kinds: of models to which the question applies.
    """

    name: str
    operation: Any
    arguments: Mapping[str, Any] = field(default_factory=dict)
    rejection: str | None = None
    match: str = ""
    impossible: Callable[[Recommender], bool] = lambda _: False
    kinds: tuple[Kind, ...] = ("ratings", "events")
    only: Callable[[Case], bool] = lambda _: True

    def suits(self, case: Case) -> bool:
        """Whether the question applies to a model of this case."""
        return case.kind in self.kinds and self.only(case)

    def reason(self, case: Case) -> str | None:
        """Why it is rejection, None for an answer."""
        return "not possible" if self.impossible(case.fit()[1]) else self.rejection

    def check(self, served: Served) -> None:
        """Call every interface that has the operation, and compare the answers."""
        reason = self.reason(served.case)
        adapters = {
            name: getattr(self.operation, name) for name in ADAPTERS if getattr(self.operation, name, None) is not None
        }
        answers = {name: adapter(served, self.arguments) for name, adapter in adapters.items()}
        assert len(answers) >= 2
        for name, answer in answers.items():
            if reason is None:
                assert not isinstance(answer, RejectedRow), (name, answer)
                assert same(answers["python"], answer), (name, answer, answers["python"])
            else:
                assert isinstance(answer, RejectedRow), (name, answer)
                assert answer.reason in (reason, None), (name, answer)
                assert re.search(self.match, answer.message), (name, answer)


RATINGS: tuple[Kind, ...] = ("ratings",)
EVENTS: tuple[Kind, ...] = ("events",)
LIKED, TAKEN = [(1, 5), (2, 1), (8, 4)], [(1, None), (8, None)]
OFF = r"is {}, which is not on the rating scale of 1 to 5 with levels 1, 2, 3, 4, 5"


def integer_ids(case: Case) -> bool:
    return case.integer_ids


def text_ids(case: Case) -> bool:
    return not case.integer_ids


def with_priors(case: Case) -> bool:
    return case.priors


def without_priors(case: Case) -> bool:
    return not case.priors


# fmt: off
QUESTIONS = [
    # lists of known users
    Question("a known user", List(), {"user": 2}),
    Question("n beyond the catalog", List(), {"user": 5, "n": 1_000}),
    Question("n of 1", List(), {"user": 5, "n": 1}),
    Question("a user whose neighbors run out", List(), {"user": 33, "n": N_ITEMS}),
    Question("a user with low ratings", List(), {"user": 1, "n": N_ITEMS}),
    Question("a known user without a row", List(), {"user": LONELY, "n": N_ITEMS}),
    Question("several users", Lists(), {"users": [7, 2, 33], "n": 4}),
    Question("all users", EveryList(), {"n": 3}),
    Question("with what was seen", ListWithSeen(), {"user": 2, "n": N_ITEMS}),
    Question("among a genre", ListOfGenre(), {"user": 4, "genre": "war", "exclude": [], "n": 4}),
    Question("among a genre without two items", ListOfGenre(), {"user": 4, "genre": "drama", "exclude": [1, 7]}),
    Question("lower", List(), {"user": 6, "rank_by": "lower"}, impossible=no_distribution, match="distribution"),
    Question("upper", List(), {"user": 6, "rank_by": "upper"}, impossible=no_distribution, match="distribution"),
    Question("diverse", List(), {"user": 6, "diversity": 0.5}, impossible=no_item_vectors, match="vectors"),
    Question("diverse and cautious", Lists(), {"users": [6, 8], "rank_by": "lower", "diversity": 0.3},
             impossible=no_distribution, match="distribution"),
    # filters
    *(Question(f"filters {number}", FilteredList(), {"user": 4, "n": N_ITEMS, **filters})
      for number, filters in enumerate([
          {"where": 'genre != "war" and (year between 1980 and 1989 or title contains "1")'},
          {"where": 'parts contains "new" and not parts contains "long" or year is missing'},
          {"where": 'released >= "1985" and released < "1990-06"'},
          {"where": "price < 7.5 or price is missing"},
          {"where": "title is missing"},
          {"min_support": 12}, {"min_support": 0}, {"min_support": 10_000},
          {"exclude": [1, 7, 7]},
          {"where": 'genre is missing or genre = "drama"', "min_support": 5, "exclude": [4]},
      ])),
    Question("exclude an unknown item", FilteredList(), {"user": 4, "exclude": [1, Raw("jaws")]}, only=text_ids),
    Question("exclude an unknown number", FilteredList(), {"user": 4, "exclude": [1, Raw(7)]}, only=integer_ids),
    *(Question(f"the filter {where[:20]}", FilteredList(), {"user": 3, "where": where}, "bad value", match=match)
      for where, match in {
          "(": "the where expression, character 2",
          "year >": "character 7", "genre = 'war": "character 9", "yeaar > 1": "'year'",
          "year = 'x'": "'year' contains numbers", "genre < 3": "'genre' contains strings", "(" * 60: "nested",
          "year = 1 or " * 200: "2,?000", "item = 1": "unknown column 'item'", "__import__('os')": "character 11",
      }.items()),
    *(Question(f"min_support of {value}", FilteredList(), {"user": 3, "min_support": value}, "bad value",
               match="min.support") for value in (-1, 1.5, "many", True)),
    # lists of new users
    Question("a new user who rated", NewUserList(), {"history": LIKED, "n": N_ITEMS}, kinds=RATINGS),
    Question("a new user who took", NewUserList(), {"history": TAKEN, "n": N_ITEMS}, kinds=EVENTS),
    Question("a new user, cautious", NewUserList(), {"history": LIKED, "rank_by": "lower"}, kinds=RATINGS,
             impossible=no_distribution, match="distribution"),
    Question("a new user, diverse", NewUserList(), {"history": TAKEN, "diversity": 1}, kinds=EVENTS,
             impossible=no_item_vectors, match="vectors"),
    Question("a new user who rated an item without events", NewUserList(), {"history": [(UNRATED, 4)]}, kinds=RATINGS),
    Question("a new user who took an item without events", NewUserList(), {"history": [(UNRATED, None)]}, kinds=EVENTS),
    Question("a new user who took items twice", NewUserCounts(), {"history": [(1, 2), (8, 0.5)]}, kinds=EVENTS),
    Question("a new user who dislikes an item", NewUserCounts(), {"history": [(1, 1), (8, -1)]}, kinds=EVENTS),
    Question("a user without a history", NoHistoryList(), {"n": N_ITEMS}),
    Question("a user without a history, one item", NoHistoryList(), {"n": 1}),
    Question("a user without a history, cautious", NoHistoryList(), {"rank_by": "lower"}, impossible=no_distribution,
             match="distribution"),
    Question("a user without a history, diverse", NoHistoryList(), {"diversity": 0.5}, impossible=no_item_vectors,
             match="vectors"),
    Question("a new user of an age", AgedUserList(), {"user": Raw(4003), "age": 55, "n": N_ITEMS}, only=with_priors),
    # lists after new events
    Question("a known user after ratings", LaterList(), {"user": 9, "history": [(0, 1), (23, 5)]}, kinds=RATINGS),
    Question("a known user after events", LaterList(), {"user": 9, "history": [(0, None), (12, 2)]}, kinds=EVENTS),
    Question("a user without a row after a rating", LaterList(), {"user": LATE, "history": [(4, 5)]}, kinds=RATINGS),
    Question("a new user after ratings", NewUserLaterList(), {"user": Raw(4001), "history": LIKED}, kinds=RATINGS),
    Question("a new user after events", NewUserLaterList(), {"user": Raw(4001), "history": TAKEN}, kinds=EVENTS),
    Question("a user after a low rating", LowRatingList(), {"user": 10, "item": 17}, kinds=EVENTS),
    # predictions
    Question("the prediction of a pair", Prediction(), {"user": 2, "item": 11}),
    Question("the prediction of a rated pair", Prediction(), {"user": 0, "item": DISLIKED}),
    Question("the prediction of an item without events", Prediction(), {"user": 3, "item": UNRATED}),
    Question("the prediction of a user without a row", Prediction(), {"user": LONELY, "item": 3}),
    Question("the prediction of an unknown user", Prediction(), {"user": Raw("nobody"), "item": 3}),
    Question("predictions of many pairs", Predictions(), {"users": [0, 33, 17, 18], "items": [5, 6, 5, 6]}),
    Question("predictions at times", TimedPredictions(),
             {"user": 2, "items": [1, 11, 17], "times": [1_600_000_000, 1_600_000_000, 1_900_000_000]}),
    # explanations
    Question("an explanation", Explanation(), {"user": 2, "item": 11, "method": "removal"}),
    Question("contributions", Explanation(), {"user": 2, "item": 11, "method": "contribution"}),
    Question("an explanation of a rated item", Explanation(), {"user": 0, "item": 0, "method": "removal"}),
    Question("an explanation across groups", Explanation(), {"user": 33, "item": 2, "method": "contribution"}),
    Question("an explanation after ratings", LaterExplanation(), {"user": Raw(4002), "history": LIKED, "item": 3,
             "method": "removal"}, kinds=RATINGS),
    Question("an explanation after events", LaterExplanation(), {"user": Raw(4002), "history": TAKEN, "item": 3,
             "method": "removal"}, kinds=EVENTS),
    Question("contributions after ratings", LaterExplanation(), {"user": Raw(4002), "history": LIKED, "item": 3,
             "method": "contribution"}, kinds=RATINGS),
    Question("an explanation of an unknown user", Explanation(),
             {"user": Raw("nobody"), "item": 3, "method": "removal"}, "unknown id", match="user 'nobody'",
             only=without_priors),
    Question("an explanation of an unknown item", Explanation(), {"user": 3, "item": Raw("jaws"), "method": "removal"},
             "unknown id", match="item 'jaws'"),
    # similar items and users, and questions to new users
    Question("similar items", Similar(), {"item": 4, "n": 5}, impossible=no_item_vectors, match="vectors"),
    Question("all similar items", Similar(), {"item": 20, "n": 500}, impossible=no_item_vectors, match="vectors"),
    Question("similar to an item without events", Similar(), {"item": UNRATED}, impossible=no_item_vectors,
             match="vectors"),
    Question("similar to a disliked item", Similar(), {"item": DISLIKED}, impossible=no_item_vectors, match="vectors"),
    Question("similar to an unknown item", Similar(), {"item": Raw("jaws")}, "unknown id", match="item 'jaws'"),
    Question("similar users", SimilarUsers(), {"user": 4, "n": 5}, impossible=no_user_vectors, match="vectors"),
    Question("the questions to a new user", QuestionnaireItems(), {"answers": [4, None, 2, 5]}, impossible=no_questions,
             match="factors|ratings"),
    # ids
    Question("a user named by a text", List(), {"user": Raw("17")}, only=integer_ids),
    Question("a user named by an integer", List(), {"user": Raw(17)}, only=text_ids),
    Question("a user with a leading zero", List(), {"user": Raw("017")}, only=text_ids),
    Question("no user with a leading zero", Explanation(), {"user": Raw("017"), "item": 3, "method": "removal"},
             "unknown id", match="user '017'", only=lambda case: case.integer_ids and not case.priors),
    Question("an item named by a text", Similar(), {"item": Raw("105")}, only=integer_ids, impossible=no_item_vectors),
    Question("an item named by an integer", Similar(), {"item": Raw(5)}, only=text_ids, impossible=no_item_vectors),
    Question("no item with a leading zero", Similar(), {"item": Raw("0105")}, "unknown id", match="item '0105'",
             only=integer_ids),
    Question("a history of items named by texts", NewUserList(), {"history": [(Raw("105"), 4), (Raw("103"), 2)]},
             only=integer_ids, kinds=RATINGS),
    Question("a history of an item named by an integer", NewUserList(), {"history": [(Raw(5), None)]}, only=text_ids,
             kinds=EVENTS),
    # rejections
    *(Question(f"n of {n}", List(), {"user": 3, "n": n}, "bad value", match=r"\bn\b")
      for n in (0, -1, 1.5, "ten", "", True)),
    *(Question(f"similar items, n of {n}", Similar(), {"item": 4, "n": n}, "bad value", match=r"\bn\b")
      for n in (0, 2.5)),
    *(Question(f"a rating of {value:g}", NewUserList(), {"history": [(1, 5), (2, value)]}, "bad value",
               match=OFF.format(re.escape(f"{value:.7g}")), kinds=RATINGS)
      for value in (99, -7, 4.5, 0, 5.001, 1e8)),
    *(Question(f"an event with a rating of {value}", LaterList(), {"user": 11, "history": [(4, value)]}, "bad value",
               match=OFF.format(re.escape(str(value))), kinds=RATINGS)
      for value in (99, -7, 4.5)),
    *(Question(f"a rating of {value}", NewUserList(), {"history": [(1, 5), (2, value)]}, "bad value",
               match=f"is {value}|finite", kinds=RATINGS)
      for value in (float("nan"), float("inf"))),
    Question("an item twice in a history of ratings", NewUserList(), {"history": [(1, 5), (2, 3), (1, 5)]},
             "bad value", match="twice|unique", kinds=RATINGS),
    Question("an item twice in a history of events", NewUserList(), {"history": [(1, None), (1, None)]},
             "bad value", match="twice|unique", kinds=EVENTS),
    Question("a history without ratings", NewUserList(), {"history": [(1, None), (2, None)]}, "bad value",
             match="rating", kinds=RATINGS),
    Question("an unknown order", List(), {"user": 3, "rank_by": "luck"}, "bad value", match="rank.by.*lower"),
    *(Question(f"diversity of {share}", List(), {"user": 3, "diversity": share}, "bad value", match="diversity")
      for share in (2, -0.1, float("nan"), "much")),
    *(Question(f"the option {option}", UnknownOption(), {"user": 3, "option": option}, "bad value", match=option)
      for option in ("offset", "exclude_sen")),
]
# fmt: on


# Documented differences: docs/service.md, "What differs from Python"


def an_unknown_user_is_answered_as_a_new_user(served: Served) -> None:
    """Python and the command line reject an unknown user, and name the call for new users."""
    arguments = {"user": Raw("nobody"), "n": N_ITEMS}
    for rejected_row in (List().python(served, arguments), List().cli(served, arguments)):
        assert rejected_row.reason in ("unknown id", None)
        assert re.search(r"user 'nobody' .* new", rejected_row.message)
    assert same(List().get(served, arguments), NoHistoryList().python(served, arguments))


def an_unknown_user_is_explained_by_the_prior(served: Served) -> None:
    """Where the model has no prior, HTTP rejects the user as Python does: see QUESTIONS."""
    arguments = {"user": Raw("nobody"), "item": 3, "method": "contribution"}
    assert Explanation().python(served, arguments).reason == "unknown id"
    score, terms = Explanation().http(served, arguments)
    scores = {place.item: place.score for place in NoHistoryList().python(served, {"n": N_ITEMS})}
    assert same(score, scores[str(served.ids.item(3))])
    assert [part[0] for part in terms] == ["mean", "user", "item", "not attributed"]


def an_unknown_item_has_no_prediction(served: Served) -> None:
    """Python and the command line predict the average level."""
    arguments = {"user": 2, "item": Raw("jaws")}
    assert Prediction().python(served, arguments) == served.rec.predict(served.ids.user(2), "another unknown item")
    assert same(Prediction().python(served, arguments), Prediction().cli(served, arguments))
    assert Prediction().http(served, arguments) == RejectedRow("unknown id", "item 'jaws' is unknown to model 1")


def unknown_items_of_a_history_do_not_count(served: Served) -> None:
    """Python and the command line reject them."""
    history, unknown = (LIKED if served.case.kind == "ratings" else TAKEN), Raw(4005 if served.ids.integer else "jaws")
    arguments = {"history": [*history, (unknown, history[0][1])], "n": N_ITEMS}
    for rejected_row in (NewUserList().python(served, arguments), NewUserList().cli(served, arguments)):
        assert rejected_row.reason in ("unknown id", None)
        assert f"item {unknown.id!r}" in rejected_row.message.replace(f"'{unknown.id}'", repr(unknown.id))
    known_arguments = {"history": history, "n": N_ITEMS}
    assert same(NewUserList().http(served, arguments), NewUserList().python(served, known_arguments))


def an_event_with_an_unknown_item_is_stored(served: Served) -> None:
    """It counts from the training on that learns the item. `updated` rejects it."""
    value = 4.0 if served.case.kind == "ratings" else None
    arguments = {"user": Raw(4004), "history": [(Raw("jaws"), value)], "n": N_ITEMS}
    rejected_row = LaterList().python(served, arguments)
    assert rejected_row.reason == "unknown id"
    assert "item 'jaws'" in rejected_row.message
    assert same(LaterList().http(served, arguments), NoHistoryList().python(served, arguments))


def a_list_has_at_most_1000_items(served: Served) -> None:
    """`max_n` of the service; Python and the command line list the full catalog."""
    arguments = {"user": 5, "n": 1_001}
    assert len(List().python(served, arguments)) == len(List().cli(served, arguments)) == N_ITEMS - 8
    for rejected_row in (List().get(served, arguments), List().post(served, arguments)):
        assert rejected_row.reason == "bad value"
        assert re.search(r"\bn\b.*1000", rejected_row.message)


def similar_users_are_not_named(served: Served) -> None:
    """Parts of an explanation hold items alone."""
    pair = {"user": served.user(2), "item": served.item(11)}
    explanation = get(served, "/v1/explanations", **pair, method="contribution")
    assert {name for part in explanation["parts"] for name in part} == {"part", "item", "value", "term", "title"}
    assert "neighbor" in {part["part"] for part in explanation["parts"]}
    assert "user" in served.rec.explain(**pair, method="contribution").columns


@dataclass(frozen=True)
class Difference:
    """A row of the table of differences: what HTTP answers differently by design."""

    check: Callable[[Served], None]
    suits: Callable[[Case], bool] = lambda _: True

    @property
    def name(self) -> str:
        return self.check.__name__.replace("_", " ")


DIFFERENCES = [
    Difference(an_unknown_user_is_answered_as_a_new_user),
    Difference(an_unknown_user_is_explained_by_the_prior, lambda case: case.priors),
    Difference(an_unknown_item_has_no_prediction),
    Difference(unknown_items_of_a_history_do_not_count),
    Difference(an_event_with_an_unknown_item_is_stored),
    Difference(a_list_has_at_most_1000_items),
    Difference(similar_users_are_not_named, lambda case: case.estimator == "user-knn"),
]


# The law

Row: TypeAlias = Question | Difference
TABLE: list[Row] = [*QUESTIONS, *DIFFERENCES]
ROWS = [(case, row) for case in CASES for row in TABLE if row.suits(case)]


@pytest.mark.parametrize(("case", "row"), ROWS, ids=[f"{case.name}: {row.name}" for case, row in ROWS])
def test_interfaces_agree(serve: Callable[[Case], Served], case: Case, row: Row) -> None:
    """One test function, so that all rows of a model share its fit and its service."""
    row.check(serve(case))


def test_the_table_is_large_enough() -> None:
    """At least 25 questions of every model, and with answers as well as rejections."""
    for case in CASES:
        questions = [question for question in QUESTIONS if question.suits(case)]
        rejected = [question for question in questions if question.reason(case) is not None]
        assert len(questions) >= 25
        assert 10 <= len(rejected) <= len(questions) - 15
    assert {case.estimator for case in CASES} == set(REGISTRY)
