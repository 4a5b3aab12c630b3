"""The name of a conversation: the provider keeps the prompts of one session in its cache."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any
from uuid import UUID

import msgspec

from xrouter.domain.chat import ChatRequest, text_of

SESSION = "x-session-id"
_BYTES = 16
_EMPTY = (b"null", b'""')
_TEXTS = ("text", "input_text")
_MARK = "cache_control"


def session_of(request: ChatRequest, upstream: str, endpoint: int) -> str:
    """A UUID, the same for all requests of one conversation, in every process.

    `prompt_cache_key` or `metadata.session_id` name the conversation; without them it is told by
    how it begins (up to the user's first message) and by `user`. No two tenants share one, for
    what is cached in it can be heard by how fast the answer comes. endpoint: the endpoint's id.
    """
    name = _name(request)
    told: list[Any] = [endpoint, upstream, name is not None]
    if request.tenant:
        told.append({"tenant": request.tenant})
    told += [request.user, *_beginning(request)] if name is None else [name]
    digest = blake2b(msgspec.json.encode(told), digest_size=_BYTES).digest()
    return str(UUID(bytes=digest, version=5))


def _name(request: ChatRequest) -> Any:
    key = request.fields.get("prompt_cache_key")
    if key is not None and bytes(key) not in _EMPTY:
        return key
    raw = request.fields.get("metadata")
    metadata = None if raw is None else msgspec.json.decode(raw)
    return metadata.get("session_id") if isinstance(metadata, dict) else None


def _beginning(request: ChatRequest) -> list[Any]:
    """What the messages up to the user's first one say: this stays as the conversation goes.

    Marks of the prompt cache do not: clients move them on with each turn.
    """
    said: list[Any] = []
    for message in request.messages:
        content = message.content
        said.append(text_of(content))
        if isinstance(content, list):
            others = (part for part in content if part.get("type") not in _TEXTS)
            said += [{k: v for k, v in part.items() if k != _MARK} for part in others]
        if message.role == "user":
            break
    return said
