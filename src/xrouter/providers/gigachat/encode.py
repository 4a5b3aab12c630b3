"""From a chat request to the body of `POST /chat/completions`."""

from __future__ import annotations

from typing import Any

import msgspec

from xrouter.domain.chat import ChatRequest
from xrouter.domain.errors import InvalidRequest
from xrouter.domain.plan import Target
from xrouter.providers.gigachat import parameters
from xrouter.providers.gigachat.decode import GigaChatExchange
from xrouter.providers.gigachat.messages import read_history
from xrouter.providers.gigachat.tools import read_tools
from xrouter.wire.types import WireRequest

JSON = {"accept": "application/json", "content-type": "application/json"}
_STREAM = {"accept": "text/event-stream", "content-type": "application/json"}

_ONLY_JSON = (
    "Answer with one valid JSON object and nothing else: no explanations and no Markdown around it."
)


def encode(request: ChatRequest, target: Target, base_url: str) -> GigaChatExchange:
    """Translate. Raises InvalidRequest, naming the parameter, for what cannot be said."""
    parameters.refuse_unsupported(request)
    history = read_history(request.messages)
    tooling = read_tools(request)
    form, asked_json, form_dropped = _response_format(request.response_format)
    effort, effort_dropped = parameters.reasoning(request)
    wanted = (tooling.instruction, asked_json)
    body: dict[str, Any] = {
        **parameters.native_fields(request.fields),
        "model": target.version.upstream,
        "messages": history.wire([text for text in wanted if text is not None]),
        **parameters.sampling(request),
        **effort,
        **tooling.fields,
        **form,
    }
    if request.streaming:
        body["stream"] = True
    named = ["messages.name"] if history.named else []
    dropped = [
        *parameters.given_up(request.fields),
        *effort_dropped,
        *tooling.dropped,
        *form_dropped,
        *named,
    ]
    headers = dict(_STREAM if request.streaming else JSON)
    wire = WireRequest("POST", f"{base_url}/chat/completions", headers, msgspec.json.encode(body))
    legacy = not request.tools and bool(request.functions)
    return GigaChatExchange(wire, tuple(dropped), request.stops, legacy=legacy)


def _response_format(
    given: dict[str, Any] | None,
) -> tuple[dict[str, Any], str | None, list[str]]:
    """The request field, or an instruction that stands for it, and the names given up.

    A schema goes out natively, untouched. `json_object` does not exist: GigaChat is only asked for
    JSON, nothing checks it, and `response_format` is listed as given up.
    """
    kind = given.get("type") if given else None
    if given is None or kind == "text":
        return {}, None, []
    if kind == "json_object":
        return {}, _ONLY_JSON, ["response_format"]
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
    form = {"type": "json_schema", "schema": schema}
    if isinstance(spec.get("strict"), bool):
        form["strict"] = spec["strict"]
    described = spec.get("description") is not None
    return {"response_format": form}, None, ["response_format.description"] if described else []
