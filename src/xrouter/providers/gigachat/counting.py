"""Token counts by GigaChat's own tokenizer (`POST /tokens/count`)."""

from __future__ import annotations

from http import HTTPStatus

import msgspec
from msgspec import Struct

from xrouter.domain.chat import ChatRequest
from xrouter.domain.counting import CountRequest, TokenCount
from xrouter.domain.plan import Target
from xrouter.providers.gigachat.answers import decoded
from xrouter.providers.gigachat.embeddings import PORTION
from xrouter.providers.gigachat.errors import error_of, malformed
from xrouter.providers.gigachat.messages import read_history
from xrouter.providers.gigachat.tools import read_tools
from xrouter.wire.types import Errand, WireReply, WireRequest

_HEADERS = {"accept": "application/json", "content-type": "application/json"}


class WireCount(Struct):
    """The count of one text."""

    tokens: int


_counts = msgspec.json.Decoder(list[WireCount])


def count(
    request: CountRequest, target: Target, base_url: str, *, fetch: bool
) -> Errand[TokenCount]:
    """Count the texts, or all texts of a chat; what a file will cost is not known before."""
    if request.chat is None:
        parts = yield from _count(request.texts or [], target, base_url)
        return TokenCount(tuple(parts))
    texts, estimated = _texts_of(request.chat, fetch=fetch)
    parts = yield from _count(texts, target, base_url)
    return TokenCount((sum(parts),), estimated=estimated)


def _texts_of(chat: ChatRequest, *, fetch: bool) -> tuple[list[str], bool]:
    """What goes out as text, and whether something else goes out besides."""
    history = read_history(chat.messages, fetch_images=fetch)
    tooling = read_tools(chat)
    texts: list[str] = []
    for message in history.wire([tooling.instruction] if tooling.instruction else []):
        call = message.get("function_call")
        texts += [message["content"]] if message["content"] else []
        texts += [f"{call['name']}{bytes(call['arguments']).decode()}"] if call else []
    functions = tooling.fields.get("functions")
    if functions:
        texts.append(msgspec.json.encode(functions).decode())
    return texts, bool(history.media or functions)


def _count(texts: list[str], target: Target, base_url: str) -> Errand[list[int]]:
    counts: list[int] = []
    for start in range(0, len(texts), PORTION):
        portion = texts[start : start + PORTION]
        body = msgspec.json.encode({"model": target.version.upstream, "input": portion})
        reply = yield WireRequest("POST", f"{base_url}/tokens/count", dict(_HEADERS), body)
        found = _decode(reply)
        if len(found) != len(portion):
            raise malformed("there is not one count for each text")
        counts += [item.tokens for item in found]
    return counts


def _decode(reply: WireReply) -> list[WireCount]:
    if reply.status >= HTTPStatus.MULTIPLE_CHOICES:
        raise error_of(reply)
    return decoded(_counts, reply.body)
