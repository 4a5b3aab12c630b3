"""Tokens by the model's own vocabulary: of texts alone, or of the prompt that a chat becomes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from msgspec import Raw, Struct

from xrouter.domain.counting import TokenCount
from xrouter.domain.errors import UpstreamMalformed, XRouterError
from xrouter.wire.types import Errand, WireReply, WireRequest

_HEADERS = {"content-type": "application/json", "accept": "application/json"}

T = TypeVar("T")

Judge = Callable[[WireReply], XRouterError]
"""What makes an error of a reply that is one."""


class _Tokens(Struct):
    tokens: list[Raw]


class _Prompt(Struct):
    prompt: str


def count_texts(root: str, model: str, texts: list[str], judge: Judge) -> Errand[TokenCount]:
    """Each text by itself, without the marks that a template puts around it."""
    parts: tuple[int, ...] = ()
    for text in texts:
        parts += ((yield from _tokens(root, model, text, judge, special=False)),)
    return TokenCount(parts)


def count_chat(
    root: str, model: str, wire: WireRequest, judge: Judge, *, estimated: bool
) -> Errand[TokenCount]:
    """The prompt of a chat request, beginning of text included.

    estimated: there is more in it than text, which is not counted.
    """
    reply = yield WireRequest("POST", f"{root}/apply-template", dict(_HEADERS), wire.body)
    prompt = _read(reply, _Prompt, judge).prompt
    tokens = yield from _tokens(root, model, prompt, judge, special=True)
    return TokenCount((tokens,), estimated=estimated)


def _tokens(root: str, model: str, text: str, judge: Judge, *, special: bool) -> Errand[int]:
    body: dict[str, Any] = {"model": model, "content": text, "add_special": special}
    wire = WireRequest("POST", f"{root}/tokenize", dict(_HEADERS), msgspec.json.encode(body))
    reply = yield wire
    return len(_read(reply, _Tokens, judge).tokens)


def _read(reply: WireReply, kind: type[T], judge: Judge) -> T:
    if reply.status >= 300:  # noqa: PLR2004 - HTTP
        raise judge(reply)
    try:
        return msgspec.json.decode(reply.body, type=kind)
    except (ValueError, RecursionError):
        raise UpstreamMalformed("The provider's count of tokens cannot be read.") from None
