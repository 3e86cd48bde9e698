"""Errors as RFC 9457 tells them: `application/problem+json`, one line for people, a status for machines."""

from __future__ import annotations

import json
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from cofactor.errors import (
    ArtifactError,
    CofactorError,
    ConflictError,
    KindError,
    StoreError,
    StoreUnavailableError,
    UnknownIdError,
)

__all__ = ["MEDIA_TYPE", "Problem", "install", "leads_to", "response_of", "responses"]

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER = 1
"""Seconds after which to try again what the store did not take."""

HEADERS = {401: "WWW-Authenticate", 429: "Retry-After", 503: "Retry-After"}
"""What these answers always have."""

STATUS: tuple[tuple[type[CofactorError], int], ...] = (
    (StoreUnavailableError, 503),
    (ConflictError, 409),
    (ArtifactError, 409),
    (StoreError, 409),
    (UnknownIdError, 404),
    (KindError, 409),
    (CofactorError, 422),
)
"""The first that fits counts."""


class Problem(HTTPException):
    """What a request is refused with. `more`: further members of the answer.

    >>> Problem(404, "there is no item 'jaws'").members()
    {'type': 'about:blank', 'title': 'Not Found', 'status': 404, 'detail': "there is no item 'jaws'"}
    """

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None, **more: Any):
        self.more = more
        super().__init__(status, detail, headers)

    def members(self) -> dict[str, Any]:
        """The answer's JSON."""
        title = HTTPStatus(self.status_code).phrase
        return {"type": "about:blank", "title": title, "status": self.status_code, "detail": self.detail} | self.more


def response_of(problem: Problem) -> Response:
    """The answer that tells of it."""
    body = json.dumps(problem.members(), ensure_ascii=True).encode()
    return Response(body, problem.status_code, problem.headers, MEDIA_TYPE)


def of_error(error: CofactorError) -> Problem:
    """What an error of ours means to a caller."""
    status = next(status for kind, status in STATUS if isinstance(error, kind))
    if isinstance(error, StoreUnavailableError):
        return Problem(status, "the store does not answer", {"Retry-After": str(RETRY_AFTER)}, written=error.written)
    if isinstance(error, ConflictError):
        return Problem(status, str(error), places=list(error.places))
    return Problem(status, str(error))


def install(app: FastAPI, routes: Iterable[tuple[str, str]]) -> None:
    """Let all that goes wrong in this application be told so. routes: every method and path there is."""
    allowed: dict[str | None, list[str]] = {}
    for method, there in routes:
        allowed.setdefault(there, []).append(method)

    async def ours(_: Request, error: Exception) -> Response:
        assert isinstance(error, CofactorError)
        return response_of(of_error(error))

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        headers = None if error.headers is None else dict(error.headers)
        path = getattr(request.scope.get("route"), "path", None)
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED and path in allowed:  # FastAPI tells one route's alone
            headers = {"Allow": ", ".join(sorted(allowed[path]))}
        return response_of(
            error if isinstance(error, Problem) else Problem(error.status_code, str(error.detail), headers)
        )

    async def invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        found = [{"where": [str(part) for part in one["loc"]], "what": one["msg"]} for one in error.errors()[:20]]
        first = f"{'.'.join(found[0]['where'])}: {found[0]['what']}" if found else "the request cannot be understood"
        return response_of(Problem(422, first, errors=found))

    async def bug(_: Request, __: Exception) -> Response:
        return response_of(Problem(500, "this is a mistake of ours; the log tells more under the request's id"))

    app.add_exception_handler(CofactorError, ours)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(Exception, bug)


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """How a route documents what may go wrong with it, beside what may with all."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    every = sorted({400, 401, 403, 408, 413, 422, 429, 503, *statuses})
    found: dict[int | str, dict[str, Any]] = {
        status: {"description": HTTPStatus(status).phrase, "content": content} for status in every
    }
    for status, header in HEADERS.items():
        found[status]["headers"] = {header: {"required": True, "schema": {"type": "string"}}}
    return found


def leads_to(operation: str, **parameters: str) -> dict[str, Any]:
    """How a route documents which operation its answer leads to: parameters by the answer's members."""
    told = {name: f"$response.body#/{member}" for name, member in parameters.items()}
    return {"links": {operation.partition("_")[0]: {"operationId": operation, "parameters": told}}}
