"""Stop 2: the bytes of a chat request to ChatRequest."""

from __future__ import annotations

from typing import Any

import msgspec

from xrouter.domain.chat import ChatRequest, Fields, Message
from xrouter.domain.errors import InvalidRequest
from xrouter.edge.mistakes import DECODE_ERRORS, explain, invalid_value, missing

ROLES = ("developer", "system", "user", "assistant", "tool", "function")
MAX_STOPS = 4
_INT64 = 1 << 63
_WHOLE_NUMBERS = ("max_tokens", "max_completion_tokens", "seed")

_fields = msgspec.json.Decoder(Fields)
_request = msgspec.json.Decoder(ChatRequest)


def read_chat(body: bytes) -> ChatRequest:
    """A checked request. Raises InvalidRequest that names the parameter at fault."""
    try:
        if not body.isascii():
            body.decode()
        fields = _fields.decode(body)
        request = _request.decode(body)
    except DECODE_ERRORS as error:
        raise _explain(error, body) from None
    request.fields = fields
    _check_parameters(request)
    _check_messages(request)
    return request


def _check_parameters(request: ChatRequest) -> None:
    if isinstance(request.stop, list) and len(request.stop) > MAX_STOPS:
        raise InvalidRequest(
            f"Invalid 'stop': array too long. Expected at most {MAX_STOPS} elements, "
            f"but got {len(request.stop)} instead.",
            code="array_above_max_length",
            param="stop",
        )
    if request.stream_options is not None and not request.streaming:
        raise invalid_value(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
            param="stream_options",
        )
    if request.seed is None and request.output_limit is None:
        return
    for name in _WHOLE_NUMBERS:
        number = getattr(request, name)
        if number is not None and not -_INT64 <= number < _INT64:
            raise InvalidRequest(
                f"Invalid '{name}': it does not fit into 64 bits.",
                code=f"integer_{'below_min' if number < 0 else 'above_max'}_value",
                param=name,
            )


def _check_messages(request: ChatRequest) -> None:
    called: set[str] = set()
    """Ids of tool calls that have no answer yet."""
    filled = False
    for index, message in enumerate(request.messages):
        role, content = message.role, message.content
        if role not in ROLES:
            raise invalid_value(
                f"Invalid value: '{role[:40]}'. Supported values are: "
                f"{', '.join(repr(known) for known in ROLES)}.",
                param=f"messages[{index}].role",
            )
        if isinstance(content, list):
            _check_parts(content, f"messages[{index}].content")
        if role == "user":
            if not content and content != "":
                raise _no_content(index, message)
        elif role == "assistant":
            if message.tool_calls:
                called.update(call.id for call in message.tool_calls)
        elif role == "tool":
            filled |= _answer_call(message, called, index)
    if filled:
        _write_ids_back(request)


def _check_parts(parts: list[dict[str, Any]], where: str) -> None:
    for index, part in enumerate(parts):
        kind = part.get("type")
        if kind is None:
            raise missing(f"{where}[{index}].type")
        if not isinstance(kind, str):
            raise InvalidRequest(
                f"Invalid type for '{where}[{index}].type': expected a string.",
                code="invalid_type",
                param=f"{where}[{index}].type",
            )


def _no_content(index: int, message: Message) -> InvalidRequest:
    param = f"messages[{index}].content"
    if message.content is None:
        return InvalidRequest(
            f"Invalid value for '{param}': expected a string or an array of content parts, "
            "got null.",
            code="invalid_type",
            param=param,
        )
    return InvalidRequest(
        f"Invalid '{param}': empty array. Expected at least one content part.",
        code="empty_array",
        param=param,
    )


def _answer_call(message: Message, called: set[str], index: int) -> bool:
    """Mark a call as answered; with one open call its id may be left out. Whether it was."""
    if message.tool_call_id:
        called.discard(message.tool_call_id)
        return False
    if len(called) != 1:
        raise missing(
            f"messages[{index}].tool_call_id",
            hint=f"It may be left out when exactly one call is open; here {len(called)} are.",
        )
    message.tool_call_id = called.pop()
    return True


def _write_ids_back(request: ChatRequest) -> None:
    """Let the untouched fields say the same as the messages."""
    raw: list[dict[str, msgspec.Raw]] = msgspec.json.decode(
        request.fields["messages"], type=list[dict[str, msgspec.Raw]]
    )
    for plain, message in zip(raw, request.messages, strict=True):
        if message.role == "tool":
            plain["tool_call_id"] = msgspec.Raw(msgspec.json.encode(message.tool_call_id))
    request.fields["messages"] = msgspec.Raw(msgspec.json.encode(raw))


def _explain(error: Exception, body: bytes) -> InvalidRequest:
    """As `explain`; besides, recognise the body of another API."""
    reason = explain(error)
    if reason.param == "messages" and reason.code == "missing_required_parameter":
        names = _fields.decode(body)
        if "input" in names:
            return missing(
                "messages",
                hint="This looks like a body for the Responses API ('input'); "
                "chat completions take 'messages'.",
            )
    return reason
