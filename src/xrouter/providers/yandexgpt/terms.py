"""What a decoder must know of the request that it reads the answer to."""

from __future__ import annotations

import secrets

from msgspec import Struct

from xrouter.domain.answer import FINISH_REASONS
from xrouter.providers.yandexgpt.errors import ErrorReader
from xrouter.providers.yandexgpt.text import TextGate


class Terms(Struct, frozen=True, kw_only=True):
    """ref: `name/branch` that was asked. own: it is one of the provider's own models.

    legacy: asked with `functions`, so a call is answered as `function_call`.
    single_call: at most one call may be answered. prompt_chars: for estimates of usage.
    """

    ref: str
    folder: str
    own: bool
    errors: ErrorReader
    stops: tuple[str, ...] = ()
    markers: tuple[str, ...] = ()
    legacy: bool = False
    single_call: bool = False
    prompt_chars: int = 0

    def gate(self) -> TextGate:
        """A new gate for the text of one alternative."""
        return TextGate(self.stops, self.markers)

    def finish(self, reason: str | None, gate: TextGate, *, called: bool) -> str:
        """The finish reason that goes out. A missing or unknown one is told by what was said."""
        if gate.stopped:
            return "stop"
        if reason in ("length", "content_filter"):
            return reason
        if called:
            return "function_call" if self.legacy else "tool_calls"
        if self.own and gate.filtered:
            return "content_filter"
        return reason if reason in FINISH_REASONS and "call" not in reason else "stop"


def new_call_id() -> str:
    """An id for a tool call: the provider has none, or none that is unique."""
    return f"call_{secrets.token_hex(12)}"
