"""The shapes of answers in the second contract, and what they mean in ours."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import Struct

from xrouter.domain.answer import Usage
from xrouter.providers.gigachat.answers import WireBody, WireFunction, decoded

_PICTURE = "image"
_FILE_ID = re.compile(r"[0-9A-Za-z_-]{8,64}")


class WireCall(WireFunction):
    """A call; of several calls each has an id."""

    id: Any = None


class WireFile(Struct):
    """A file that was made. target: what it is ("image")."""

    id: str
    mime: str | None = None
    target: str | None = None

    @property
    def is_picture(self) -> bool:
        """Whether it is a picture that can be asked for by its id."""
        drawn = self.target == _PICTURE or (self.mime or "").startswith("image/")
        return drawn and _FILE_ID.fullmatch(self.id) is not None


class WireSource(Struct):
    """A page that was read."""

    url: str | None = None
    title: str | None = None


class WireInline(Struct):
    """What belongs to a text: the sources by the numbers it names."""

    sources: dict[str, WireSource] | None = None


class WirePart(Struct):
    """A part of a message; most have one field."""

    text: str | None = None
    files: list[WireFile] | None = None
    function_call: WireCall | None = None
    inline_data: WireInline | None = None


class WireMessage(Struct):
    """A message, or a piece of it. The id of its state has three names."""

    role: str | None = None
    content: list[WirePart] | str | None = None
    tool_state_id: Any = None
    tools_state_id: Any = None
    functions_state_id: Any = None
    reasoning_content: str | None = None
    function_call: WireCall | None = None
    inline_data: WireInline | None = None
    finish_reason: str | None = None

    @property
    def parts(self) -> list[WirePart]:
        """The content as parts; what stands beside them is one, too."""
        parts = self.content or []
        if isinstance(parts, str):
            parts = [WirePart(text=parts)]
        if self.function_call is not None or self.inline_data is not None:
            parts = [*parts, WirePart(None, None, self.function_call, self.inline_data)]
        return parts

    @property
    def state(self) -> Any:
        """The id of the state of its calls."""
        return self.tool_state_id or self.tools_state_id or self.functions_state_id


class WireInput(Struct):
    """Details of the prompt's tokens."""

    cached_tokens: int | None = None


class WireUsage(Struct):
    """Token counts; the input includes what came from the cache [recorded]."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: WireInput | None = None


class WireAnswer(WireBody):
    """An answer or an event."""

    messages: list[WireMessage] | None = None
    finish_reason: str | None = None
    usage: WireUsage | None = None
    tools_state_id: Any = None

    @property
    def finish(self) -> str | None:
        """Why it ended, wherever that is said."""
        told = (message.finish_reason for message in self.messages or ())
        return self.finish_reason or next((reason for reason in told if reason), None)


_decoder = msgspec.json.Decoder(WireAnswer)


def parse(data: bytes) -> WireAnswer:
    """An answer or an event. Raises UpstreamMalformed."""
    return decoded(_decoder, data)


def usage_of(given: WireUsage) -> Usage:
    """The token counts."""
    details = given.input_tokens_details
    return Usage(
        prompt_tokens=given.input_tokens or 0,
        completion_tokens=given.output_tokens or 0,
        cached_tokens=(details.cached_tokens or 0) if details is not None else 0,
    )
