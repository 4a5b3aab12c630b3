"""The parser for each framing."""

from __future__ import annotations

from xrouter.wire.ndjson import NdjsonParser
from xrouter.wire.parser import Parser
from xrouter.wire.sse import SseParser
from xrouter.wire.types import Framing

_PARSERS: dict[Framing, type[Parser]] = {
    Framing.SSE: SseParser,
    Framing.NDJSON: NdjsonParser,
}


def parser_for(framing: Framing) -> Parser:
    """A new parser, for one body."""
    return _PARSERS[framing]()
