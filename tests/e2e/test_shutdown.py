"""The server is told to leave: what runs may end, what cannot is told so, everything is stored."""

from __future__ import annotations

import signal
import sqlite3
import threading
from typing import Any

import pytest
from tests.e2e.fixtures import Servers
from tests.e2e.harness import Server, Streamed, take_line, until
from typing_extensions import override

STREAMS = 8
MODELS = ("openai/gpt-4o-mini", "yandex/yandexgpt-lite", "llamacpp/qwen3-8b")


class Caller(threading.Thread):
    """One stream, read by a thread of its own."""

    def __init__(self, server: Server, model: str, text: str) -> None:
        super().__init__()
        self.seen = Streamed()
        self.failure: BaseException | None = None
        self._server = server
        self._body = {
            "model": model,
            "messages": [{"role": "user", "content": text}],
            "stream": True,
        }

    @override
    def run(self) -> None:
        try:
            with self._server.open(
                "POST", "/v1/chat/completions", self._body, self._server.key
            ) as reply:
                for line in iter(reply):
                    take_line(line, self.seen)
        except BaseException as failure:  # noqa: BLE001 - told to the test
            self.failure = failure


def _streams(server: Server, text: str) -> list[Caller]:
    callers = [Caller(server, MODELS[n % len(MODELS)], text) for n in range(STREAMS)]
    for caller in callers:
        caller.start()
    until(lambda: all(caller.seen.text for caller in callers), "all streams have begun")
    return callers


def _stored(server: Server) -> list[dict[str, Any]]:
    """The events, read from the file: no program of ours runs any more."""
    db = sqlite3.connect(server.data / "xrouter.db")
    db.row_factory = sqlite3.Row
    try:
        return [dict(row) for row in db.execute("SELECT * FROM usage_events")]
    finally:
        db.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_streams_end_within_the_grace(servers: Servers, number: signal.Signals) -> None:
    server = servers(XROUTER_GRACE="30").start(cold=True)
    callers = _streams(server, "[[words:60]] [[pause:0.05]]")
    server.signal(number)
    for caller in callers:
        caller.join(60)

    assert server.wait() == 0
    for caller in callers:
        assert caller.failure is None
        assert caller.seen.done
        assert caller.seen.error is None
        assert len(caller.seen.text.split()) == 60
    events = _stored(server)
    assert len(events) == STREAMS
    assert {event["outcome"] for event in events} == {"ok"}
    assert "Traceback" not in server.err


def test_streams_longer_than_the_grace_are_told(servers: Servers) -> None:
    server = servers(XROUTER_GRACE="0.5").start()
    callers = _streams(server, "[[words:2000]] [[pause:0.05]]")
    server.signal(signal.SIGTERM)
    for caller in callers:
        caller.join(60)

    assert server.wait() == 0
    for caller in callers:
        assert caller.failure is None, caller.failure
        assert caller.seen.error is not None
        assert caller.seen.error["code"] == "server_shutdown"
        assert caller.seen.text
    events = _stored(server)
    assert len(events) == STREAMS
    assert {event["error_code"] for event in events} == {"server_shutdown"}
    assert {event["outcome"] for event in events} == {"error"}
    assert all(event["tokens_out"] > 0 for event in events)
    assert "Traceback" not in server.err
    sandbox = servers.sandbox
    until(lambda: sandbox.ask("GET", "/_sandbox/open").json["open"] == 0, "providers are left")


def test_a_plain_request_longer_than_the_grace_is_told(servers: Servers) -> None:
    server = servers(XROUTER_GRACE="0.3").start()
    servers.sandbox.fault("hang_before_headers")
    answers: list[Any] = []
    asker = threading.Thread(target=lambda: answers.append(server.chat("openai/gpt-4o-mini")))
    asker.start()
    until(lambda: len(servers.sandbox.seen) == 1, "the provider is asked")
    server.signal(signal.SIGTERM)
    asker.join(60)

    assert server.wait() == 0
    assert (answers[0].status, answers[0].error["code"]) == (503, "server_shutdown")
    assert "retry-after" in answers[0].headers
    (event,) = _stored(server)
    assert (event["status"], event["error_code"]) == (503, "server_shutdown")


def test_a_second_signal_ends_the_grace(servers: Servers) -> None:
    server = servers(XROUTER_GRACE="600").start()
    callers = _streams(server, "[[words:5000]] [[pause:0.05]]")
    server.signal(signal.SIGTERM)
    until(lambda: _refuses(server), "it takes no more connections")
    server.signal(signal.SIGTERM)
    for caller in callers:
        caller.join(60)

    assert server.wait() == 0
    assert all(c.seen.error and c.seen.error["code"] == "server_shutdown" for c in callers)
    assert len(_stored(server)) == STREAMS


def _refuses(server: Server) -> bool:
    try:
        server.ask("GET", "/health/live")
    except ConnectionError:
        return True
    return False


def test_events_are_in_the_database_when_it_has_left(servers: Servers) -> None:
    server = servers().start()
    ids = [server.chat("openai/gpt-4o-mini").headers["x-request-id"] for _ in range(30)]
    assert server.stop() == 0
    assert sorted(event["request_id"] for event in _stored(server)) == sorted(ids)
