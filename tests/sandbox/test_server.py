"""The sandbox's server and its own API: index, bill, what was seen, starting and stopping."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from io import BytesIO
from typing import Any

import aiohttp
import pytest

from xrouter.sandbox.bill import LINES_KEPT, Bill
from xrouter.sandbox.kit import Charge
from xrouter.sandbox.seen import REQUESTS_KEPT
from xrouter.sandbox.server import running

CHAT = "/openai/v1/chat/completions"
KEY = {"authorization": "Bearer sk-sandbox-0123456789"}


def asked(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": text}], **more}


async def fetch(http: aiohttp.ClientSession, path: str) -> Any:
    async with http.get(path) as reply:
        assert reply.status == 200
        return await reply.json()


async def until_closed(http: aiohttp.ClientSession) -> dict[str, Any]:
    """The newest request, as soon as the sandbox has noticed that its client left."""
    while True:
        request: dict[str, Any] = (await fetch(http, "/_sandbox/seen"))["requests"][-1]
        if request["closed_by_client"]:
            return request
        await asyncio.sleep(0.005)


async def test_index_lists_every_simulator(http: aiohttp.ClientSession) -> None:
    index = await fetch(http, "/")
    names = [simulator["name"] for simulator in index["simulators"]]
    assert {"openai", "llamacpp", "llamacpp-locked"} <= set(names)
    assert names == sorted(names)
    assert all(
        simulator["url"].endswith(simulator["name"]) and simulator["about"]
        for simulator in index["simulators"]
    )
    assert "reset" in index["faults"]


@pytest.mark.parametrize(
    "method,path,status",
    [("GET", "/nobody/v1", 404), ("PUT", "/_sandbox/bill", 405), ("HEAD", "/", 200)],
)
async def test_unknown_places(
    http: aiohttp.ClientSession, method: str, path: str, status: int
) -> None:
    async with http.request(method, path) as reply:
        assert reply.status == status


async def test_bill_has_lines_and_totals(http: aiohttp.ClientSession) -> None:
    for stream in (False, True):
        async with http.post(CHAT, json=asked("a b c", stream=stream), headers=KEY) as reply:
            await reply.read()
    bill = await fetch(http, "/_sandbox/bill")
    plain, streamed = bill["charges"]
    assert plain | {"streamed": True} == streamed
    assert plain["tokens_in"] == 3
    assert plain["key"] == "sk-sandbox-0123456789"
    (total,) = bill["totals"]
    assert total == {
        "provider": "openai",
        "model": "gpt-4o",
        "calls": 2,
        "tokens_in": 6,
        "tokens_out": 2 * plain["tokens_out"],
    }
    async with http.delete("/_sandbox/bill") as reply:
        assert reply.status == 200
    assert await fetch(http, "/_sandbox/bill") == {"charges": [], "totals": []}


def test_bill_is_bounded_and_its_totals_are_not() -> None:
    bill = Bill()
    count = 3 * LINES_KEPT
    for _ in range(count):
        bill.append(Charge("p", "m", "chat", 2, 3))
    assert len(bill) <= 2 * LINES_KEPT
    report = bill.report()
    assert len(report["charges"]) == LINES_KEPT
    assert report["totals"][0]["tokens_out"] == 3 * count


async def test_a_statement_names_the_calls_as_their_answers_did(
    http: aiohttp.ClientSession,
) -> None:
    """Also that of a caller who left in the middle of a stream."""
    names = []
    async with http.post(CHAT, json=asked("[[words:3]]"), headers=KEY) as reply:
        names.append(reply.headers["x-request-id"])
        told = (await reply.json())["usage"]
    body = asked("[[words:50]] [[pause:0.05]]", stream=True)
    async with http.post(CHAT, json=body, headers=KEY) as reply:
        names.append(reply.headers["x-request-id"])
        await reply.content.readline()
    while (await fetch(http, "/_sandbox/open"))["open"]:
        await asyncio.sleep(0.005)
    async with http.get("/_sandbox/bill?provider=openai") as reply:
        assert reply.headers["content-type"] == "text/csv"
        head, first, second = (line.split(";") for line in (await reply.text()).splitlines())
    assert head == ["call", "at", "model", "tokens_in", "tokens_out"]
    assert [first[0], second[0]] == names
    assert [int(number) for number in first[3:]] == [
        told["prompt_tokens"],
        told["completion_tokens"],
    ]
    async with http.get("/_sandbox/bill?provider=mistral") as reply:
        assert await reply.text() == ";".join(head) + "\n"


async def test_seen_masks_secrets_and_parses_bodies(http: aiohttp.ClientSession) -> None:
    async with http.post(f"{CHAT}?a=1", json=asked("Привет 👋"), headers=KEY) as reply:
        assert reply.status == 200
        await reply.read()
    (request,) = (await fetch(http, "/_sandbox/seen"))["requests"]
    assert request["provider"] == "openai"
    assert (request["method"], request["path"]) == ("POST", "/v1/chat/completions")
    assert request["query"] == {"a": "1"}
    assert request["headers"]["authorization"] == "Bearer sk-s***6789"
    assert request["body"] == asked("Привет 👋")
    assert request["status"] == 200
    assert request["finished"] >= request["started"]
    assert request["closed_by_client"] is False
    async with http.delete("/_sandbox/seen") as reply:
        assert reply.status == 200
    assert (await fetch(http, "/_sandbox/seen"))["requests"] == []


async def test_seen_forms_and_short_secrets(http: aiohttp.ClientSession) -> None:
    headers = {"authorization": "Basic c2hvcnQ=", "x-api-key": "short"}
    async with http.post("/openai/v1/x", data={"scope": "A B"}, headers=headers) as reply:
        assert reply.status == 401
    async with http.post("/openai/v1/x", data=b"{not json") as reply:
        assert reply.status == 401
    form, text = (await fetch(http, "/_sandbox/seen"))["requests"]
    assert form["body"] == {"scope": "A B"}
    assert form["headers"]["authorization"] == "Basic ***"
    assert form["headers"]["x-api-key"] == "***"
    assert text["body"] == "{not json"


async def test_seen_is_bounded(http: aiohttp.ClientSession) -> None:
    for _ in range(REQUESTS_KEPT + 5):
        async with http.get("/llamacpp/health") as reply:
            assert reply.status == 200
    requests = (await fetch(http, "/_sandbox/seen"))["requests"]
    assert len(requests) == REQUESTS_KEPT
    assert requests[-1]["id"] == REQUESTS_KEPT + 5


async def test_large_bodies_are_not_kept(http: aiohttp.ClientSession) -> None:
    async with http.post(CHAT, data=BytesIO(b"x" * (2 << 20)), headers=KEY) as reply:
        assert reply.status == 400
    (request,) = (await fetch(http, "/_sandbox/seen"))["requests"]
    assert request["body"] == f"({2 << 20} bytes, not kept)"


async def test_a_client_that_leaves_a_stream_is_noticed_and_charged_for_what_it_got(
    http: aiohttp.ClientSession, sandbox_url: str
) -> None:
    body = asked("[[words:200]] [[pause:0.01]]", stream=True)
    async with aiohttp.ClientSession() as leaver:
        reply = await leaver.post(f"{sandbox_url}{CHAT}", json=body, headers=KEY)
        await reply.content.readuntil(b"\n\n")
        assert (await fetch(http, "/_sandbox/open"))["open"] == 1
        reply.close()
    request = await until_closed(http)
    assert request["finished"] is None
    assert request["closed_at"] >= request["started"]
    assert 0 < request["frames"] < 200
    assert (await fetch(http, "/_sandbox/open"))["open"] == 0
    (charge,) = (await fetch(http, "/_sandbox/bill"))["charges"]
    assert charge["streamed"]
    assert charge["tokens_out"] <= request["frames"]


async def test_a_client_that_leaves_before_the_answer_is_noticed(
    http: aiohttp.ClientSession, sandbox_url: str
) -> None:
    body = asked("[[words:100]] [[pause:1]]")
    async with aiohttp.ClientSession() as leaver:
        call = asyncio.ensure_future(leaver.post(f"{sandbox_url}{CHAT}", json=body, headers=KEY))
        while (await fetch(http, "/_sandbox/open"))["open"] == 0:
            await asyncio.sleep(0.005)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
    request = await until_closed(http)
    assert request["status"] is None
    assert request["finished"] is None


async def test_running_leaves_nothing_behind() -> None:
    before = asyncio.all_tasks()
    async with aiohttp.ClientSession() as session:
        async with running() as url:
            fault = {"kind": "hang_before_headers"}
            async with session.post(f"{url}/_sandbox/faults", json=fault) as reply:
                assert reply.status == 201
            call = asyncio.ensure_future(session.post(f"{url}{CHAT}", json=asked("hi")))
            while (await fetch(session, f"{url}/_sandbox/open"))["open"] == 0:
                await asyncio.sleep(0.005)
        (outcome,) = await asyncio.gather(call, return_exceptions=True)
        assert isinstance(outcome, aiohttp.ClientError)
    assert asyncio.all_tasks() == before
    host, port = url.removeprefix("http://").split(":")
    with pytest.raises(OSError, match=r"refused|Connect call failed"):
        await asyncio.open_connection(host, int(port))


async def test_two_sandboxes_share_nothing() -> None:
    async with running() as one, running() as two, aiohttp.ClientSession() as session:
        assert one != two
        async with session.post(f"{one}{CHAT}", json=asked("hi"), headers=KEY) as reply:
            await reply.read()
        assert len((await fetch(session, f"{one}/_sandbox/bill"))["charges"]) == 1
        assert (await fetch(session, f"{two}/_sandbox/bill"))["charges"] == []


async def test_main_announces_its_url_resets_and_stops_on_sigterm() -> None:
    code = "from xrouter.sandbox.server import main; main(port=0, announce=True)"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-c", code, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    url = json.loads(await process.stdout.readline())["url"]
    async with aiohttp.ClientSession() as session:
        fault = {"kind": "reset", "match": {"path": "chat"}}
        async with session.post(f"{url}/_sandbox/faults", json=fault) as reply:
            assert reply.status == 201
        with pytest.raises(aiohttp.ClientOSError, match="reset"):
            await session.post(f"{url}{CHAT}", json=asked("hi"), headers=KEY)
        body = asked("[[words:1000]] [[pause:1]]", stream=True)
        stream = await session.post(f"{url}{CHAT}", json=body, headers=KEY)
        await stream.content.readuntil(b"\n\n")
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 20) == 0
        with pytest.raises(aiohttp.ClientError):
            await stream.read()
