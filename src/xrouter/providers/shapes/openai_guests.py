"""Requests made for the Messages API, at services that refuse fields they do not know."""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec
from msgspec import Raw
from typing_extensions import override

from xrouter.domain.chat import ChatRequest
from xrouter.domain.errors import InvalidRequest, XRouterError
from xrouter.providers.base import ChatExchange
from xrouter.providers.shapes.messages_fields import (
    ALL,
    EFFORT,
    MARK,
    THINKING,
    at_home,
    without_marks,
)
from xrouter.providers.shapes.openai_chat import OpenAIChat
from xrouter.providers.shapes.openai_errors import ErrorReader
from xrouter.wire.types import WireRequest

_NAMED = re.compile(rf"\b(?:{'|'.join(sorted(ALL))})\b")
_STANDARD_ONLY, _USUAL_TIER = Raw(b'"standard_only"'), Raw(b'"default"')
"""The same word for "no better tier" in the Messages API and here."""


def without_guests(request: ChatRequest, *, thinks: bool) -> tuple[ChatRequest, list[str]]:
    """Without fields of the Messages API, which are refused there as unknown ones; their names.

    An effort that was made of them is one more for a model that does not think, or cannot but.
    """
    home, dropped = at_home(request, strict=True)
    bare = without_marks(home)
    if home is request and not bare and home.fields.get("service_tier") != _STANDARD_ONLY:
        return request, []
    fields = home.fields | bare
    dropped += [f"{name}.{MARK}" for name in bare]
    if home.reasoning_effort != request.reasoning_effort and (
        not thinks or home.reasoning_effort == "none"
    ):
        del fields[EFFORT]
        home = msgspec.structs.replace(home, reasoning_effort=None)
        dropped.append(THINKING)
    if fields.get("service_tier") == _STANDARD_ONLY:
        fields["service_tier"] = _USUAL_TIER
    return msgspec.structs.replace(home, fields=fields), dropped


def lessen(request: ChatRequest, error: InvalidRequest) -> tuple[ChatRequest, list[str]] | None:
    """The request without these fields, where the error is about one of them; else None."""
    about = f"{error.param} {error.message}"
    no_effort = EFFORT in about and request.reasoning_effort is None
    if not no_effort and _NAMED.search(about) is None:
        return None
    home, dropped = without_guests(request, thinks=not no_effort)
    return None if home is request else (home, dropped)


class GuestChat(OpenAIChat):
    """Asks in another way once, where there is one."""

    def __init__(
        self,
        wire: WireRequest,
        errors: ErrorReader,
        dropped: tuple[str, ...],
        again: Callable[[InvalidRequest], GuestChat | None],
    ) -> None:
        super().__init__(wire, errors, dropped)
        self._again = again

    @override
    def instead(self, error: XRouterError) -> ChatExchange | None:
        other = self._again(error) if isinstance(error, InvalidRequest) else None
        return None if other is None or other.wire.body == self.wire.body else other
