"""kill -9 in the middle of load: no answered request is lost, none is counted twice."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from itertools import count
from typing import Any

import aiohttp
from msgspec import Struct, field
from tests.e2e.fixtures import Servers
from tests.e2e.harness import Server, Streamed, take_line, until

ROUNDS = 4
CLIENTS = 12
MODELS = ("openai/gpt-4o-mini", "yandex/yandexgpt-lite", "llamacpp/qwen3-8b")


class Record(Struct):
    """What the clients know. answered: request id to the tokens out that were told."""

    answered: dict[str, int] = field(default_factory=dict)
    broken: int = 0


async def _client(server: Server, number: int, record: Record) -> None:
    """Ask again and again, plainly and for streams, until the server is gone."""
    timeout = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(server.url, timeout=timeout) as http:
        for turn in count():
            body: dict[str, Any] = {
                "model": MODELS[turn % len(MODELS)],
                "messages": [{"role": "user", "content": f"[[words:{5 + turn % 20}]]"}],
            }
            if (turn + number) % 2:
                body |= {"stream": True, "stream_options": {"include_usage": True}}
            try:
                await _ask(http, server.key, body, record)
            except (aiohttp.ClientError, TimeoutError):
                record.broken += 1
                return


async def _ask(http: aiohttp.ClientSession, key: str, body: dict[str, Any], record: Record) -> None:
    headers = {"authorization": f"Bearer {key}"}
    async with http.post("/v1/chat/completions", json=body, headers=headers) as reply:
        assert reply.status == 200, await reply.text()
        request_id = reply.headers["x-request-id"]
        if "stream" not in body:
            usage = (await reply.json())["usage"]
        else:
            seen = Streamed()
            async for line in reply.content:
                take_line(line, seen)
            if not seen.done:
                raise aiohttp.ClientPayloadError("cut")
            usage = seen.usage
        record.answered[request_id] = usage["completion_tokens"]


async def _round(server: Server, record: Record, seconds: float) -> None:
    """Load, and in the middle of it the end."""
    clients = [asyncio.create_task(_client(server, n, record)) for n in range(CLIENTS)]
    before = len(record.answered)
    async with asyncio.timeout(60):
        while len(record.answered) < before + CLIENTS:
            await asyncio.sleep(0.01)
    await asyncio.sleep(seconds)
    server.kill()
    await asyncio.gather(*clients)


def test_kill_nine_loses_nothing_and_counts_nothing_twice(servers: Servers) -> None:
    dice = random.Random(20261121)
    server = servers(XROUTER_ACCESS_LOG="false").start(cold=True)
    key = server.key
    record = Record()
    for _ in range(ROUNDS):
        server.key = key
        asyncio.run(_round(server, record, dice.uniform(0.05, 0.7)))
        server.start()

    until(
        lambda: record.answered.keys() <= {event["request_id"] for event in server.events()},
        "all answered requests are in the database",
    )
    events = server.events()
    counted = Counter(event["request_id"] for event in events)
    assert record.broken >= ROUNDS, "the load was running when the server was killed"
    assert len(record.answered) > 100
    assert max(counted.values()) == 1
    assert len({event["event_id"] for event in events}) == len(events)
    by_id = {event["request_id"]: event for event in events}
    for request_id, tokens in record.answered.items():
        assert by_id[request_id]["tokens_out"] == tokens
        assert by_id[request_id]["outcome"] == "ok"
    charged = servers.sandbox.ask("GET", "/_sandbox/bill").json["totals"]
    calls = sum(each["calls"] for each in charged)
    finished = sum(event["error_code"] != "process_killed" for event in events)
    assert len(record.answered) <= finished
    assert finished <= calls, "who was killed just before asking was charged by nobody"
    assert calls <= sum(event["attempts"] for event in events), "no charge without an event"
    _only_the_running_ones_journal_is_left(server)


def _only_the_running_ones_journal_is_left(server: Server) -> None:
    folder = server.data / "journal"
    until(lambda: len(list(folder.iterdir())) <= 1, "the journals of the dead are drained")


def test_events_wait_in_the_journal_for_the_next_start(servers: Servers) -> None:
    """Killed before the drain could run: the next process, or a command, stores them."""
    server = servers().start()
    ids = set()
    for _ in range(20):
        ids.add(server.chat("openai/gpt-4o-mini").headers["x-request-id"])
    server.kill()

    shown = server.command("usage", "--events", "100", "--json")
    assert shown.returncode == 0, shown.stderr
    for request_id in ids:
        assert shown.stdout.count(request_id) == 1


def test_a_torn_record_at_the_end_of_the_journal_is_no_obstacle(servers: Servers) -> None:
    server = servers().start()
    answer = server.chat("openai/gpt-4o-mini")
    server.kill()
    segments = list((server.data / "journal").iterdir())
    assert segments
    with segments[0].open("ab") as file:
        file.write(b"\x00\x00\x01\x00torn")
    server.start()
    until(
        lambda: answer.headers["x-request-id"] in {e["request_id"] for e in server.events()},
        "what came before it is stored",
    )
    assert server.control("GET", "/keys")["data"]
