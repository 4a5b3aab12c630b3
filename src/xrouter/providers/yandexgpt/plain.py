"""Messages as plain text, for models that read nothing else."""

from __future__ import annotations

from typing import Any

from xrouter.domain.chat import Message
from xrouter.domain.errors import InvalidRequest

SYSTEM_ROLES = ("system", "developer")
RESULT_ROLES = ("tool", "function")


def plain_text(message: Message, where: str) -> str:
    """The text of a message, its parts joined by newlines; of an assistant also its refusal.

    Raises InvalidRequest that names the first part which is no text.
    """
    if isinstance(message.content, list):
        parts = enumerate(message.content)
        return "\n".join(part_text(part, f"{where}.content[{index}]") for index, part in parts)
    return message.content or message.refusal or ""


def part_text(part: dict[str, Any], where: str) -> str:
    """The text of one part. Raises InvalidRequest when it is none."""
    kind = part.get("type")
    text = part.get("refusal" if kind == "refusal" else "text")
    if kind not in ("text", "input_text", "output_text", "refusal"):
        raise InvalidRequest(
            f"Content of type '{kind}' is not supported by this model; only text is.",
            code="unsupported_value",
            param=where,
        )
    if not isinstance(text, str):
        raise InvalidRequest(f"'{where}.text' must be a string.", code="invalid_type", param=where)
    return text


def need_text(text: str, where: str) -> str:
    """The text of a user's message. Raises InvalidRequest when there is none."""
    if not text:
        raise InvalidRequest(
            f"'{where}.content' must not be empty for this model.",
            code="invalid_value",
            param=f"{where}.content",
        )
    return text


def unknown_role(role: str, where: str) -> InvalidRequest:
    """The error for a role that nobody knows."""
    return InvalidRequest(
        f"Invalid value for '{where}.role': '{role}'.",
        code="invalid_value",
        param=f"{where}.role",
    )
