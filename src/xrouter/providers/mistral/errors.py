"""The provider's errors: four shapes of body, codes that are digits in strings.

{"object": "error", "message": text, "type", "param", "code": "3230", "raw_status_code"}
{"object": "error", "message": {"detail": [...]} or that as JSON text, ...}
{"detail": [{"loc", "msg", "type"}]}, {"detail": "Unauthorized"}
{"message": "Unauthorized", "request_id": ...}
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
from typing_extensions import override

from xrouter.domain.errors import (
    InvalidRequest,
    ModelNotFound,
    UpstreamOverloaded,
    UpstreamQuotaExhausted,
    XRouterError,
)
from xrouter.providers.mistral.parameters import SENT
from xrouter.providers.shapes.openai_errors import ErrorReader, too_long
from xrouter.providers.shapes.openai_problem import MAX_TEXT, Problem
from xrouter.wire.types import WireReply

REQUEST_IDS = ("mistral-correlation-id", "x-kong-request-id", "x-request-id")

_TOO_LONG = "3051"
_NO_MODEL = ("1500", "invalid_model")
_NO_CAPACITY = ("3505", "service_tier_capacity_exceeded")
_DISORDER = ("3230", "3280", "invalid_request_message_order", "invalid_function_call")
_STATUS_OF = {
    "rate_limited": 429,
    "service_tier_capacity_exceeded": 429,
    "invalid_request_message_order": 400,
    "invalid_function_call": 400,
    "invalid_model": 400,
    "internal_server_error": 500,
    "internal_error_proxy": 422,
}
"""The status of an error inside an answer, by its type."""

_ALLOWANCES = ("req-minute", "tokens-minute", "tokens-month")
_ROLES = frozenset({"system", "user", "assistant", "tool"})
"""Steps of the validator's path behind an index: which kind of message it took it for."""

_NAMES = re.compile(r"^\W?([a-z_]+)\b|['\"`]([a-z_]+)['\"`]|\b([a-z_]+) ?[<>=]")
"""Where the words of an error may name a parameter: first, quoted, or in a comparison."""

_MAX_STEPS = 10
_MAX_DETAILS = 5


class MistralErrors(ErrorReader):
    """What only this provider does."""

    @override
    def of_reply(self, reply: WireReply) -> XRouterError:
        body = _flat_body(reply.body)
        error = super().of_reply(msgspec.structs.replace(reply, body=body))
        if reply.status == 429 and _has_no_allowance(reply.headers):  # noqa: PLR2004 - HTTP
            error = UpstreamQuotaExhausted(
                "The account at the provider has no allowance for this model.",
                hint="For the operator: the endpoint's key may send nothing to this model; check "
                "its plan.",
                upstream_status=reply.status,
            )
        error.upstream_request_id = request_id_of(reply)
        return error

    @override
    def of_object(self, data: Any) -> XRouterError:
        flat = flattened(data)
        if isinstance(flat, dict) and flat.get("status") is None:
            status = flat.get("raw_status_code") or _STATUS_OF.get(str(flat.get("type")))
            flat = {**flat, "status": status}
        return super().of_object(flat)

    @override
    def special(self, status: int, problem: Problem) -> XRouterError | None:
        signs = {str(problem.fields.get("code")), problem.type}
        if _TOO_LONG in signs:
            return too_long(problem.text, problem.param)
        if signs & {*_NO_MODEL} and status < 500:  # noqa: PLR2004 - HTTP
            return ModelNotFound(
                problem.text or "The provider does not know this model.", param="model"
            )
        if signs & {*_NO_CAPACITY} or problem.says("service tier capacity exceeded"):
            return UpstreamOverloaded("The provider has no capacity for this model at the moment.")
        if signs & {*_DISORDER}:
            return InvalidRequest(problem.text, code=problem.type, param="messages")
        return None


def request_id_of(reply: WireReply) -> str | None:
    """The provider's id of the call: of the headers, the best first, else of the body."""
    found = next((reply.headers[name] for name in REQUEST_IDS if reply.headers.get(name)), None)
    if found is not None:
        return found
    data = _json(reply.body)
    told = data.get("request_id") if isinstance(data, dict) else None
    return told[:200] if isinstance(told, str) and told else None


def is_error(body: dict[str, Any]) -> bool:
    """Whether an object that came where an answer should be is an error."""
    if body.get("choices"):
        return False
    return body.get("object") == "error" or any(
        body.get(name) for name in ("error", "detail", "message")
    )


def flattened(data: Any) -> Any:
    """An error whose message is a text, and whose param is the field that is told to be wrong."""
    if not isinstance(data, dict):
        return data
    told = data.get("message") or data.get("detail")
    if isinstance(told, str) and told.lstrip()[:1] in ("{", "["):
        told = _json(told.encode()) or told
    if isinstance(told, dict):
        told = told.get("detail") or told.get("message") or msgspec.json.encode(told).decode()
    if not isinstance(told, list):
        if not isinstance(told, str):
            return data
        return {**data, "message": told, "param": data.get("param") or _named(told)}
    details = [one for one in told[:_MAX_DETAILS] if isinstance(one, dict)]
    paths = [_path(one.get("loc")) for one in details]
    texts = [
        f"{path}: {one.get('msg')}" if path else str(one.get("msg"))
        for path, one in zip(paths, details, strict=True)
    ]
    param = data.get("param") or next(filter(None, paths), None)
    return {**data, "message": "; ".join(texts), "param": param}


def _named(text: str) -> str | None:
    """The parameter that an error is about where only its words say so: `n is not supported`."""
    found = (next(filter(None, names.groups())) for names in _NAMES.finditer(text[:MAX_TEXT]))
    return next((name for name in found if name in SENT), None)


def _path(steps: Any) -> str:
    """`messages[0].name` of ["body", "messages", 0, "user", "name"]."""
    path = ""
    for step in steps[:_MAX_STEPS] if isinstance(steps, list) else ():
        if isinstance(step, int):
            path += f"[{step}]"
        elif path:
            path += "" if path.endswith("]") and step in _ROLES else f".{step}"
        elif step != "body":
            path = str(step)
    return path


def _flat_body(body: bytes) -> bytes:
    data = _json(body)
    return msgspec.json.encode(flattened(data)) if isinstance(data, dict) else body


def _has_no_allowance(headers: dict[str, str]) -> bool:
    """A limit of 0, or a month that is used up: waiting does not help."""
    limits = [headers.get(f"x-ratelimit-limit-{what}", "").strip() for what in _ALLOWANCES]
    return "0" in limits or headers.get("x-ratelimit-remaining-tokens-month", "").strip() == "0"


def _json(text: bytes) -> Any:
    try:
        return msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return None
