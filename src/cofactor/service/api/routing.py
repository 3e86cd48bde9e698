"""Route class of the API: every route declares its role, and rejects what it does not declare.

A parameter that is ignored looks like one that works: `DELETE /v1/users?user=7&dry_run=true` would delete the user.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

from fastapi import Depends, Request, Response
from fastapi.params import Depends as Dependency
from fastapi.routing import APIRoute

from cofactor.service.api.auth import role_of
from cofactor.service.api.errors import Problem

__all__ = ["RepeatedMemberError", "StrictRoute", "parse_json", "require_declared"]

MAX_SHOWN = 60
"""Characters of a name that a message shows."""


class StrictRoute(APIRoute):
    """A route with a role that rejects undeclared parameters, undeclared bodies and repeated members of JSON objects.

    Parameters
    ----------
    path : str
        Path of the route.
    endpoint : callable
        Function that answers.
    dependencies : sequence of Depends
        One of `PUBLIC`, `READ`, `WRITE` and `ADMIN`, and further dependencies.
    **options : Any
        Further parameters of `fastapi.routing.APIRoute`.

    Attributes
    ----------
    role : {'public', 'read', 'write', 'admin'}
        Least role that may use the route.
    query_names : tuple of str
        Names of the query parameters.
    has_body : bool
        Whether the route takes a body.

    Raises
    ------
    TypeError
        If the dependencies do not declare a role.
    """

    def __init__(
        self,
        path: str,
        endpoint: Callable[..., Any],
        *,
        dependencies: Sequence[Dependency] | None = None,
        **options: Any,
    ):
        declared = list(dependencies or ())
        self.role = role_of(declared)
        super().__init__(path, endpoint, dependencies=[*declared, Depends(require_declared)], **options)
        self.query_names = tuple(field.alias for field in self.dependant.query_params)
        self.has_body = self.body_field is not None or "requestBody" in (self.openapi_extra or {})

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler of requests; it parses JSON with `parse_json`."""
        handle = super().get_route_handler()

        async def handle_strictly(request: Request) -> Response:
            return await handle(_StrictRequest(request.scope, request.receive))

        return handle_strictly


async def require_declared(request: Request) -> None:
    """Reject a query parameter or a body that the route does not declare.

    Also reject a repeated parameter, of which one value would be dropped, and a query that is not UTF-8, of which
    different IDs would be read as the same.

    Raises
    ------
    Problem
        422.
    """
    route: StrictRoute = request.scope["route"]
    try:
        unquote_to_bytes(request.scope["query_string"]).decode()
    except UnicodeDecodeError:
        raise Problem(422, "query: not valid UTF-8") from None
    names = [name for name, _ in request.query_params.multi_items()]
    for name in names:
        if name not in route.query_names:
            message = f"{request.method} {route.path} has no parameter {_short(name)}; {_expected(route)}"
            raise _rejected(name, message)
        if names.count(name) > 1:
            raise _rejected(name, f"the parameter {name!r} is given more than once; give it once")
    if not route.has_body and _has_content(request):
        raise Problem(422, f"body: {request.method} {route.path} takes no body; {_expected(route)}")


def _rejected(name: str, message: str) -> Problem:
    return Problem(422, f"query: {message}", errors=[{"where": ["query", name[:MAX_SHOWN]], "what": message}])


def _expected(route: StrictRoute) -> str:
    names = ", ".join(route.query_names)
    return f"its query parameters are {names}" if names else "it has no query parameters"


def _short(name: str) -> str:
    return repr(name if len(name) <= MAX_SHOWN else f"{name[:MAX_SHOWN]}...")


def _has_content(request: Request) -> bool:
    return request.headers.get("content-length", "0").strip("0") != "" or "transfer-encoding" in request.headers


class _StrictRequest(Request):
    async def json(self) -> Any:
        try:
            return parse_json(await self.body())
        except RepeatedMemberError as error:
            raise Problem(422, f"body: {error}") from None


class RepeatedMemberError(ValueError):
    """A JSON object names a member twice."""


def parse_json(text: bytes) -> Any:
    """Parse JSON in which no object names a member twice; otherwise only the last value would count.

    Parameters
    ----------
    text : bytes
        JSON.

    Returns
    -------
    Any
        The value.

    Raises
    ------
    ValueError
        If the text is not JSON.
    RepeatedMemberError
        If an object names a member twice.

    Examples
    --------
    >>> parse_json(b'{"user": "ana", "user": "bo"}')
    Traceback (most recent call last):
    cofactor.service.api.routing.RepeatedMemberError: the member 'user' is given more than once; give it once
    """
    return json.loads(text, object_pairs_hook=_unique_members)


def _unique_members(members: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(members)
    if len(unique) < len(members):
        repeated, _ = Counter(name for name, _ in members).most_common(1)[0]
        raise RepeatedMemberError(f"the member {_short(repeated)} is given more than once; give it once")
    return unique
