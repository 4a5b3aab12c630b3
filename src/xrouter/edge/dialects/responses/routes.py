"""OpenAI's Responses API: the routes of this dialect."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import msgspec
from typing_extensions import override

from xrouter.domain.counting import CountRequest, TokenCount
from xrouter.domain.errors import InvalidRequest, NotFound
from xrouter.domain.history import StoredResponse
from xrouter.domain.ports import Served
from xrouter.edge.dialects.responses import jobs
from xrouter.edge.dialects.responses.body import Item, ResponsesBody, read_body
from xrouter.edge.dialects.responses.request import Asked, items_json, translate
from xrouter.edge.dialects.responses.schema import (
    Deleted,
    InputItems,
    InputTokens,
    ResponseObject,
)
from xrouter.edge.dialects.responses.voice import Manner, StreamVoice, WholeVoice
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
    raw = await visit.body()
    body = read_body(raw)
    project = visit.project()
    before = await _before(visit, body, project)
    if body.background:
        await visit.out.whole(_OK, JSON, await _begin(visit, body, raw, before))
        return
    asked = translate(body, before)
    ended = partial(_keep, visit, project, asked) if body.stored else _forget
    manner = Manner("resp_" + visit.serial, body, asked, ended)
    voice: Voice = StreamVoice(manner) if asked.chat.streaming else WholeVoice(manner)
    await visit.means.flow.chat(asked.chat, key, visit.info("responses"), visit.answer_with(voice))


async def _begin(visit: Visit, body: ResponsesBody, raw: bytes, before: list[Item]) -> bytes:
    if body.stream or not body.stored:
        raise InvalidRequest(
            "In the background a response is stored, and not streamed.",
            code="invalid_value",
            param="stream" if body.stream else "store",
        )
    return await jobs.begin(visit, raw, before, visit.project())


async def cancel(visit: Visit) -> None:
    """POST /responses/{id}/cancel."""
    project = visit.project()
    name = visit.rest.removesuffix(_CANCEL)
    if name == visit.rest:
        raise unknown_url("POST", visit.scope["path"])
    kept = await _find(visit, name, project, "response_id")
    await visit.out.whole(_OK, JSON, await jobs.cancel(visit, kept))


work = jobs.revive
"""Goes on with what was begun before, as long as the door is open."""


async def show(visit: Visit) -> None:
    """GET /responses/{id} and /responses/{id}/input_items."""
    name = visit.rest
    if name.endswith(_INPUT_ITEMS):
        kept = await _find(visit, name.removesuffix(_INPUT_ITEMS), visit.project(), "response_id")
        await visit.out.whole(_OK, JSON, encode(_listed(kept)))
        return
    kept = await _find(visit, name, visit.project(), "response_id")
    await visit.out.whole(_OK, JSON, kept.body)


async def delete(visit: Visit) -> None:
    """DELETE /responses/{id}."""
    project = visit.project()
    await _find(visit, visit.rest, project, "response_id")
    await jobs.forget(visit, visit.rest)
    if not await visit.means.responses.remove(visit.rest, project):
        raise _unknown(visit.rest, "response_id")
    await visit.out.whole(_OK, JSON, encode(Deleted(id=visit.rest)))


async def count(visit: Visit) -> None:
    """POST /responses/input_tokens."""
    key = visit.credential()
    body = read_body(await visit.body())
    asked = translate(body, await _before(visit, body, visit.project()))
    request = CountRequest(model=body.model, chat=asked.chat)
    reply = visit.answer_with(CountVoice())
    await visit.means.flow.count(request, key, visit.info("count"), reply)


class CountVoice(Voice):
    """Says how many tokens the input has."""

    @override
    def count(self, count: TokenCount, served: Served) -> bytes:
        """The body."""
        return encode(InputTokens(input_tokens=count.tokens))


async def _before(visit: Visit, body: ResponsesBody, project: str) -> list[Item]:
    """The conversation that the request goes on with."""
    previous = body.previous_response_id
    if previous is None:
        return []
    kept = await _find(visit, previous, project, "previous_response_id")
    return msgspec.json.decode(kept.items, type=list[Item])


async def _find(visit: Visit, response_id: str, project: str, param: str) -> StoredResponse:
    kept = await visit.means.responses.find(response_id, project)
    if kept is None:
        raise _unknown(response_id, param)
    return kept


def _keep(visit: Visit, project: str, asked: Asked, response: dict[str, Any]) -> None:
    kept = StoredResponse(
        id=response["id"],
        project=project,
        created_at=time.time(),
        body=encode(response),
        input=items_json(asked.own),
        items=items_json([*asked.items, *response["output"]]),
    )
    visit.means.responses.keep(kept)


def _forget(_response: dict[str, Any]) -> None:
    return


def _listed(kept: StoredResponse) -> InputItems:
    items = msgspec.json.decode(kept.input, type=list[Item])
    for index, item in enumerate(items):
        item.setdefault("type", "message")
        item.setdefault("id", f"item_{kept.id}_{index}")
    ids = [item["id"] for item in items]
    return InputItems(
        data=items, first_id=ids[0] if ids else None, last_id=ids[-1] if ids else None
    )


def _unknown(response_id: str, param: str) -> NotFound:
    return NotFound(
        f"Response with id '{response_id[:80]}' not found.",
        code="previous_response_not_found" if param.startswith("previous") else "not_found",
        param=param,
        hint="Responses are kept for a bounded time, unless asked for with 'store': false.",
    )


ROUTES = [
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
