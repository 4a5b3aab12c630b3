"""One chat call: failures under status 200 are what they are, `n` is asked for by several calls."""

from __future__ import annotations

import msgspec
from typing_extensions import override

from xrouter.domain.answer import ChatAnswer
from xrouter.domain.errors import InvalidRequest, XRouterError
from xrouter.providers.base import ChatExchange
from xrouter.providers.openrouter.errors import GENERATION
from xrouter.providers.openrouter.strict import is_strict, mended
from xrouter.providers.shapes.openai_answer import read_object
from xrouter.providers.shapes.openai_chat import OpenAIChat
from xrouter.providers.shapes.openai_errors import ErrorReader
from xrouter.wire.types import WireReply, WireRequest

_ERROR = b'"error"'


class OpenRouterChat(OpenAIChat):
    """OpenRouter takes no notice of `n`: each alternative is a call of its own."""

    def __init__(
        self, wire: WireRequest, errors: ErrorReader, dropped: tuple[str, ...], copies: int
    ) -> None:
        super().__init__(wire, errors, dropped)
        self.copies = copies

    @override
    def instead(self, error: XRouterError) -> ChatExchange | None:
        """With a history as a strict party behind wants it, when that is what it refused."""
        if not isinstance(error, InvalidRequest) or not is_strict(error.message):
            return None
        body = mended(self.wire.body)
        if body is None:
            return None
        wire = msgspec.structs.replace(self.wire, body=body)
        return OpenRouterChat(wire, self._errors, self.dropped, self.copies)

    @override
    def answer(self, reply: WireReply) -> ChatAnswer:
        check_told(reply, self._errors)
        try:
            return super().answer(reply)
        except XRouterError as error:
            error.upstream_request_id = reply.headers.get(GENERATION)
            raise


def check_told(reply: WireReply, errors: ErrorReader) -> None:
    """Raise the error of a reply of status 200, or of one of its choices, if there is one."""
    if _ERROR not in reply.body:
        return
    body = read_object(reply.body)
    choices = body.get("choices")
    for told in (body, *(choices if isinstance(choices, list) else ())):
        if isinstance(told, dict) and told.get("error"):
            error = errors.of_object(told)
            error.upstream_request_id = reply.headers.get(GENERATION) or error.upstream_request_id
            raise error
