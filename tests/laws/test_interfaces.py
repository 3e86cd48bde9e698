"""Python, the command line and HTTP give the same answer to the same question: a law over every estimator.

QUESTIONS is a table. A row names an operation, its arguments, and what is expected: "answer", or the reason of a
refusal. Each interface has an adapter that translates the row, and every interface that has the operation must give the
same list, prediction, explanation or refusal. The few documented differences are rows of their own, in DIFFERENCES.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
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
        parts = [self.estimator, self.kind, *(str(value) for _, value in self.settings)]
        parts += ["integer ids"] * self.integer_ids + ["priors"] * self.priors
        return "/".join(parts)

    @cache  # noqa: B019 - the cases are few and live as long as the process
    def fit(self) -> tuple[Interactions, Recommender]:
        """The table, and the recommender that learned from it."""
        table = rated(Ids(self.integer_ids), self.kind)
        estimator = small(self.estimator, k=5, shrink=1.0).set_params(**dict(self.settings))
        rec = Recommender.fit(estimator, table)
        return table, rec.with_priors(user_features=["age"]) if self.priors else rec


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
]


# Answers in a common form


class RejectedRow(NamedTuple):
    """A question that was refused. reason: "unknown id", "not possible", "bad value"; None where it is not told."""

    reason: str | None
    message: str


class Place(NamedTuple):
    """A row of a list."""

    item: str
    rank: int
    score: float
    answered_by: str | None
    title: str | None


def places(rows: list[dict[str, Any]], with_user: bool = False) -> list[Any]:
    """Rows of any interface as places, with their user where there are several."""
    found = [
        Place(str(row["item"]), row["rank"], row["score"], row.get("answered_by"), row.get("title")) for row in rows
    ]
    return [(str(row["user"]), place) for row, place in zip(rows, found, strict=True)] if with_user else found


def parts(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Parts of an explanation; users are left out, since HTTP does not name them."""
    texts = [None if row.get("item") is None else str(row["item"]) for row in rows]
    return [
        (row["part"], text, row.get("value"), row["term"], row.get("title"))
        for row, text in zip(rows, texts, strict=True)
    ]


def same(one: Any, other: Any) -> bool:
    """Whether two answers are equal, numbers within a tolerance."""
    if isinstance(one, float) and isinstance(other, float | int):
        return bool(np.isclose(one, other, rtol=1e-5, atol=1e-5))
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


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

    def user(self, given: Any) -> Any:
        return given.id if isinstance(given, Raw) else self.ids.user(given)

    def item(self, given: Any) -> Any:
        return given.id if isinstance(given, Raw) else self.ids.item(given)


@contextmanager
def served_in(folder: Path, case: Case) -> Iterator[Served]:
    """A model saved once: loaded in Python, named on the command line, and promoted in a service with the same rows."""
    table, rec = case.fit()
    settings = ServiceSettings.of({"data": str(folder), "key_cache_seconds": 60.0})
    artifacts = ArtifactRegistry(settings.artifacts)
    with Store.open(settings.url) as store:
        assert table.item_table is not None
        assert table.user_table is not None
        store.items.add_table(table.item_table)
        store.users.add_table(table.user_table)
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


Given = Mapping[str, Any]
"""Arguments of a question, by their names in Python."""

OPTIONS = ("n", "rank_by", "diversity")


def wish(given: Given, *names: str) -> dict[str, Any]:
    """Those of these arguments that are given; without names, the options of lists."""
    return {name: given[name] for name in names or OPTIONS if name in given}


def asked_python(work: Callable[[], Any]) -> Any:
    """What Python answers."""
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
            command()([str(one) for one in arguments], prog_name="cofactor")
        except SystemExit as end:
            code = int(end.code or 0)
    if code:
        assert code == 2, messages.getvalue()
        assert out.getvalue() == ""
        return RejectedRow(None, " ".join(messages.getvalue().split()))
    return out.getvalue()


def asked_cli(*arguments: Any) -> Any:
    """What the command line prints as JSON."""
    return of(printed(*arguments, "--json"), json.loads)


def asked_http(response: Response) -> Any:
    """What the service answers."""
    answer = response.json()
    if response.is_success:
        return answer
    reasons = {404: "unknown id", 409: "not possible", 422: "bad value"}
    return RejectedRow(reasons[response.status_code], answer["detail"])


def of(answer: Any, form: Callable[[Any], Any]) -> Any:
    """An answer in the common form; a refusal as it is."""
    return answer if isinstance(answer, RejectedRow) else form(answer)


def options(values: Given) -> list[Any]:
    """Options of the command line."""
    return [part for name, value in values.items() for part in (f"--{name.replace('_', '-')}", value)]


# Operations, each in the interfaces that have it


def post(served: Served, path: str, body: Mapping[str, Any]) -> Any:
    content = json.dumps(body)  # may hold NaN, which httpx refuses to send
    return asked_http(served.client.post(path, content=content, headers={"Content-Type": "application/json"}))


def get(served: Served, path: str, **parameters: Any) -> Any:
    return asked_http(served.client.get(path, params=parameters))


def listed(answer: Any) -> Any:
    return of(answer, lambda found: places(found["items"]))


def framed(work: Callable[[], pl.DataFrame], with_user: bool = False) -> Any:
    return of(asked_python(work), lambda frame: places(frame.to_dicts(), with_user))


class List:
    """The list of a user: user, n, by, diversity."""

    def python(self, served: Served, given: Given) -> Any:
        return framed(lambda: served.rec.recommend(served.user(given["user"]), **wish(given)))

    def cli(self, served: Served, given: Given) -> Any:
        named = ["--user", served.user(given["user"]), *options(wish(given))]
        return of(asked_cli("recommend", served.path, *named), places)

    def post(self, served: Served, given: Given) -> Any:
        body = {"user": served.user(given["user"]), **wish(given), "log": False}
        return listed(post(served, "/v1/recommendations", body))

    def get(self, served: Served, given: Given) -> Any:
        """A list with options has no GET: it is asked for with POST."""
        if wish(given, "rank_by", "diversity"):
            return self.post(served, given)
        user = served.user(given["user"])
        return listed(get(served, "/v1/recommendations", user=user, **wish(given, "n"), log=False))


class Lists:
    """The lists of several users: users, n, by, diversity."""

    def python(self, served: Served, given: Given) -> Any:
        users = [served.user(user) for user in given["users"]]
        return framed(lambda: served.rec.recommend(users, **wish(given)), with_user=True)

    def cli(self, served: Served, given: Given) -> Any:
        users = [part for user in given["users"] for part in ("--user", served.user(user))]
        found = asked_cli("recommend", served.path, *users, *options(wish(given)))
        return of(found, lambda rows: places(rows, with_user=True))

    def http(self, served: Served, given: Given) -> Any:
        body = {"users": [served.user(user) for user in given["users"]], **wish(given)}
        return of(post(served, "/v1/recommendations/batch", body), self.flat)

    @staticmethod
    def flat(found: Any) -> Any:
        return [(one["user"], place) for one in found["lists"] for place in places(one["items"])]


class EveryList(Lists):
    """The lists of all users: n."""

    def python(self, served: Served, given: Given) -> Any:
        return framed(lambda: served.rec.recommend_all(**wish(given)), with_user=True)

    def cli(self, served: Served, given: Given) -> Any:
        found = asked_cli("recommend", served.path, "--all", *options(wish(given)))
        return of(found, lambda rows: places(rows, with_user=True))

    def http(self, served: Served, given: Given) -> Any:
        users = served.rec.users.all.to_list()
        return of(post(served, "/v1/recommendations/batch", {"users": users, **wish(given)}), self.flat)


class ListWithSeen:
    """The list of a user with the items that the user has seen: user, n. HTTP does not have it."""

    def python(self, served: Served, given: Given) -> Any:
        user = served.user(given["user"])
        return framed(lambda: served.rec.recommend(user, exclude_seen=False, **wish(given)))

    def cli(self, served: Served, given: Given) -> Any:
        named = ["--user", served.user(given["user"]), "--include-seen", *options(wish(given))]
        return of(asked_cli("recommend", served.path, *named), places)


class ListOfGenre:
    """The list of a user of the items of a genre: user, genre, and items to leave out. The command line has no such."""

    def python(self, served: Served, given: Given) -> Any:
        out = [served.item(item) for item in given["exclude"]]
        items = [served.ids.item(n) for n in range(N_ITEMS) if GENRES[n % 3] == given["genre"]]
        wanted = [item for item in items if item not in out]
        return framed(
            lambda: served.rec.recommend(served.user(given["user"]), candidates=wanted, **wish(given, "n", "diversity"))
        )

    def http(self, served: Served, given: Given) -> Any:
        limits = {"where": {"genre": given["genre"]}, "exclude": [served.item(item) for item in given["exclude"]]}
        body = {"user": served.user(given["user"]), **limits, **wish(given, "n", "diversity"), "log": False}
        return listed(post(served, "/v1/recommendations", body))


def pairs(served: Served, history: Any) -> list[Any]:
    """A history as Python takes it: pairs, or items of a model of events."""
    return [(served.item(item), value) if value is not None else served.item(item) for item, value in history]


def typed(served: Served, history: Any) -> list[Any]:
    """A history on the command line."""
    return [
        part
        for item, value in history
        for part in (
            ("--rated", f"{served.item(item)}={value}") if value is not None else ("--took", served.item(item))
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

    def python(self, served: Served, given: Given) -> Any:
        return framed(lambda: served.rec.for_history(pairs(served, given["history"])).recommend(**wish(given)))

    def cli(self, served: Served, given: Given) -> Any:
        named = [*typed(served, given["history"]), *options(wish(given))]
        return of(asked_cli("recommend", served.path, *named), places)

    def http(self, served: Served, given: Given) -> Any:
        body = {"history": sent(served, given["history"]), **wish(given)}
        return listed(post(served, "/v1/recommendations", body))


class NewUserCounts:
    """The list of a new user who took items several times, or dislikes them. The command line takes items once."""

    def python(self, served: Served, given: Given) -> Any:
        return NewUserList().python(served, given)

    def http(self, served: Served, given: Given) -> Any:
        return NewUserList().http(served, given)


class NoHistoryList:
    """The list of a user of whom nothing is known: n, by, diversity. The command line needs a history."""

    def python(self, served: Served, given: Given) -> Any:
        return framed(lambda: served.rec.for_history([]).recommend(**wish(given)))

    def history(self, served: Served, given: Given) -> Any:
        return listed(post(served, "/v1/recommendations", {"history": [], **wish(given)}))

    def user(self, served: Served, given: Given) -> Any:
        body = {"user": "somebody unknown", **wish(given), "log": False}
        return listed(post(served, "/v1/recommendations", body))


class AgedUserList:
    """The list of a new user of an age and without a history: user, age, n. A prior by age counts."""

    def python(self, served: Served, given: Given) -> Any:
        return framed(
            lambda: served.rec.for_history([], user_features={"age": given["age"]}).recommend(**wish(given, "n"))
        )

    def cli(self, served: Served, given: Given) -> Any:
        named = ["--user-features", f"age={given['age']}", *options(wish(given, "n"))]
        return of(asked_cli("recommend", served.path, *named), places)

    def http(self, served: Served, given: Given) -> Any:
        user = {"user": served.user(given["user"]), "metadata": {"age": given["age"]}}
        assert served.client.put("/v1/users", json=user).is_success
        return listed(post(served, "/v1/recommendations", {"user": user["user"], **wish(given, "n")}))


def send_events(served: Served, user: Any, history: Any, kind: Kind) -> RejectedRow | None:
    """Send events to the service; the refusal of the first that it refuses."""
    for item, value in history:
        body = {"user": user, "item": served.item(item), "kind": "rating" if kind == "ratings" else "event"}
        stored = post(served, "/v1/events", body | ({} if value is None else {"value": value}))
        if isinstance(stored, RejectedRow):
            return stored
    return None


def updated(served: Served, user: Any, history: Any) -> Recommender:
    """The recommender after these events of a user."""
    items = [served.item(item) for item, _ in history]
    values = [1.0 if value is None else value for _, value in history]
    new = Interactions.from_columns([user] * len(items), items, values, kind=served.rec.kind)
    return served.rec.updated(new)


class LaterList:
    """The list of a user after new events: user, history, n. A user who is new, too, where `new`."""

    def python(self, served: Served, given: Given) -> Any:
        user = served.user(given["user"])
        return framed(lambda: updated(served, user, given["history"]).recommend(user, **wish(given)))

    def http(self, served: Served, given: Given) -> Any:
        user = served.user(given["user"])
        if refusal := send_events(served, user, given["history"], served.rec.kind):
            return refusal
        return listed(post(served, "/v1/recommendations", {"user": user, **wish(given), "log": False}))


class NewUserLaterList(LaterList):
    """The list of a new user after events, which is that of a history: user, history, n."""

    def history(self, served: Served, given: Given) -> Any:
        return NewUserList().python(served, given)

    def cli(self, served: Served, given: Given) -> Any:
        return NewUserList().cli(served, given)


class LowRatingList:
    """The list of a user of a model of events after a low rating: user, item. The command line learns nothing."""

    def python(self, served: Served, given: Given) -> Any:
        user, item = served.user(given["user"]), served.item(given["item"])
        held = served.table.frame().filter(user=user)["item"][0]
        new = Interactions.from_columns([user, user], [held, item], [5, 1]).to_events(min_rating=4)
        assert new.seen is not None
        only_low = new.select(np.zeros(len(new), bool))
        return framed(lambda: served.rec.updated(only_low).recommend(user, n=N_ITEMS))

    def http(self, served: Served, given: Given) -> Any:
        user = served.user(given["user"])
        assert send_events(served, user, [(given["item"], 1.0)], "ratings") is None
        return listed(post(served, "/v1/recommendations", {"user": user, "n": N_ITEMS, "log": False}))


class Prediction:
    """The expected rating of a pair: user, item."""

    def python(self, served: Served, given: Given) -> Any:
        return asked_python(lambda: served.rec.predict(served.user(given["user"]), served.item(given["item"])))

    def cli(self, served: Served, given: Given) -> Any:
        named = ["--user", served.user(given["user"]), "--item", served.item(given["item"])]
        return of(asked_cli("predict", served.path, *named), lambda rows: rows[0]["prediction"])

    def http(self, served: Served, given: Given) -> Any:
        found = get(served, "/v1/predictions", user=served.user(given["user"]), item=served.item(given["item"]))
        return of(found, lambda answer: answer["prediction"])


class Predictions:
    """The expected ratings of many pairs: users, items."""

    def python(self, served: Served, given: Given) -> Any:
        users, items = [*map(served.user, given["users"])], [*map(served.item, given["items"])]
        return of(asked_python(lambda: served.rec.predict(users, items)), lambda frame: frame["prediction"].to_list())

    def cli(self, served: Served, given: Given) -> Any:
        users, items = map(served.user, given["users"]), map(served.item, given["items"])
        path = served.path.with_name("pairs.csv")
        pl.DataFrame({"user": [*users], "item": [*items]}).write_csv(path)
        found = asked_cli("predict", served.path, "--pairs", path)
        return of(found, lambda rows: [row["prediction"] for row in rows])

    def http(self, served: Served, given: Given) -> Any:
        return [
            Prediction().http(served, {"user": user, "item": item})
            for user, item in zip(given["users"], given["items"], strict=True)
        ]


class TimedPredictions:
    """The expected ratings of a user at times: user, items, times. HTTP predicts for now."""

    def python(self, served: Served, given: Given) -> Any:
        user, items = served.user(given["user"]), [*map(served.item, given["items"])]
        found = asked_python(lambda: served.rec.predict(user, items, times=given["times"]))
        return of(found, lambda frame: frame["prediction"].to_list())

    def cli(self, served: Served, given: Given) -> Any:
        items = [*map(served.item, given["items"])]
        path = served.path.with_name("timed.csv")
        columns = {"user": [served.user(given["user"])] * len(items), "item": items, "when": given["times"]}
        pl.DataFrame(columns).write_csv(path)
        found = asked_cli("predict", served.path, "--pairs", path, "--time-column", "when")
        return of(found, lambda rows: [row["prediction"] for row in rows])


class Explanation:
    """What a score is made of: user, item."""

    def python(self, served: Served, given: Given) -> Any:
        user, item = served.user(given["user"]), served.item(given["item"])
        frame = asked_python(lambda: served.rec.explain(user, item))
        return of(frame, lambda found: (float(found["term"].sum()), parts(found.to_dicts())))

    def cli(self, served: Served, given: Given) -> Any:
        found = asked_cli("explain", served.path, served.user(given["user"]), served.item(given["item"]))
        return of(found, lambda answer: (answer["score"], parts(answer["parts"])))

    def http(self, served: Served, given: Given) -> Any:
        found = get(served, "/v1/explanations", user=served.user(given["user"]), item=served.item(given["item"]))
        return of(found, lambda answer: (answer["score"], parts(answer["parts"])))


class LaterExplanation:
    """What a score of a user is made of after new events: user, history, item."""

    def python(self, served: Served, given: Given) -> Any:
        user, item = served.user(given["user"]), served.item(given["item"])
        frame = asked_python(lambda: updated(served, user, given["history"]).explain(user, item))
        return of(frame, lambda found: (float(found["term"].sum()), parts(found.to_dicts())))

    def http(self, served: Served, given: Given) -> Any:
        assert send_events(served, served.user(given["user"]), given["history"], served.rec.kind) is None
        return Explanation().http(served, given)


class Similar:
    """Similar items: item, n."""

    def python(self, served: Served, given: Given) -> Any:
        return framed(lambda: served.rec.similar_items(served.item(given["item"]), **wish(given, "n")))

    def cli(self, served: Served, given: Given) -> Any:
        named = ["--item", served.item(given["item"]), *options(wish(given, "n"))]
        return of(asked_cli("similar", served.path, *named), places)

    def http(self, served: Served, given: Given) -> Any:
        return listed(get(served, "/v1/items/similar", item=served.item(given["item"]), **wish(given, "n")))


class SimilarUsers:
    """Similar users: user, n. HTTP does not name users."""

    def python(self, served: Served, given: Given) -> Any:
        found = asked_python(lambda: served.rec.similar_users(served.user(given["user"]), **wish(given, "n")))
        return of(found, lambda frame: [(str(user), rank, score) for user, rank, score in frame.rows()])

    def cli(self, served: Served, given: Given) -> Any:
        named = ["--user", served.user(given["user"]), *options(wish(given, "n"))]
        found = asked_cli("similar", served.path, *named)
        return of(found, lambda rows: [(row["user"], row["rank"], row["score"]) for row in rows])


class AskedItems:
    """The items that a new user is asked about, who gives these answers: answers."""

    def python(self, served: Served, given: Given) -> Any:
        def ask() -> list[str]:
            questions, names = served.rec.for_history([]).questions(), list[str]()
            for answer in given["answers"]:
                item = questions.next_item()
                assert item is not None
                title = None if served.rec.titles is None else served.rec.titles[served.rec.items.row(item)]
                names.append(title or str(item))
                questions = questions.with_answer(item, answer)
            return names

        return asked_python(ask)

    def cli(self, served: Served, given: Given) -> Any:
        lines = "".join("?\n" if answer is None else f"{answer}\n" for answer in given["answers"])
        with patch("sys.stdin", io.StringIO(lines)):
            found = printed("onboard", served.path, "--questions", len(given["answers"]))
        return of(found, lambda text: re.findall(r"^\d+\. (.*): $", text, re.MULTILINE))

    def http(self, served: Served, given: Given) -> Any:
        answers: list[dict[str, Any]] = []
        names = []
        for answer in given["answers"]:
            found = post(served, "/v1/onboarding", {"answers": answers})
            if isinstance(found, RejectedRow):
                return found
            names.append(found["title"] or found["item"])
            answers.append({"item": found["item"], "value": answer})
        return names


class UnknownOption:
    """A list with an option that does not exist: Python's own TypeError names it."""

    def python(self, served: Served, given: Given) -> Any:
        try:
            recommend: Any = served.rec.recommend
            recommend(served.user(given["user"]), **{given["option"]: 1})
        except TypeError as error:
            return RejectedRow("bad value", str(error))
        return None

    def cli(self, served: Served, given: Given) -> Any:
        return asked_cli("recommend", served.path, "--user", served.user(given["user"]), f"--{given['option']}", 1)

    def post(self, served: Served, given: Given) -> Any:
        return post(served, "/v1/recommendations", {"user": served.user(given["user"]), given["option"]: 1})

    def get(self, served: Served, given: Given) -> Any:
        return get(served, "/v1/recommendations", user=served.user(given["user"]), **{given["option"]: 1})


# The questions


def no_distribution(rec: Recommender) -> bool:
    return not isinstance(rec.model, HasUncertainty)


def no_item_vectors(rec: Recommender) -> bool:
    return not hasattr(rec.model, "similar_items") or getattr(rec.model, "factors", None) == 0


def no_user_vectors(rec: Recommender) -> bool:
    return not hasattr(rec.model, "similar_users") or getattr(rec.model, "factors", None) == 0


def no_questions(rec: Recommender) -> bool:
    """Whether there are no factors of ratings."""
    model = getattr(rec.model, "average", rec.model)  # that of a posterior
    return rec.kind == "events" or getattr(model, "factors", 0) == 0


ADAPTERS = ("python", "cli", "http", "post", "get", "history", "user")
"""Methods of an operation: the interfaces, and several ways of one interface."""


@dataclass(frozen=True)
class Question:
    """A row of the table.

    ask: the operation. given: its arguments. refused: the reason why all interfaces refuse it, None for an answer.
    says: a pattern that is in each message. impossible: whether it is "not possible" for a recommender.
    kinds: of models that are asked.
    """

    name: str
    ask: Any
    given: Mapping[str, Any] = field(default_factory=dict)
    refused: str | None = None
    says: str = ""
    impossible: Callable[[Recommender], bool] = lambda _: False
    kinds: tuple[Kind, ...] = ("ratings", "events")
    only: Callable[[Case], bool] = lambda _: True

    def suits(self, case: Case) -> bool:
        """Whether a model of this case is asked."""
        return case.kind in self.kinds and self.only(case)

    def reason(self, case: Case) -> str | None:
        """Why it is refused, None for an answer."""
        return "not possible" if self.impossible(case.fit()[1]) else self.refused

    def check(self, served: Served) -> None:
        """Ask every interface that has the operation, and compare the answers."""
        reason = self.reason(served.case)
        adapters = {name: getattr(self.ask, name) for name in ADAPTERS if getattr(self.ask, name, None) is not None}
        found = {name: adapter(served, self.given) for name, adapter in adapters.items()}
        assert len(found) >= 2
        for name, answer in found.items():
            if reason is None:
                assert not isinstance(answer, RejectedRow), (name, answer)
                assert same(found["python"], answer), (name, answer, found["python"])
            else:
                assert isinstance(answer, RejectedRow), (name, answer)
                assert answer.reason in (reason, None), (name, answer)
                assert re.search(self.says, answer.message), (name, answer)


RATINGS: tuple[Kind, ...] = ("ratings",)
EVENTS: tuple[Kind, ...] = ("events",)
LIKED, TAKEN = [(1, 5), (2, 1), (8, 4)], [(1, None), (8, None)]
OFF = r"is {}, which is not on the scale of 1 to 5 with levels 1, 2, 3, 4, 5"


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
    Question("lower", List(), {"user": 6, "rank_by": "lower"}, impossible=no_distribution, says="distribution"),
    Question("upper", List(), {"user": 6, "rank_by": "upper"}, impossible=no_distribution, says="distribution"),
    Question("diverse", List(), {"user": 6, "diversity": 0.5}, impossible=no_item_vectors, says="vectors"),
    Question("diverse and cautious", Lists(), {"users": [6, 8], "rank_by": "lower", "diversity": 0.3},
             impossible=no_distribution, says="distribution"),
    # lists of new users
    Question("a new user who rated", NewUserList(), {"history": LIKED, "n": N_ITEMS}, kinds=RATINGS),
    Question("a new user who took", NewUserList(), {"history": TAKEN, "n": N_ITEMS}, kinds=EVENTS),
    Question("a new user, cautious", NewUserList(), {"history": LIKED, "rank_by": "lower"}, kinds=RATINGS,
             impossible=no_distribution, says="distribution"),
    Question("a new user, diverse", NewUserList(), {"history": TAKEN, "diversity": 1}, kinds=EVENTS,
             impossible=no_item_vectors, says="vectors"),
    Question("a new user who rated an item without events", NewUserList(), {"history": [(UNRATED, 4)]}, kinds=RATINGS),
    Question("a new user who took an item without events", NewUserList(), {"history": [(UNRATED, None)]}, kinds=EVENTS),
    Question("a new user who took items twice", NewUserCounts(), {"history": [(1, 2), (8, 0.5)]}, kinds=EVENTS),
    Question("a new user who dislikes an item", NewUserCounts(), {"history": [(1, 1), (8, -1)]}, kinds=EVENTS),
    Question("a user without a history", NoHistoryList(), {"n": N_ITEMS}),
    Question("a user without a history, one item", NoHistoryList(), {"n": 1}),
    Question("a user without a history, cautious", NoHistoryList(), {"rank_by": "lower"}, impossible=no_distribution,
             says="distribution"),
    Question("a user without a history, diverse", NoHistoryList(), {"diversity": 0.5}, impossible=no_item_vectors,
             says="vectors"),
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
    Question("an explanation", Explanation(), {"user": 2, "item": 11}),
    Question("an explanation of a rated item", Explanation(), {"user": 0, "item": 0}),
    Question("an explanation across groups", Explanation(), {"user": 33, "item": 2}),
    Question("an explanation after ratings", LaterExplanation(), {"user": Raw(4002), "history": LIKED, "item": 3},
             kinds=RATINGS),
    Question("an explanation after events", LaterExplanation(), {"user": Raw(4002), "history": TAKEN, "item": 3},
             kinds=EVENTS),
    Question("an explanation of an unknown user", Explanation(), {"user": Raw("nobody"), "item": 3}, "unknown id",
             says="user 'nobody'", only=without_priors),
    Question("an explanation of an unknown item", Explanation(), {"user": 3, "item": Raw("jaws")}, "unknown id",
             says="item 'jaws'"),
    # similar items and users, and questions to new users
    Question("similar items", Similar(), {"item": 4, "n": 5}, impossible=no_item_vectors, says="vectors"),
    Question("all similar items", Similar(), {"item": 20, "n": 500}, impossible=no_item_vectors, says="vectors"),
    Question("similar to an item without events", Similar(), {"item": UNRATED}, impossible=no_item_vectors,
             says="vectors"),
    Question("similar to a disliked item", Similar(), {"item": DISLIKED}, impossible=no_item_vectors, says="vectors"),
    Question("similar to an unknown item", Similar(), {"item": Raw("jaws")}, "unknown id", says="item 'jaws'"),
    Question("similar users", SimilarUsers(), {"user": 4, "n": 5}, impossible=no_user_vectors, says="vectors"),
    Question("the questions to a new user", AskedItems(), {"answers": [4, None, 2, 5]}, impossible=no_questions,
             says="factors|ratings"),
    # ids
    Question("a user named by a text", List(), {"user": Raw("17")}, only=integer_ids),
    Question("a user named by an integer", List(), {"user": Raw(17)}, only=text_ids),
    Question("a user with a leading zero", List(), {"user": Raw("017")}, only=text_ids),
    Question("no user with a leading zero", Explanation(), {"user": Raw("017"), "item": 3}, "unknown id",
             says="user '017'", only=lambda case: case.integer_ids and not case.priors),
    Question("an item named by a text", Similar(), {"item": Raw("105")}, only=integer_ids, impossible=no_item_vectors),
    Question("an item named by an integer", Similar(), {"item": Raw(5)}, only=text_ids, impossible=no_item_vectors),
    Question("no item with a leading zero", Similar(), {"item": Raw("0105")}, "unknown id", says="item '0105'",
             only=integer_ids),
    Question("a history of items named by texts", NewUserList(), {"history": [(Raw("105"), 4), (Raw("103"), 2)]},
             only=integer_ids, kinds=RATINGS),
    Question("a history of an item named by an integer", NewUserList(), {"history": [(Raw(5), None)]}, only=text_ids,
             kinds=EVENTS),
    # refusals
    *(Question(f"n of {n}", List(), {"user": 3, "n": n}, "bad value", says=r"\bn\b")
      for n in (0, -1, 1.5, "ten", "", True)),
    *(Question(f"similar items, n of {n}", Similar(), {"item": 4, "n": n}, "bad value", says=r"\bn\b")
      for n in (0, 2.5)),
    *(Question(f"a rating of {value:g}", NewUserList(), {"history": [(1, 5), (2, value)]}, "bad value",
               says=OFF.format(re.escape(f"{value:.7g}")), kinds=RATINGS)
      for value in (99, -7, 4.5, 0, 5.001, 1e8)),
    *(Question(f"an event with a rating of {value}", LaterList(), {"user": 11, "history": [(4, value)]}, "bad value",
               says=OFF.format(re.escape(str(value))), kinds=RATINGS)
      for value in (99, -7, 4.5)),
    *(Question(f"a rating of {value}", NewUserList(), {"history": [(1, 5), (2, value)]}, "bad value",
               says=f"is {value}|finite", kinds=RATINGS)
      for value in (float("nan"), float("inf"))),
    Question("an item twice in a history of ratings", NewUserList(), {"history": [(1, 5), (2, 3), (1, 5)]},
             "bad value", says="twice|unique", kinds=RATINGS),
    Question("an item twice in a history of events", NewUserList(), {"history": [(1, None), (1, None)]},
             "bad value", says="twice|unique", kinds=EVENTS),
    Question("a history without ratings", NewUserList(), {"history": [(1, None), (2, None)]}, "bad value",
             says="rating", kinds=RATINGS),
    Question("an unknown order", List(), {"user": 3, "rank_by": "luck"}, "bad value", says="rank.by.*lower"),
    *(Question(f"diversity of {share}", List(), {"user": 3, "diversity": share}, "bad value", says="diversity")
      for share in (2, -0.1, float("nan"), "much")),
    *(Question(f"the option {option}", UnknownOption(), {"user": 3, "option": option}, "bad value", says=option)
      for option in ("offset", "exclude_sen")),
]
# fmt: on


# Documented differences: docs/service.md, "What differs from Python"


def an_unknown_user_is_answered_as_a_new_user(served: Served) -> None:
    """Python and the command line refuse an unknown user, and name the call for new users."""
    given = {"user": Raw("nobody"), "n": N_ITEMS}
    for refusal in (List().python(served, given), List().cli(served, given)):
        assert refusal.reason in ("unknown id", None)
        assert re.search(r"user 'nobody' .* new", refusal.message)
    assert same(List().get(served, given), NoHistoryList().python(served, given))


def an_unknown_user_is_explained_by_the_prior(served: Served) -> None:
    """Where the model has no prior, HTTP refuses as Python does: see QUESTIONS."""
    given = {"user": Raw("nobody"), "item": 3}
    assert Explanation().python(served, given).reason == "unknown id"
    score, found = Explanation().http(served, given)
    scores = {place.item: place.score for place in NoHistoryList().python(served, {"n": N_ITEMS})}
    assert same(score, scores[str(served.ids.item(3))])
    assert [part[0] for part in found] == ["mean", "user", "item", "not attributed"]


def an_unknown_item_has_no_prediction(served: Served) -> None:
    """Python and the command line predict the average level."""
    given = {"user": 2, "item": Raw("jaws")}
    assert Prediction().python(served, given) == served.rec.predict(served.ids.user(2), "another unknown item")
    assert same(Prediction().python(served, given), Prediction().cli(served, given))
    assert Prediction().http(served, given) == RejectedRow("unknown id", "item 'jaws' is unknown to model 1")


def unknown_items_of_a_history_do_not_count(served: Served) -> None:
    """Python and the command line refuse them."""
    history, unknown = (LIKED if served.case.kind == "ratings" else TAKEN), Raw(4005 if served.ids.integer else "jaws")
    given = {"history": [*history, (unknown, history[0][1])], "n": N_ITEMS}
    for refusal in (NewUserList().python(served, given), NewUserList().cli(served, given)):
        assert refusal.reason in ("unknown id", None)
        assert f"item {unknown.id!r}" in refusal.message.replace(f"'{unknown.id}'", repr(unknown.id))
    known = {"history": history, "n": N_ITEMS}
    assert same(NewUserList().http(served, given), NewUserList().python(served, known))


def an_event_with_an_unknown_item_is_stored(served: Served) -> None:
    """It counts from the training on that learns the item. `updated` refuses it."""
    value = 4.0 if served.case.kind == "ratings" else None
    given = {"user": Raw(4004), "history": [(Raw("jaws"), value)], "n": N_ITEMS}
    refusal = LaterList().python(served, given)
    assert refusal.reason == "unknown id"
    assert "item 'jaws'" in refusal.message
    assert same(LaterList().http(served, given), NoHistoryList().python(served, given))


def a_list_has_at_most_1000_items(served: Served) -> None:
    """`max_n` of the service; Python and the command line list the whole catalog."""
    given = {"user": 5, "n": 1_001}
    assert len(List().python(served, given)) == len(List().cli(served, given)) == N_ITEMS - 8
    for refusal in (List().get(served, given), List().post(served, given)):
        assert refusal.reason == "bad value"
        assert re.search(r"\bn\b.*1000", refusal.message)


def similar_users_are_not_named(served: Served) -> None:
    """Parts of an explanation hold items alone."""
    found = get(served, "/v1/explanations", user=served.user(2), item=served.item(11))
    assert {name for part in found["parts"] for name in part} == {"part", "item", "value", "term", "title"}
    assert "neighbor" in {part["part"] for part in found["parts"]}
    assert "user" in served.rec.explain(served.user(2), served.item(11)).columns


@dataclass(frozen=True)
class Difference:
    """A row of the table of differences: what HTTP answers otherwise by design, exactly so."""

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
    """At least 25 questions of every model, and answers as well as refusals among them."""
    for case in CASES:
        asked = [question for question in QUESTIONS if question.suits(case)]
        refused = [question for question in asked if question.reason(case) is not None]
        assert len(asked) >= 25
        assert 10 <= len(refused) <= len(asked) - 15
    assert {case.estimator for case in CASES} == set(REGISTRY)
