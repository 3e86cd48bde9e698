"""Error responses in the format `application/problem+json` (RFC 9457)."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
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

__all__ = ["Problem", "ProblemAnswer", "install_error_handlers", "link_to", "location", "problem_response", "responses"]

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER = 1
"""Number of seconds after which a client may retry while the store is unavailable."""

MAX_ERRORS = 20
"""Maximum number of validation errors listed in a response."""

HEADERS = {401: "WWW-Authenticate", 429: "Retry-After", 503: "Retry-After"}
"""Headers that responses with these status codes always have."""

STATUS: tuple[tuple[type[CofactorError], int], ...] = (
    (StoreUnavailableError, 503),
    (ConflictError, 409),
    (ArtifactError, 409),
    (StoreError, 409),
    (UnknownIdError, 404),
    (KindError, 409),
    (CofactorError, 422),
)
"""HTTP status codes by error class; the first matching class applies."""


class ProblemAnswer(BaseModel):
    """An error in the format of RFC 9457."""

    model_config = ConfigDict(extra="allow", title="Problem")

    type: str = Field(examples=["about:blank"])
    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["there is no item 'jaws'"])


class Problem(HTTPException):
    """HTTP error with problem details.

    Parameters
    ----------
    status : int
        HTTP status code.
    detail : str
        Human-readable explanation in one line.
    headers : dict of str to str, optional
        Response headers.
    **extensions : Any
        Additional members of the response body.

    Examples
    --------
    >>> Problem(404, "there is no item 'jaws'").members()
    {'type': 'about:blank', 'title': 'Not Found', 'status': 404, 'detail': "there is no item 'jaws'"}
    """

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None, **extensions: Any):
        self.extensions = extensions
        super().__init__(status, detail, headers)

    def members(self) -> dict[str, Any]:
        """Return the members of the body of the error response."""
        title = HTTPStatus(self.status_code).phrase
        return {
            "type": "about:blank",
            "title": title,
            "status": self.status_code,
            "detail": self.detail,
        } | self.extensions


def problem_response(problem: Problem) -> Response:
    """Return the HTTP response for an error with problem details."""
    body = json.dumps(problem.members(), ensure_ascii=True).encode()
    return Response(body, problem.status_code, problem.headers, MEDIA_TYPE)


def describe_problem(error: CofactorError) -> Problem:
    """Convert an error raised by cofactor to an HTTP error with problem details."""
    status = next(status for error_type, status in STATUS if isinstance(error, error_type))
    if isinstance(error, StoreUnavailableError):
        headers = {"Retry-After": str(RETRY_AFTER)}
        return Problem(status, "the store is unavailable", headers, written=error.written)
    if isinstance(error, ConflictError):
        return Problem(status, str(error), places=list(error.places))
    return Problem(status, str(error))


def install_error_handlers(app: FastAPI, routes: Collection[tuple[str, str]]) -> None:
    """Install exception handlers that convert every error to a problem details response (RFC 9457).

    Parameters
    ----------
    app : FastAPI
        The application.
    routes : collection of (str, str)
        Method and path of every route, for the `Allow` header; FastAPI lists only the methods of a single route.
    """

    async def answer_library_error(_: Request, error: Exception) -> Response:
        assert isinstance(error, CofactorError)
        return problem_response(describe_problem(error))

    async def answer_http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if isinstance(error, Problem):
            return problem_response(error)
        headers = None if error.headers is None else dict(error.headers)
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED and "route" in request.scope:
            path = request.scope["route"].path
            headers = {"Allow": ", ".join(sorted(method for method, other in routes if other == path))}
        return problem_response(Problem(error.status_code, str(error.detail), headers))

    async def answer_invalid_request(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        errors = [{"where": location(entry["loc"]), "what": entry["msg"]} for entry in error.errors()[:MAX_ERRORS]]
        summary = f"{'.'.join(errors[0]['where'])}: {errors[0]['what']}" if errors else "the request is invalid"
        return problem_response(Problem(422, summary, errors=errors))

    async def answer_internal_error(_: Request, __: Exception) -> Response:
        return problem_response(Problem(500, "internal server error; see the log for this request ID"))

    app.add_exception_handler(CofactorError, answer_library_error)
    app.add_exception_handler(HTTPException, answer_http_error)
    app.add_exception_handler(RequestValidationError, answer_invalid_request)
    app.add_exception_handler(Exception, answer_internal_error)


def location(parts: Sequence[str | int]) -> list[str]:
    """Return the location of a validation error without union tags, which are not part of the body.

    Examples
    --------
    >>> location(("body", "variant:rating", "value"))
    ['body', 'value']
    """
    return [str(part) for part in parts if not str(part).startswith("variant:")]


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI responses for the errors common to all routes and for additional status codes."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    descriptions: dict[int | str, dict[str, Any]] = {
        status: {"description": HTTPStatus(status).phrase, "content": content}
        for status in sorted({400, 401, 403, 408, 413, 422, 429, 503, *statuses})
    }
    for status, header in HEADERS.items():
        descriptions[status]["headers"] = {header: {"required": True, "schema": {"type": "string"}}}
    return descriptions


def link_to(operation: str, **parameters: str) -> dict[str, Any]:
    """Return an OpenAPI link from a response to an operation that takes members of the response as parameters."""
    values = {name: f"$response.body#/{member}" for name, member in parameters.items()}
    return {"links": {operation: {"operationId": operation, "parameters": values}}}
