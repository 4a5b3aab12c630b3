"""The OpenAPI document of the hot routes, made from the types that they decode and encode."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from xrouter.edge.routes import Route

_VERSION = "3.1.0"
_TEMPLATE = "#/components/schemas/{name}"
_HIDDEN = ("xrouter.fields", "xrouter.tenant")
_SCHEME = "ApiKey"
_STATUSES = {
    "400": "The request is wrong; `param` names the field.",
    "401": "No key, or one that is not known.",
    "404": "There is no such model or URL.",
    "408": "The body did not arrive in time.",
    "413": "The body is too large.",
    "415": "The content encoding is not supported.",
    "424": "The provider refused the account that the caller's project brought.",
    "429": "A limit was reached; `retry-after` says when to come back.",
    "500": "A defect of XRouter.",
    "502": "The provider failed.",
    "503": "Nothing can answer at the moment.",
    "504": "The provider did not answer in time.",
    "529": "The provider is overloaded (in dialects that say it so).",
}


class ErrorPart(Struct):
    """hint: what the one who can fix it should do."""

    message: str
    type: str
    param: str | None
    code: str | None
    hint: str | None = None


class ErrorBody(Struct):
    """What every error looks like."""

    error: ErrorPart


def document(routes: list[Route]) -> dict[str, Any]:
    """A whole document. Shape: OpenAPI 3.1 as plain dictionaries."""
    kinds: list[type] = [ErrorBody]
    kinds += [kind for route in routes for kind in (route.request, route.answer) if kind]
    _, schemas = msgspec.json.schema_components(kinds, ref_template=_TEMPLATE)
    for schema in schemas.values():
        for name in _HIDDEN:
            schema.get("properties", {}).pop(name, None)
        schema["description"] = schema.get("description", "").partition("\n\n")[0]
    paths: dict[str, Any] = {}
    for route in routes:
        path = "/v1" + route.path.replace("/*", "/{id}")
        paths.setdefault(path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": _VERSION,
        "info": {
            "title": "XRouter",
            "version": "1",
            "description": "One OpenAI-compatible door. All paths under /v1 are served under "
            "/api/v1 and without a prefix as well.",
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {_SCHEME: {"type": "http", "scheme": "bearer"}},
        },
    }


def merge(ours: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Both documents in one; where they differ on the same name, ours stays."""
    merged = {**other, **ours}
    merged["paths"] = {**other.get("paths", {}), **ours["paths"]}
    merged["tags"] = [*ours.get("tags", []), *other.get("tags", [])]
    sections = other.get("components", {}).keys() | ours["components"].keys()
    merged["components"] = {
        name: {**other.get("components", {}).get(name, {}), **ours["components"].get(name, {})}
        for name in sorted(sections)
    }
    return merged


def _operation(route: Route) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if route.answer is not None:
        content["application/json"] = {"schema": _ref(route.answer)}
    if route.streams:
        content["text/event-stream"] = {"schema": {"type": "string"}}
    operation: dict[str, Any] = {
        "summary": route.summary,
        "operationId": _named(route),
        "tags": ["models"],
        "security": [{_SCHEME: []}],
        "responses": {"200": {"description": "The answer.", "content": content}},
    }
    for status, text in _STATUSES.items():
        operation["responses"][status] = {
            "description": text,
            "content": {"application/json": {"schema": _ref(ErrorBody)}},
        }
    if route.request is not None:
        media: dict[str, Any] = {"schema": _ref(route.request)}
        if route.example is not None:
            media["example"] = route.example
        operation["requestBody"] = {"required": True, "content": {"application/json": media}}
    if route.path.endswith("/*"):
        operation["parameters"] = [
            {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
        ]
    return operation


def _named(route: Route) -> str:
    words = route.path.replace("/*", "/id").replace("/", "_")
    return route.method.lower() + words


def _ref(kind: type) -> dict[str, str]:
    return {"$ref": _TEMPLATE.format(name=kind.__name__)}
