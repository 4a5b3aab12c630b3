"""Bodies of the Responses API that come to chat completions: agents of some editors send them.

They are read as such, and answered as chat completions; custom tools are called as functions.
"""

from __future__ import annotations

from xrouter.domain.chat import ChatRequest
from xrouter.domain.errors import InvalidRequest
from xrouter.edge.dialects.openai.chat import read_chat
from xrouter.edge.dialects.responses.body import ResponsesBody, read_body
from xrouter.edge.dialects.responses.request import translate

_ELSEWHERE = ("previous_response_id", "background")


def read_any(body: bytes) -> tuple[ChatRequest, tuple[str, ...]]:
    """A checked request, and what of it was given up. Raises as `read_chat` does."""
    try:
        return read_chat(body), ()
    except InvalidRequest as error:
        if (error.param, error.code) != ("messages", "missing_required_parameter"):
            raise
        if error.hint is None:  # there is no `input` either
            raise
    return _guest(read_body(body))


def _guest(body: ResponsesBody) -> tuple[ChatRequest, tuple[str, ...]]:
    for name in _ELSEWHERE:
        if getattr(body, name):
            raise InvalidRequest(
                f"'{name}' is for the Responses API; here the whole conversation is sent.",
                code="unsupported_parameter",
                param=name,
            )
    asked = translate(body, [])
    asked.chat.stream_options = body.stream_options
    dropped = [*asked.dropped]
    if body.store:
        dropped.append("store")
    if body.included("reasoning.encrypted_content"):
        dropped.append("include.reasoning.encrypted_content")
    if asked.tooling.custom:
        dropped.append("tools.custom")
    return asked.chat, tuple(dropped)
