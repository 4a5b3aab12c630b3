"""The form of an answer (`response_format`): a schema, natively or by a function, or any JSON."""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec
from msgspec import Struct

from xrouter.domain.chat import ChatRequest
from xrouter.domain.errors import InvalidRequest, XRouterError
from xrouter.providers.gigachat.names import upstream_name
from xrouter.providers.gigachat.schema import Budget, normalise

Way = Literal["plain", "native", "function", "instruction"]
"""How a form is asked for: not at all, by `response_format`, by a function that is to be called
with the answer as its arguments, by words."""

_ONLY_JSON = (
    "Answer with one valid JSON object and nothing else: no explanations and no Markdown around it."
)
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_FUNCTION = "answer"
_UNKNOWN_FORM = re.compile(r"response.?format|structured|json.?schema", re.IGNORECASE)


class Form(Struct, frozen=True, kw_only=True):
    """What was asked for. schema: None for plain text and for any JSON object."""

    json: bool = False
    schema: dict[str, Any] | None = None
    name: str = _FUNCTION
    description: str | None = None
    strict: bool | None = None


class Asking(Struct, frozen=True):
    """A form, asked for in one way: request fields, words for the system text, what is lost."""

    fields: dict[str, Any] = {}
    instruction: str | None = None
    dropped: tuple[str, ...] = ()


def read_form(request: ChatRequest) -> Form:
    """Read `response_format`. Raises InvalidRequest."""
    given = request.response_format
    kind = given.get("type") if given else None
    if given is None or kind == "text":
        return Form()
    if kind == "json_object":
        return Form(json=True)
    if kind != "json_schema":
        raise InvalidRequest(
            "GigaChat has the response formats 'text', 'json_object' and 'json_schema'.",
            code="unsupported_value",
            param="response_format.type",
        )
    nested = given.get("json_schema")
    spec = nested if isinstance(nested, dict) else given  # its own flat form is understood too
    schema = spec.get("schema")
    if not isinstance(schema, dict):
        where = "response_format.json_schema.schema"
        raise InvalidRequest(
            f"'{where}' must be a JSON schema.", code="missing_required_parameter", param=where
        )
    name, description, strict = (spec.get(key) for key in ("name", "description", "strict"))
    return Form(
        json=schema.get("type", "object") == "object",
        schema=schema,
        name=upstream_name(name) if isinstance(name, str) and _NAME.fullmatch(name) else _FUNCTION,
        description=description if isinstance(description, str) else None,
        strict=strict if isinstance(strict, bool) else None,
    )


def first_way(form: Form, *, native: bool) -> Way:
    """The way to begin with. native: whether the model may know schemas."""
    if form.schema is None:
        return "instruction" if form.json else "plain"
    return "native" if native else "function"


def ask(form: Form, way: Way) -> Asking:
    """The form in one way. Raises InvalidRequest for a schema that cannot be said so."""
    if way == "native":
        wire: dict[str, Any] = {"type": "json_schema", "schema": form.schema}
        if form.strict is not None:
            wire["strict"] = form.strict
        dropped = () if form.description is None else ("response_format.description",)
        return Asking({"response_format": wire}, None, dropped)
    if way == "function":
        return _as_function(form)
    if way == "instruction":
        return _as_words(form)
    return Asking()


def is_unknown_form(error: XRouterError) -> bool:
    """Whether the model was asked for a form it does not know, or cannot read."""
    known = isinstance(error, InvalidRequest) and error.upstream_status in (400, 422)
    return known and _UNKNOWN_FORM.search(error.message) is not None


def _as_function(form: Form) -> Asking:
    lost: dict[str, None] = {}
    where = "response_format.json_schema.schema"
    function: dict[str, Any] = {"name": form.name}
    if form.description is not None:
        function["description"] = form.description
    function["parameters"] = normalise(form.schema, where, Budget(), lost)
    dropped = [f"response_format.schema.{word}" for word in lost]
    if form.strict:
        dropped.append("response_format.strict")
    return Asking(
        {"functions": [function], "function_call": {"name": form.name}}, None, tuple(dropped)
    )


def _as_words(form: Form) -> Asking:
    if form.schema is None:
        return Asking({}, _ONLY_JSON)
    text = msgspec.json.encode(form.schema).decode()
    told = "" if form.description is None else f" It is: {form.description}"
    words = f"{_ONLY_JSON}{told} It must fit this JSON schema: {text}"
    return Asking({}, words, ("response_format.strict",) if form.strict else ())
