"""Route class of the API: each route declares a role and rejects undeclared parameters and bodies.

Ignoring unknown parameters would be dangerous: `DELETE /v1/users?user=7&dry_run=true` would delete the user.
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

MAX_NAME_LENGTH = 60
"""Maximum number of characters of a name in an error message."""


class StrictRoute(APIRoute):
    """Route with a role that rejects undeclared parameters, undeclared bodies and repeated members of JSON objects.

    Parameters
    ----------
    path : str
        Path of the route.
    endpoint : callable
        Function that handles the requests.
    dependencies : sequence of Depends
        One of `PUBLIC`, `READ`, `WRITE` and `ADMIN`, and any additional dependencies.
    **options : Any
        Additional parameters of `fastapi.routing.APIRoute`.

    Attributes
    ----------
    role : {'public', 'read', 'write', 'admin'}
        Minimum role required.
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
        """Return the request handler, which parses JSON with `parse_json`."""
        handle_request = super().get_route_handler()

        async def handle_strict_request(request: Request) -> Response:
            return await handle_request(_StrictRequest(request.scope, request.receive))

        return handle_strict_request


async def require_declared(request: Request) -> None:
    """Reject a query parameter or a body that the route does not declare.

    Also reject repeated parameters, because all but one value would be ignored, and queries that are not valid UTF-8,
    because different IDs would be decoded to the same string.

    Raises
    ------
    Problem
        422 for a request with such a parameter, query or body.
    """
    route: StrictRoute = request.scope["route"]
    try:
        unquote_to_bytes(request.scope["query_string"]).decode()
    except UnicodeDecodeError:
        raise Problem(422, "query: not valid UTF-8") from None
    names = [name for name, _ in request.query_params.multi_items()]
    for name in names:
        if name not in route.query_names:
            message = f"{request.method} {route.path} has no parameter {_short_repr(name)}; {_parameter_hint(route)}"
            raise _query_problem(name, message)
        if names.count(name) > 1:
            raise _query_problem(name, f"the parameter {name!r} must be given only once")
    if not route.has_body and _has_content(request):
        raise Problem(422, f"body: {request.method} {route.path} does not accept a body; {_parameter_hint(route)}")


def _query_problem(name: str, message: str) -> Problem:
    return Problem(422, f"query: {message}", errors=[{"where": ["query", name[:MAX_NAME_LENGTH]], "what": message}])


def _parameter_hint(route: StrictRoute) -> str:
    names = ", ".join(route.query_names)
    return f"its query parameters are {names}" if names else "it has no query parameters"


def _short_repr(name: str) -> str:
    return repr(name if len(name) <= MAX_NAME_LENGTH else f"{name[:MAX_NAME_LENGTH]}...")


def _has_content(request: Request) -> bool:
    return request.headers.get("content-length", "0").strip("0") != "" or "transfer-encoding" in request.headers


class _StrictRequest(Request):
    async def json(self) -> Any:
        try:
            return parse_json(await self.body())
        except RepeatedMemberError as error:
            raise Problem(422, f"body: {error}") from None


class RepeatedMemberError(ValueError):
    """Error for a JSON object with a repeated member."""


def parse_json(text: bytes) -> Any:
    """Parse JSON and reject objects with duplicate keys, for which `json.loads` would keep only the last value.

    Parameters
    ----------
    text : bytes
        Encoded JSON.

    Returns
    -------
    Any
        The value.

    Raises
    ------
    ValueError
        If the text is not valid JSON.
    RepeatedMemberError
        If an object has a repeated member.

    Examples
    --------
    >>> parse_json(b'{"user": "ana", "user": "bo"}')
    Traceback (most recent call last):
    cofactor.service.api.routing.RepeatedMemberError: duplicate key 'user'
    """
    return json.loads(text, object_pairs_hook=_unique_members)


def _unique_members(members: list[tuple[str, Any]]) -> dict[str, Any]:
    unique_members = dict(members)
    if len(unique_members) < len(members):
        repeated_name, _ = Counter(name for name, _ in members).most_common(1)[0]
        raise RepeatedMemberError(f"duplicate key {_short_repr(repeated_name)}")
    return unique_members
