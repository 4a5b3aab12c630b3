"""What an error of a service that speaks OpenAI's language says, whatever its shape.

{"error": {"message", "type", "param", "code"}}     code: text, number or null
{"error": "text"}
{"detail": "text"}, {"detail": [{"loc", "msg"}]}
{"message": "text", "code": ...}
plain text, HTML
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct

MAX_TEXT = 1000
_MAX_NAME = 200

_OF_THE_OPERATOR = re.compile(
    r"\b(?:org|proj|user)-?_?[A-Za-z0-9]{12,}\b|\bsk-[\w*-]{8,}|\bBearer\s+[\w.~+/=-]{8,}"
)
"""Ids of accounts, and keys that an error repeats."""


class Problem(Struct, kw_only=True):
    """An error, read but not yet judged.

    text: its words on one line, "" for none; known: whether it was JSON that looks like an error.
    status: the HTTP status that it names itself. fields: the error object as it came.
    """

    text: str = ""
    type: str | None = None
    code: str | None = None
    param: str | None = None
    status: int | None = None
    known: bool = False
    fields: dict[str, Any] = {}

    def says(self, *phrases: str) -> bool:
        """Whether one of the phrases (lower case) is in the text."""
        lowered = self.text.lower()
        return any(phrase in lowered for phrase in phrases)


class Cleaner:
    """Takes secrets and the operator's ids out of texts that go to the caller."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = sorted((text for text in secrets if text), key=len, reverse=True)

    def clean(self, text: str) -> str:
        """One line of bounded length without secrets."""
        text = text[: 4 * MAX_TEXT]
        for secret in self._secrets:
            text = text.replace(secret, "***")
        text = " ".join(_OF_THE_OPERATOR.sub("***", text).split())
        return text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + "..."


def problem_in(body: bytes, cleaner: Cleaner) -> Problem:
    """The problem that the body of an error reply tells of. Reads anything."""
    try:
        data: Any = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        text = body[: 8 * MAX_TEXT].decode("utf-8", "replace").strip()
        return Problem(text="" if text.startswith("<") else cleaner.clean(text))
    return problem_of(data, cleaner)


def problem_of(data: Any, cleaner: Cleaner) -> Problem:
    """The problem that a decoded error object tells of."""
    outer = data if isinstance(data, dict) else {}
    error = outer.get("error") or outer
    fields = error if isinstance(error, dict) else {}
    text = _text(error) or _text(outer) or (data if isinstance(data, str) else "")
    code, kind, param = (fields.get(key) for key in ("code", "type", "param"))
    return Problem(
        text=cleaner.clean(text),
        type=_name(kind),
        code=_code(code),
        param=_name(param),
        status=_status(fields.get("status"), fields.get("status_code"), code, outer.get("code")),
        known=bool(outer.get("error")) or ("message" in outer) or ("detail" in outer),
        fields=fields,
    )


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if not isinstance(value, dict):
        return ""
    for key in ("message", "error", "detail", "msg"):
        found = value.get(key)
        if isinstance(found, str) and found:
            return found
    details = value.get("detail")
    return _details(details) if isinstance(details, list) else ""


def _details(details: list[Any]) -> str:
    """FastAPI's validation errors: `body.messages: Field required; ...`."""
    told = []
    for item in details[:5]:
        if isinstance(item, dict) and isinstance(item.get("msg"), str):
            where = item.get("loc")
            path = ".".join(str(part) for part in where) if isinstance(where, list) else ""
            told.append(f"{path}: {item['msg']}" if path else item["msg"])
    return "; ".join(told)


def _name(value: Any) -> str | None:
    return value[:_MAX_NAME] if isinstance(value, str) and value else None


def _code(value: Any) -> str | None:
    """A code as text; HTTP statuses in its place say nothing new."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return None if _status(value) is not None else str(value)[:_MAX_NAME]
    name = _name(value)
    return None if name is None or name.isdecimal() else name


def _status(*values: Any) -> int | None:
    for value in values:
        number = int(value) if isinstance(value, str) and re.fullmatch(r"\d{3}", value) else value
        if isinstance(number, int) and not isinstance(number, bool) and 300 <= number < 600:  # noqa: PLR2004 - HTTP
            return number
    return None
