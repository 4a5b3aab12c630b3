"""The lesser operations of the simulated GigaChat: checks of texts, checks of functions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from xrouter.sandbox.gigachat.errors import Refusal, invalid
from xrouter.sandbox.gigachat.functions import check_function
from xrouter.sandbox.gigachat.models import Model, model_named
from xrouter.sandbox.kit import SandboxRequest, SandboxResponse, count_tokens, json_response

Body = dict[str, Any]

RULES = "1.0.5"
_VERBS = ("get", "post", "put", "patch", "delete")
_OPERATIONS_MAX = 1000


def validate_function(body: Body) -> SandboxResponse:
    """POST /functions/validate: what is wrong with a definition, and what could be better."""
    errors: list[Body] = []
    try:
        check_function(body)
    except Refusal as refusal:
        errors.append({"description": refusal.message, "schema_location": "(root)"})
    warnings: list[Body] = []
    if not body.get("few_shot_examples"):
        warning = {"description": "few_shot_examples are missing", "schema_location": "(root)"}
        warnings.append(warning)
    told = {"status": 400 if errors else 200, "json_ai_rules_version": RULES, "warnings": warnings}
    if errors:
        return json_response(told | {"message": "Function is invalid", "errors": errors})
    return json_response(told | {"message": "Function is valid", "errors": []})


def convert_functions(request: SandboxRequest) -> SandboxResponse:
    """POST /functions/convert: the operations of an OpenAPI description, which must be JSON."""
    try:
        described = request.json()
        functions = [_function(*found) for found in _operations(described)]
    except (ValueError, AttributeError, TypeError, KeyError):
        raise invalid("the text is no OpenAPI description") from None
    if not functions:
        raise invalid("the OpenAPI description has no operations")
    return json_response({"functions": functions})


def check_ai(body: Body, models: dict[str, Model]) -> SandboxResponse:
    """POST /ai/check: texts that speak of AI were written by one."""
    model_named(models, body.get("model"), "aicheck")
    text = body.get("input")
    if not isinstance(text, str) or not text:
        raise invalid("input must be a non-empty string")
    made = " ai " in f" {text.lower()} "
    return json_response(
        {
            "category": "ai" if made else "human",
            "characters": len(text),
            "tokens": count_tokens(text),
            "ai_intervals": [[0, len(text)]] if made else [],
        }
    )


def check_filter(body: Body, models: dict[str, Model]) -> SandboxResponse:
    """POST /filter/check: what a chat would be refused for."""
    model_named(models, body.get("model"), "filter")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise invalid("messages must be a non-empty array")
    text = msgspec.json.encode(messages).decode()
    usage = {"filter_tokens": count_tokens(text)}
    return json_response({"is_profane": "[[blacklist]]" in text, "usage": usage})


def _operations(described: Any) -> Iterator[tuple[str, Body]]:
    found = 0
    for path, verbs in described.get("paths", {}).items():
        for verb in _VERBS:
            if verb in verbs and found < _OPERATIONS_MAX:
                found += 1
                yield (
                    verbs[verb].get("operationId") or f"{verb}{path}".replace("/", "_"),
                    verbs[verb],
                )


def _function(name: str, operation: Body) -> Body:
    given = operation.get("parameters", [])
    parameters = {
        "type": "object",
        "properties": {
            str(one["name"]): one.get("schema", {}) | {"description": one.get("description", "")}
            for one in given
        },
        "required": [str(one["name"]) for one in given if one.get("required")],
    }
    said = operation.get("summary") or operation.get("description") or ""
    return {"name": name, "description": said, "parameters": parameters}
