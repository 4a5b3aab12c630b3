"""Anthropic's Messages API: the routes of this dialect."""

from __future__ import annotations

from xrouter.domain.counting import CountRequest
from xrouter.edge.dialects.anthropic.errors import refusal
from xrouter.edge.dialects.anthropic.reply import Retelling
from xrouter.edge.dialects.anthropic.request import BETA, Upstream, translate, upstream_of
from xrouter.edge.dialects.anthropic.types import (
    CountTokensBody,
    InputTokenCount,
    MessageObject,
    MessagesBody,
    read_count,
    read_message,
)
from xrouter.edge.dialects.anthropic.voice import CountVoice, Manner, StreamVoice, WholeVoice
from xrouter.edge.routes import Route
from xrouter.edge.visit import Visit

_EXAMPLE = {
    "model": "provider/model",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "Hello!"}],
}


async def create(visit: Visit) -> None:
    """POST /messages."""
    _number(visit)
    key = visit.credential()
    body = await visit.read(read_message)
    asked = translate(body, _upstream(visit, body.model), _betas(visit))
    stops = tuple(body.stop_sequences or ())
    manner = Manner(visit.serial, visit.request_id, asked.dropped, stops)
    voice = StreamVoice(manner) if asked.chat.streaming else WholeVoice(manner)
    reply = Retelling(visit.answer_with(voice), asked.places, visit.out)
    await visit.means.flow.chat(asked.chat, key, visit.info("messages"), reply)


async def count_tokens(visit: Visit) -> None:
    """POST /messages/count_tokens."""
    _number(visit)
    key = visit.credential()
    body = await visit.read(read_count)
    asked = translate(body, _upstream(visit, body.model), _betas(visit))
    request = CountRequest(model=body.model, chat=asked.chat)
    voice = CountVoice(Manner(visit.serial, visit.request_id, asked.dropped))
    reply = Retelling(visit.answer_with(voice), asked.places, visit.out)
    await visit.means.flow.count(request, key, visit.info("count"), reply)


def _number(visit: Visit) -> None:
    """Clients of this API read the request's id from a header of another name."""
    visit.out.headers.append((b"request-id", visit.request_id.encode()))


def _betas(visit: Visit) -> list[str]:
    """Flags of the header for what is in trial; it may be there more than once."""
    given = (value for name, value in visit.scope["headers"] if name == BETA.encode())
    flags = (flag.strip() for value in given for flag in value.decode("latin-1").split(","))
    return [flag for flag in flags if flag]


def _upstream(visit: Visit, name: str) -> Upstream:
    models = visit.means.snapshots.current.models
    return upstream_of(models.get(name) or models.get(name.rpartition(":")[0]))


ROUTES = [
    Route(
        method="POST",
        path="/messages",
        serve=create,
        summary="Answer a conversation, in Anthropic's language",
        request=MessagesBody,
        answer=MessageObject,
        example=_EXAMPLE,
        streams=True,
        refuse=refusal,
    ),
    Route(
        method="POST",
        path="/messages/count_tokens",
        serve=count_tokens,
        summary="Count the tokens of a conversation, in Anthropic's language",
        request=CountTokensBody,
        answer=InputTokenCount,
        example={name: value for name, value in _EXAMPLE.items() if name != "max_tokens"},
        refuse=refusal,
    ),
]
