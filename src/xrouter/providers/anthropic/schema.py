"""JSON schemas as Anthropic's structured answers take them.

Objects must be closed, and limits of numbers, lengths and the like are unknown: they are told in
the description, as the provider's own client does it.
"""

from __future__ import annotations

from typing import Any

_UNKNOWN = frozenset(
    {
        "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength",
        "maxLength", "pattern", "maxItems", "uniqueItems", "contains", "minContains",
        "maxContains", "minProperties", "maxProperties", "propertyNames", "patternProperties",
        "dependentRequired", "dependentSchemas", "if", "then", "else", "not",
        "unevaluatedProperties", "unevaluatedItems",
    }
)  # fmt: skip
_FORMATS = frozenset(
    {
        "date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid",
    }
)  # fmt: skip
_BY_NAME = ("properties", "$defs", "definitions")
_LISTS = ("anyOf", "allOf")
_NOTES = ("$schema", "$id", "$comment")
_MAX_DEPTH = 64
_MAX_TOLD = 500


class Fitting:
    """Fits one schema. lossy: something in it will not be enforced, or is narrower than it was."""

    def __init__(self) -> None:
        self.lossy = False

    def fit(self, schema: Any, depth: int = 0) -> Any:
        """The schema as it can be sent; what lies too deep stays as it is."""
        if not isinstance(schema, dict) or depth > _MAX_DEPTH:
            return schema
        known = {key: value for key, value in schema.items() if not _is_unknown(key, value)}
        if "oneOf" in known and "anyOf" not in known:
            known["anyOf"] = known.pop("oneOf")
        fitted = {
            key: self._within(key, value, depth + 1)
            for key, value in known.items()
            if key not in _NOTES
        }
        told = [
            f"{key}: {value}"[:_MAX_TOLD]
            for key, value in schema.items()
            if _is_unknown(key, value)
        ]
        if told:
            self.lossy = True
            before = f"{schema['description']}\n\n" if schema.get("description") else ""
            fitted["description"] = f"{before}{{{', '.join(told)}}}"
        if _is_object(schema):
            self.lossy = self.lossy or schema.get("additionalProperties") not in (None, False)
            fitted["additionalProperties"] = False
        return fitted

    def _within(self, key: str, value: Any, depth: int) -> Any:
        if key in _BY_NAME and isinstance(value, dict):
            return {name: self.fit(one, depth) for name, one in value.items()}
        if key in _LISTS and isinstance(value, list):
            return [self.fit(one, depth) for one in value]
        return self.fit(value, depth) if key == "items" else value


def _is_unknown(key: str, value: Any) -> bool:
    if key == "format":
        return not isinstance(value, str) or value not in _FORMATS
    if key == "minItems":
        return value not in (0, 1)
    return key in _UNKNOWN


def _is_object(schema: dict[str, Any]) -> bool:
    kind = schema.get("type")
    kinds = kind if isinstance(kind, list) else [kind]
    return "object" in kinds or (kind is None and "properties" in schema)
