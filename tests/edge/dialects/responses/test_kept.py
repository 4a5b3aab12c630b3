"""Responses that are kept: gone on with, referred to, shown; through a real door."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.edge.harness import SERVED, Answer, House, KeptResponses, open_house, text_answer

from xrouter.domain.answer import AnswerMessage, ChatAnswer, Choice, Usage
from xrouter.domain.chat import ChatRequest, FunctionCall, ToolCall
from xrouter.domain.errors import InvalidRequest
from xrouter.domain.history import StoredResponse
from xrouter.domain.ports import Reply
from xrouter.edge.dialects.responses import kept as kept_module
from xrouter.edge.voice import encode

DETAILS = [{"type": "reasoning.text", "text": "hm", "signature": "s"}]
SEALED = "reasoning.encrypted_content"
CALL = {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"}


async def think_and_call(_request: ChatRequest, reply: Reply) -> None:
    """Reasoning with a signature, and a call."""
    message = AnswerMessage(
        content=None,
        reasoning="hm",
        tool_calls=[ToolCall("a", function=FunctionCall("f", "{}"))],
        extra={"reasoning_details": DETAILS},
    )
    await reply.answer(ChatAnswer([Choice(message, "tool_calls")], Usage(3, 2)), SERVED)


async def created(house: House, **more: Any) -> dict[str, Any]:
    answer = await house.call("POST", "/v1/responses", {"model": "acme/one", "input": "Hi"} | more)
    assert answer.status == 200, answer.body
    told: dict[str, Any] = answer.json
    return told


async def refused(house: House, status: int = 400, **more: Any) -> dict[str, Any]:
    body = {"model": "acme/one", "input": "Hi"} | more
    answer = await house.call("POST", "/v1/responses", body)
    assert answer.status == status, answer.body
    return answer.error


def last_messages(house: House) -> list[dict[str, Any]]:
    fields = house.flow.requests[-1].fields
    found: list[dict[str, Any]] = msgspec.json.decode(fields["messages"])
    return found


def reference(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "item_reference", "id": item["id"]}


async def test_items_may_be_referred_to(house: House) -> None:
    house.flow.script = think_and_call
    thinking, call = (await created(house))["output"]
    output = {"type": "function_call_output", "call_id": "a", "output": "42"}
    user = {"role": "user", "content": "Hi"}
    second = await created(house, input=[user, reference(thinking), {"id": call["id"]}, output])
    _, assistant, tool = last_messages(house)
    assert assistant["tool_calls"][0]["function"] == {"name": "f", "arguments": "{}"}
    assert assistant["reasoning_details"] == DETAILS
    assert tool["content"] == "42"
    listed = await house.call("GET", f"/v1/responses/{second['id']}/input_items?order=asc")
    assert [item["type"] for item in listed.json["data"]] == [
        "message",
        "reasoning",
        "function_call",
        "function_call_output",
    ]
    asked = listed.json["data"][0]
    await created(house, input=[reference(asked)])
    assert last_messages(house) == [user]


async def test_references_in_the_background(house: House) -> None:
    (said,) = (await created(house))["output"]
    user = {"role": "user", "content": "And?"}
    begun = await created(house, input=[reference(said), user], background=True)
    await house.until(lambda: len(house.flow.requests) == 2)
    assert [each["role"] for each in last_messages(house)] == ["assistant", "user"]
    assert begun["status"] == "queued"


@pytest.mark.parametrize("name", ["msg_1", "", "msg_01ARZ3NDEKTSV4RRFFQ69G5FAV000", "x" * 200])
async def test_an_unknown_reference_is_named(house: House, name: str) -> None:
    error = await refused(house, 404, input=[{"role": "user", "content": "x"}, {"id": name}])
    assert error["param"] == "input[1].id"
    assert "not found" in error["message"]
    assert len(error["message"]) < 150


async def test_references_that_cannot_be(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    error = await refused(house, input=[{"type": "item_reference", "id": 5}])
    assert (error["param"], error["code"]) == ("input[0].id", "invalid_type")
    first, second = await created(house), await created(house)
    (said,) = first["output"]
    error = await refused(house, input=[reference(said)], previous_response_id=first["id"])
    assert error["param"] == "input[0].id"
    assert "Duplicate" in error["message"]
    no_place = said | {"id": said["id"][:-3] + "00f"}
    assert (await refused(house, 404, input=[reference(no_place)]))["param"] == "input[0].id"
    unstored = (await created(house, store=False))["output"][0]
    assert (await refused(house, 404, input=[reference(unstored)]))["param"] == "input[0].id"
    monkeypatch.setattr(kept_module, "MAX_REFERRED", 1)
    both = [reference(said), reference(second["output"][0])]
    assert (await refused(house, input=both))["param"] == "input"


async def test_another_projects_items_are_unknown() -> None:
    store = KeptResponses()
    async with open_house(responses=store) as house:
        first = await created(house)
        mine = store.kept[first["id"]]
        store.keep(msgspec.structs.replace(mine, project="other"))
        await refused(house, 404, input=[reference(first["output"][0])])


async def test_signatures_are_kept_and_shown_only_to_who_asks(house: House) -> None:
    house.flow.script = think_and_call
    first = await created(house)
    assert "encrypted_content" not in first["output"][0]
    path = f"/v1/responses/{first['id']}"
    assert (await house.call("GET", path)).json == first
    for query in (f"?include={SEALED}", f"?include[]={SEALED}"):
        shown = (await house.call("GET", path + query)).json
        assert shown["output"][0]["encrypted_content"].startswith("xr1.")
    output = {"type": "function_call_output", "call_id": "a", "output": "42"}
    await created(house, input=[output], previous_response_id=first["id"])
    assert last_messages(house)[1]["reasoning_details"] == DETAILS


async def test_an_unknown_previous_response(house: House) -> None:
    error = await refused(house, previous_response_id="resp_x")
    assert error["code"] == "previous_response_not_found"
    assert error["param"] == "previous_response_id"


def unfinished(status: str) -> StoredResponse:
    body = {"id": "resp_1", "status": status, "background": True, "output": []}
    return StoredResponse("resp_1", "default", 1.0, encode(body), b"[]", b"[]")


@pytest.mark.parametrize("status", ["queued", "in_progress"])
async def test_an_unfinished_response_is_not_gone_on_from(status: str) -> None:
    store = KeptResponses()
    store.keep(unfinished(status))
    async with open_house(responses=store) as house:
        error = await refused(house, previous_response_id="resp_1")
        assert (error["param"], error["code"]) == ("previous_response_id", "invalid_value")
        store.keep(unfinished("cancelled"))
        await created(house, previous_response_id="resp_1")


async def test_what_is_not_there_has_no_code_and_no_parameter(house: House) -> None:
    for method, end in (("GET", ""), ("GET", "/input_items"), ("DELETE", ""), ("POST", "/cancel")):
        answer = await house.call(method, f"/v1/responses/resp_x{end}")
        assert answer.status == 404
        assert (answer.error["code"], answer.error["param"]) == (None, None)
        assert "No response found with id 'resp_x'" in answer.error["message"]


async def paged(house: House, response_id: str, query: str = "") -> Answer:
    return await house.call("GET", f"/v1/responses/{response_id}/input_items{query}")


def texts(items: list[dict[str, Any]]) -> list[str]:
    return [item["content"][0]["text"] for item in items]


async def test_input_items_come_in_pages(house: House) -> None:
    items = [{"role": "user", "content": str(number)} for number in range(25)]
    name = (await created(house, input=[*items, {"id": "mine", **items[0]}]))["id"]
    first = (await paged(house, name)).json
    assert texts(first["data"][1:]) == [str(number) for number in range(24, 5, -1)]
    assert first["data"][1]["content"] == [{"type": "input_text", "text": "24"}]
    assert (first["data"][0]["id"], first["first_id"]) == ("mine", "mine")
    assert first["has_more"] is True
    assert first["last_id"] == first["data"][-1]["id"]
    rest = (await paged(house, name, f"?after={first['last_id']}")).json
    assert texts(rest["data"]) == ["5", "4", "3", "2", "1", "0"]
    assert rest["has_more"] is False
    upwards = (await paged(house, name, "?order=asc&limit=2")).json
    assert texts(upwards["data"]) == ["0", "1"]
    none = (await paged(house, name, "?after=item_x")).error
    assert none["param"] == "after"


@pytest.mark.parametrize(
    "query,param",
    [("?limit=0", "limit"), ("?limit=101", "limit"), ("?limit=x", "limit"), ("?order=up", "order")],
)
async def test_wrong_pages_are_named(house: House, query: str, param: str) -> None:
    answer = await paged(house, (await created(house))["id"], query)
    assert (answer.status, answer.error["param"]) == (400, param)


async def test_what_cannot_be_had_of_a_kept_response(house: House) -> None:
    path = f"/v1/responses/{(await created(house))['id']}"
    for query, param in (("?stream=true", "stream"), ("?starting_after=3", "starting_after")):
        answer = await house.call("GET", path + query)
        assert (answer.status, answer.error["param"]) == (400, param)
    plain = await house.call("GET", f"{path}?stream=false")
    assert plain.status == 200
    assert "x-xrouter-dropped" not in plain.headers
    odd = await house.call("GET", f"{path}?include=web_search_call.results&fields=id")
    assert odd.headers["x-xrouter-dropped"] == "include.web_search_call.results, fields"
    listed = await house.call("GET", f"{path}/input_items?before=x")
    assert listed.headers["x-xrouter-dropped"] == "before"


async def test_what_was_given_up_is_told_again(house: House) -> None:
    async def answer(_request: ChatRequest, reply: Reply) -> None:
        await reply.answer(text_answer(), msgspec.structs.replace(SERVED, dropped=("seed",)))

    house.flow.script = answer
    body = {"model": "acme/one", "input": "Hi", "seed": 1, "unheard_of": 1}
    posted = await house.call("POST", "/v1/responses", body)
    got = await house.call("GET", f"/v1/responses/{posted.json['id']}")
    for each in (posted, got):
        assert each.headers["x-xrouter-dropped"] == "unheard_of, seed"


@pytest.mark.parametrize("stream", [False, True])
async def test_errors_of_the_flow_have_the_callers_names(house: House, stream: bool) -> None:
    async def refuse(_request: ChatRequest, reply: Reply) -> None:
        await reply.refuse(InvalidRequest("Too many.", param="max_completion_tokens", code="x"))

    house.flow.script = refuse
    error = await refused(house, stream=stream)
    assert (error["param"], error["code"]) == ("max_output_tokens", "x")


async def test_what_a_count_gives_up_is_told(house: House) -> None:
    body = {"model": "acme/one", "input": "Hi", "unheard_of": 1}
    answer = await house.call("POST", "/v1/responses/input_tokens", body)
    assert answer.json["input_tokens"] == 7
    assert answer.headers["x-xrouter-dropped"] == "unheard_of"


async def test_ids_that_are_no_texts_are_replaced(house: House) -> None:
    odd: dict[str, Any] = {"type": None, "role": "user", "content": "x", "id": {}}
    first = await created(house, input=[odd, {"type": "reasoning", "summary": [], "id": []}])
    (listed,) = (await paged(house, first["id"], "?order=asc&limit=1")).json["data"]
    assert (listed["type"], listed["id"][:5]) == ("message", "item_")
    shown = await house.call("GET", f"/v1/responses/{first['id']}?include={SEALED}")
    assert shown.status == 200
    item = reference(first["output"][0])
    assert (await refused(house, input=[item], previous_response_id=first["id"]))["param"]


async def test_what_an_older_version_has_kept_can_be_gone_on_from() -> None:
    """Its items had other ids, or none."""
    old = [{"role": "user", "content": "x"}, {"type": "reasoning", "id": {}, "summary": []}]
    body = {"id": "resp_1", "status": "completed", "output": []}
    store = KeptResponses()
    store.keep(StoredResponse("resp_1", "default", 1.0, encode(body), encode(old), encode(old)))
    async with open_house(responses=store) as house:
        user = {"role": "user", "content": "And?"}
        await created(house, previous_response_id="resp_1", input=[user])
        error = await refused(house, 404, previous_response_id="resp_1", input=[{"id": "msg_1"}])
        assert error["param"] == "input[0].id"
        assert (await house.call("GET", f"/v1/responses/resp_1?include={SEALED}")).status == 200
        assert len((await paged(house, "resp_1")).json["data"]) == 2
