"""What the simulated Mistral refuses in messages: fields, ids of calls, the order of roles."""

from __future__ import annotations

import re
from typing import Any

from xrouter.sandbox.mistral.errors import Wrong, bad_call, disorder, refused
from xrouter.sandbox.mistral.fields import (
    Check,
    Loc,
    array,
    boolean,
    closed,
    integer,
    one_of,
    string,
)

Message = dict[str, Any]

_UNEQUAL = "Not the same number of function calls and responses"
_ID = re.compile(r"[a-zA-Z0-9]{9}")


def check_fields(messages: list[Any], wrong: list[Wrong]) -> None:
    """Each message is one of the four kinds, and has no other fields."""
    for index, message in enumerate(messages):
        loc: Loc = ("messages", index)
        role = message.get("role") if isinstance(message, dict) else None
        known = _KINDS.get(role) if isinstance(role, str) else None
        if known is None:
            text = "Input tag does not match any of the expected tags: " + ", ".join(_KINDS)
            wrong.append(Wrong("union_tag_invalid", loc, text, message))
        else:
            closed(message, (*loc, str(role)), known, _NEEDED.get(str(role), ()), wrong)


def check_order(messages: list[Message], *, late_system: bool) -> None:
    """Raise ApiError for roles that may not follow each other, and for odd ids."""
    before = "start"
    pending = 0
    for message in messages:
        role = message["role"]
        late = role == "system" and before not in ("start", "system")
        if role not in _FOLLOWS[before] or (late and not late_system):
            raise disorder(f"Unexpected role '{role}' after role '{before}'")
        _check_ids(message)
        if role == "assistant":
            _check_assistant(message)
        pending = _pending(message, pending)
        before = role
    if pending:
        raise bad_call(_UNEQUAL)
    last = messages[-1]
    if last["role"] not in ("user", "tool") and not last.get("prefix"):
        raise disorder(
            "Expected last role User or Tool (or Assistant with prefix True) for serving but got "
            f"{last['role']}"
        )
    if any(message.get("prefix") for message in messages[:-1]):
        raise disorder("Only the last message may have prefix True")


def _pending(message: Message, before: int) -> int:
    """How many results are still to come after this message."""
    if message["role"] == "tool":
        if not before:
            raise bad_call(_UNEQUAL)
        return before - 1
    if before:
        raise bad_call(_UNEQUAL)
    return len(message.get("tool_calls") or ())


def _check_ids(message: Message) -> None:
    role = message["role"]
    _check_id(message.get("tool_call_id"), role)
    for call in message.get("tool_calls") or ():
        _check_id(call.get("id"), role)


def _check_id(given: Any, role: str) -> None:
    if given is None and role != "tool":
        return
    if not isinstance(given, str) or not _ID.fullmatch(given):
        raise bad_call(f"Tool call id was {given} but must be a-z, A-Z, 0-9, with a length of 9.")


def _check_assistant(message: Message) -> None:
    if not message.get("content") and not message.get("tool_calls"):
        raise refused("Assistant message must have either content or tool_calls, but not none.")


def _content(*kinds: str) -> Check:
    def check(value: Any, loc: Loc, wrong: list[Wrong]) -> None:
        if isinstance(value, str):
            return
        array(value, loc, wrong)
        for index, chunk in enumerate(value) if isinstance(value, list) else ():
            kind = chunk.get("type") if isinstance(chunk, dict) else None
            if kind not in kinds:
                text = "Input tag does not match any of the expected tags: " + ", ".join(kinds)
                wrong.append(Wrong("union_tag_invalid", (*loc, index), text, chunk))
            else:
                known = {"type": string} | _CHUNKS[kind]
                closed(chunk, (*loc, index, kind), known, (_field_of(kind),), wrong)

    return check


def _field_of(kind: str) -> str:
    """The field that a chunk of this type must have."""
    return {"file": "file_id", "reference": "reference_ids"}.get(kind, kind)


def _image(value: Any, loc: Loc, wrong: list[Wrong]) -> None:
    if not isinstance(value, str):
        closed(value, loc, {"url": string, "detail": string}, ("url",), wrong)


def _calls(value: Any, loc: Loc, wrong: list[Wrong]) -> None:
    array(value, loc, wrong)
    known: dict[str, Check] = {
        "id": string,
        "type": one_of("function"),
        "function": _called,
        "index": integer(0),
    }
    for index, call in enumerate(value) if isinstance(value, list) else ():
        closed(call, (*loc, index), known, ("function",), wrong)


def _called(value: Any, loc: Loc, wrong: list[Wrong]) -> None:
    known: dict[str, Check] = {"name": string, "arguments": _arguments}
    closed(value, loc, known, ("name", "arguments"), wrong)


def _arguments(value: Any, loc: Loc, wrong: list[Wrong]) -> None:
    if not isinstance(value, dict):
        string(value, loc, wrong)


_CHUNKS: dict[str, dict[str, Check]] = {
    "text": {"text": string},
    "image_url": {"image_url": _image},
    "document_url": {"document_url": string, "document_name": string},
    "reference": {"reference_ids": array},
    "file": {"file_id": string},
    "thinking": {"thinking": array, "signature": string, "closed": boolean},
    "input_audio": {"input_audio": string},
}
_ALL = _content(*(kind for kind in _CHUNKS if kind != "thinking"))
_KINDS: dict[str, dict[str, Check]] = {
    "system": {"role": string, "content": _content("text", "thinking")},
    "user": {"role": string, "content": _ALL},
    "assistant": {
        "role": string,
        "content": _content("text", "thinking", "reference"),
        "tool_calls": _calls,
        "prefix": boolean,
    },
    "tool": {"role": string, "content": _ALL, "tool_call_id": string, "name": string},
}
_NEEDED = {"system": ("content",), "tool": ("content",)}
_FOLLOWS = {
    "start": ("system", "user", "assistant"),
    "system": ("system", "user", "assistant"),
    "user": ("assistant", "system", "user"),
    "assistant": ("user", "tool", "system"),
    "tool": ("assistant", "tool"),
}
"""Which roles may come after which."""
