"""OpenAI's Responses API: the routes of this dialect.

Chat completions are served from here, too, for they also take bodies of this API.
"""

from __future__ import annotations

from functools import partial

from typing_extensions import override

from xrouter.domain.chat import ChatRequest
from xrouter.domain.counting import CountRequest, TokenCount
from xrouter.domain.errors import InvalidRequest, XRouterError
from xrouter.domain.history import StoredResponse
from xrouter.domain.ports import Served
from xrouter.edge import fields
from xrouter.edge.dialects.openai.routes import chat
from xrouter.edge.dialects.openai.schema import Completion
from xrouter.edge.dialects.responses import jobs
from xrouter.edge.dialects.responses.body import Item, ResponsesBody, read_body
from xrouter.edge.dialects.responses.guests import read_any
from xrouter.edge.dialects.responses.kept import PREFIX, Kept, stored, unknown
from xrouter.edge.dialects.responses.request import Asked, translate
from xrouter.edge.dialects.responses.schema import (
    Deleted,
    InputTokens,
    ResponseObject,
)
from xrouter.edge.dialects.responses.shown import body_of, page_of, read_query
from xrouter.edge.dialects.responses.voice import Ended, Manner, StreamVoice, WholeVoice
from xrouter.edge.outlet import JSON
from xrouter.edge.routes import Route, unknown_url
from xrouter.edge.visit import Visit
from xrouter.edge.voice import Voice, encode

_OK = 200
_CANCEL = "/cancel"
_INPUT_ITEMS = "/input_items"


async def create(visit: Visit) -> None:
    """POST /responses."""
    key = visit.credential()
    body = await visit.read(read_body)
    project = visit.project("chat")
    before = await _complete(visit, body, project)
    if body.background:
        kept = await _begin(visit, body, before, project)
        await _tell(visit, kept.body, kept.dropped)
        return
    asked = translate(body, before)
    ended = partial(_keep, visit, project, asked) if body.stored else _forget
    manner = Manner(PREFIX + visit.serial, body, asked, ended)
    voice: Voice = StreamVoice(manner) if asked.chat.streaming else WholeVoice(manner)
    await visit.means.flow.chat(asked.chat, key, visit.info("responses"), visit.answer_with(voice))


async def _begin(
    visit: Visit, body: ResponsesBody, before: list[Item], project: str
) -> StoredResponse:
    if body.stream or not body.stored:
        raise InvalidRequest(
            "In the background a response is stored, and not streamed.",
            code="invalid_value",
            param="stream" if body.stream else "store",
        )
    return await jobs.begin(visit, body, before, project)


async def cancel(visit: Visit) -> None:
    """POST /responses/{id}/cancel."""
    kept = _kept(visit)
    name = visit.rest.removesuffix(_CANCEL)
    if name == visit.rest:
        raise unknown_url("POST", visit.scope["path"])
    done = await jobs.cancel(visit, await kept.find(name))
    await _tell(visit, done.body, done.dropped)


work = jobs.revive
"""Goes on with what was begun before, as long as the door is open."""


async def show(visit: Visit) -> None:
    """GET /responses/{id} and /responses/{id}/input_items."""
    store = _kept(visit)
    name = visit.rest.removesuffix(_INPUT_ITEMS)
    pages = name != visit.rest
    query = read_query(visit.scope["query_string"], pages=pages)
    kept = await store.find(name)
    if pages:
        await _tell(visit, encode(page_of(kept, query)), query.dropped)
    else:
        await _tell(visit, body_of(kept, query), (*kept.dropped, *query.dropped))


async def delete(visit: Visit) -> None:
    """DELETE /responses/{id}."""
    project = visit.project("chat")
    await _kept(visit).find(visit.rest)
    await jobs.forget(visit, visit.rest)
    if not await visit.means.responses.remove(visit.rest, project):
        raise unknown(visit.rest)
    await visit.out.whole(_OK, JSON, encode(Deleted(id=visit.rest)))


async def count(visit: Visit) -> None:
    """POST /responses/input_tokens."""
    key = visit.credential()
    body = await visit.read(read_body)
    asked = translate(body, await _complete(visit, body, visit.project("chat")))
    request = CountRequest(model=body.model, chat=asked.chat)
    reply = visit.answer_with(CountVoice(asked))
    await visit.means.flow.count(request, key, visit.info("count"), reply)


class CountVoice(Voice):
    """Says how many tokens the input has."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self.dropped = asked.dropped

    @override
    def count(self, count: TokenCount, served: Served) -> bytes:
        """The body."""
        return encode(InputTokens(input_tokens=count.tokens))

    @override
    def refuse(self, error: XRouterError) -> bytes:
        return self._asked.refusal(error)


def _kept(visit: Visit) -> Kept:
    return Kept(visit.means.responses, visit.project("chat"))


async def _complete(visit: Visit, body: ResponsesBody, project: str) -> list[Item]:
    """The conversation that the request goes on with; references in the body are resolved."""
    kept = Kept(visit.means.responses, project)
    before = await kept.before(body.previous_response_id)
    if isinstance(body.input, list):
        body.input = await kept.resolved(body.input, before)
    return before


def _keep(visit: Visit, project: str, asked: Asked, ended: Ended) -> None:
    visit.means.responses.keep(
        stored(
            project,
            ended.body,
            before=asked.before,
            own=asked.own,
            output=ended.items,
            dropped=ended.dropped,
        )
    )


def _forget(_ended: Ended) -> None:
    return


async def _tell(visit: Visit, body: bytes, dropped: tuple[str, ...]) -> None:
    """A body of ours, and what was given up of the request that led to it."""
    names = (b"x-xrouter-dropped", fields.clean(", ".join(dropped)))
    await visit.out.whole(_OK, JSON, body, *([names] if dropped else ()))


ROUTES = [
    Route(
        method="POST",
        path="/chat/completions",
        serve=partial(chat, read=read_any),
        summary="Answer a conversation",
        request=ChatRequest,
        answer=Completion,
        example={"model": "provider/model", "messages": [{"role": "user", "content": "Hello!"}]},
        streams=True,
    ),
    Route(
        method="POST",
        path="/responses",
        serve=create,
        summary="Answer a conversation of items",
        request=ResponsesBody,
        answer=ResponseObject,
        example={"model": "provider/model", "input": "Hello!"},
        streams=True,
    ),
    Route(
        method="POST",
        path="/responses/input_tokens",
        serve=count,
        summary="Count the tokens of an input",
        request=ResponsesBody,
        answer=InputTokens,
        example={"model": "provider/model", "input": "Hello!"},
    ),
    Route(
        method="GET",
        path="/responses/*",
        serve=show,
        summary="A kept response, or its /input_items",
        answer=ResponseObject,
    ),
    Route(
        method="POST",
        path="/responses/*",
        serve=cancel,
        summary="Cancel a response in the background: /responses/{id}/cancel",
        answer=ResponseObject,
    ),
    Route(
        method="DELETE",
        path="/responses/*",
        serve=delete,
        summary="Forget a response",
        answer=Deleted,
    ),
]
