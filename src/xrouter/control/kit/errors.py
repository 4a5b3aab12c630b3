"""Every error of the control API leaves in the one envelope of `domain.errors`."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import IntegrityError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, compile_path

from xrouter.control.kit.storable import KIND
from xrouter.domain.errors import Conflict, InvalidRequest, MethodNotAllowed, NotFound, XRouterError
from xrouter.telemetry.logs import log

_PLACES = ("body", "query", "path", "header", "cookie")
_SERVER_FAULT = 500
_UNIQUE = "23505"
"""PostgreSQL's SQLSTATE; SQLite has one writer at a time."""
_Methods = list[tuple[re.Pattern[str], frozenset[str]]]


def install(app: FastAPI, routers: Iterable[APIRouter], prefix: str) -> None:
    """Put our handlers in the place of the framework's. routers: those of the application."""
    app.state.methods = _methods(routers, prefix)
    app.add_exception_handler(XRouterError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(IntegrityError, _twice)


def _methods(routers: Iterable[APIRouter], prefix: str) -> _Methods:
    """What can be done at which addresses: the framework names one route's methods only."""
    return [
        (compile_path(prefix + route.path)[0], frozenset(route.methods or ()))
        for router in routers
        for route in router.routes
        if isinstance(route, Route)
    ]


def response(error: XRouterError) -> JSONResponse:
    """The error as an answer, with its hint: the caller is the operator. Our faults are logged."""
    if error.status >= _SERVER_FAULT:
        log.error("control_failed", code=error.code, error=error.message, hint=error.hint)
    headers = {}
    if error.retry_after is not None:
        headers["retry-after"] = str(math.ceil(error.retry_after))
    body = error.body()
    if error.hint is not None:
        body["error"]["hint"] = error.hint
    return JSONResponse(body, error.status, headers)


async def _ours(_request: Request, error: Exception) -> Response:
    assert isinstance(error, XRouterError)  # noqa: S101 - the handler is registered for it
    return response(error)


async def _invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - the handler is registered for it
    return response(invalid(error.errors()))


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - the handler is registered for it
    asked: str = request.scope["path"]  # `request.url` is made of the header Host
    where = f"{request.method} {asked}"
    if error.status_code == NotFound.status:
        return response(
            NotFound(f"There is no {where}.", hint="GET /control/v1/openapi.json lists what is.")
        )
    if error.status_code == MethodNotAllowed.status:
        table: _Methods = request.app.state.methods
        found = {m for path, methods in table if path.match(asked) for m in methods}
        methods = ", ".join(sorted(found))
        answer = response(MethodNotAllowed(f"{where} is not possible; possible: {methods}."))
        answer.headers["allow"] = methods
        return answer
    return response(InvalidRequest("The request cannot be read.", code="invalid_body"))


async def _twice(_request: Request, error: Exception) -> Response:
    """Two made the same thing at once: each looked, and there was none. Raises all else."""
    cause = getattr(error, "orig", None)
    if getattr(cause, "sqlstate", None) != _UNIQUE:
        raise error
    return response(
        Conflict("Somebody else made the same thing at the same moment.", hint="Look, then retry.")
    )


def invalid(problems: Sequence[Any]) -> InvalidRequest:
    """The first problem as an error that names the parameter; values are never repeated."""
    first: Mapping[str, Any] = problems[0]
    location = first["loc"]
    if first["type"] == KIND:
        location = (*location, *first["ctx"]["place"])
    param = path(location)
    match first["type"]:
        case "json_invalid":
            return InvalidRequest("The body is not valid JSON.", code="invalid_json")
        case "missing" if param:
            return missing(param)
        case "extra_forbidden":
            return InvalidRequest(
                f"Unknown parameter: '{param}'.", param=param, code="unknown_parameter"
            )
    reason = str(first["msg"]).removeprefix("Value error, ")
    if not param and first["type"] == "value_error":  # of the fields together
        return InvalidRequest(f"Invalid body: {reason}.", code="invalid_value")
    if not param:
        return InvalidRequest(
            "The body must be a JSON object, sent with the content type application/json.",
            code="invalid_body",
        )
    return InvalidRequest(
        f"Invalid value for '{param}': {reason}.", param=param, code="invalid_value"
    )


def missing(param: str) -> InvalidRequest:
    """A parameter that must be there is not."""
    return InvalidRequest(
        f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter"
    )


def path(location: Sequence[str | int]) -> str:
    """`("body", "versions", 0, "label")` as `versions[0].label`."""
    steps = location[1:] if location and location[0] in _PLACES else location
    text = ""
    for step in steps:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text
