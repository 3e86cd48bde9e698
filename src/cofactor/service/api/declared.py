"""Requests carry what their route declares, and nothing else.

A parameter that is ignored looks like one that works: `DELETE /v1/users?user=7&dry_run=true` would delete the user. The
names that a route takes are read from its own OpenAPI declaration, so that no route can be forgotten.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute

from cofactor.service.api.errors import Problem

__all__ = ["Declared", "RepeatedMemberError", "StrictRoute", "declarations", "parse_json", "require_declared"]

SHOWN = 60
"""Characters of a name in a message."""


class Declared(NamedTuple):
    """What a route takes.

    query: the names of its query parameters. has_body: whether it takes a body.
    """

    query: tuple[str, ...] = ()
    has_body: bool = False


def declarations(app: FastAPI) -> dict[tuple[str, str], Declared]:
    """Return what each route of an application takes, by method and path, from its OpenAPI document."""
    routes = {}
    for path, operations in app.openapi()["paths"].items():
        for method, operation in operations.items():
            names = [one["name"] for one in operation.get("parameters", []) if one["in"] == "query"]
            routes[method.upper(), path] = Declared(tuple(names), "requestBody" in operation)
    return routes


async def require_declared(request: Request) -> None:
    """Raise a Problem, 422, for a query parameter or a body that the route does not declare.

    Also for a parameter that is given twice, of which one value would be dropped, and for a query that is not UTF-8,
    of which different ids would be read as one.
    """
    path = request.scope["route"].path
    takes: Declared = request.app.state.declared.get((request.method, path), Declared())
    try:
        unquote_to_bytes(request.scope["query_string"]).decode()
    except UnicodeDecodeError:
        raise Problem(422, "query: it is not UTF-8") from None
    names = [name for name, _ in request.query_params.multi_items()]
    for name in names:
        if name not in takes.query:
            raise _refused(name, f"{request.method} {path} has no parameter {_short(name)}; {_listed(takes.query)}")
        if names.count(name) > 1:
            raise _refused(name, f"the parameter {name!r} is given more than once; give it once")
    if not takes.has_body and _brings_body(request):
        raise Problem(422, f"body: {request.method} {path} takes no body; {_listed(takes.query)}")


def _refused(name: str, what: str) -> Problem:
    return Problem(422, f"query: {what}", errors=[{"where": ["query", name[:SHOWN]], "what": what}])


def _listed(names: tuple[str, ...]) -> str:
    return f"its query parameters are {', '.join(names)}" if names else "it has no query parameters"


def _short(name: str) -> str:
    return repr(name if len(name) <= SHOWN else f"{name[:SHOWN]}...")


def _brings_body(request: Request) -> bool:
    return request.headers.get("content-length", "0").strip("0") != "" or "transfer-encoding" in request.headers


class StrictRoute(APIRoute):
    """A route whose JSON body names each member once; see `parse_json`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Handle a request whose `json` is strict."""
        handle = super().get_route_handler()

        async def strict(request: Request) -> Response:
            return await handle(_StrictRequest(request.scope, request.receive))

        return strict


class _StrictRequest(Request):
    async def json(self) -> Any:
        try:
            return parse_json(await self.body())
        except RepeatedMemberError as problem:
            raise Problem(422, f"body: {problem}") from None


class RepeatedMemberError(ValueError):
    """An object of JSON in which a member stands twice."""


def parse_json(text: bytes) -> Any:
    """Parse JSON in which no object names a member twice, as the last value alone would count.

    Raises ValueError.

    >>> parse_json(b'{"user": "ana", "user": "bo"}')
    Traceback (most recent call last):
    cofactor.service.api.declared.RepeatedMemberError: the member 'user' is given more than once; give it once
    """
    return json.loads(text, object_pairs_hook=_each_once)


def _each_once(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) < len(members):
        twice, _ = Counter(name for name, _ in members).most_common(1)[0]
        raise RepeatedMemberError(f"the member {_short(twice)} is given more than once; give it once")
    return found
