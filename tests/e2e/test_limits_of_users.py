"""Limits of users, model versions and streams through the door, as OpenAI's client sees them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import openai
import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam
from tests.e2e.harness import SandboxProcess, Server, until

MODEL = "openai/limited"
HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hello"}]
SLOW: list[ChatCompletionMessageParam] = [
    {"role": "user", "content": "[[words:900]] [[pause:0.05]]"}
]
LONG: list[ChatCompletionMessageParam] = [{"role": "user", "content": "word " * 200}]

Limited = Callable[..., AbstractContextManager[Any]]


@pytest.fixture(scope="module")
def server(
    _sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """With a model of two versions, of which each request costs a ruble."""
    server = Server(tmp_path_factory.mktemp("users"), _sandbox_process.environment)
    try:
        server.start()
        versions = [
            {"label": "1", "channel": "latest", "upstream": "gpt-4o-mini"},
            {"label": "2", "channel": "rc", "upstream": "gpt-4.1"},
        ]
        model = {"model_id": MODEL, "provider": "openai", "versions": versions}
        server.control("POST", "/models", model)
        since = (datetime.now(UTC) - timedelta(days=1)).isoformat()
        price = {"model": MODEL, "effective_from": since, "input": "0", "output": "0"}
        server.control("POST", "/prices", price | {"request": "1", "source": "test"})
        until(lambda: server.chat(MODEL).status == 200, "the model answers")
        yield server
    finally:
        server.close()


@pytest.fixture
def client(server: Server) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/v1", api_key=server.key, max_retries=0) as made:
        yield made


@pytest.fixture
def limited(server: Server) -> Limited:
    @contextmanager
    def make(subject: str, meter: str, window: str, amount: Any) -> Iterator[Any]:
        given = {"subject": subject, "meter": meter, "window": window, "amount": amount}
        made = server.control("POST", "/limits", given)
        follow(server)
        try:
            yield made
        finally:
            server.control("DELETE", f"/limits/{made['id']}")
            follow(server)

    return make


def follow(server: Server) -> None:
    """Wait until the data plane knows the newest revision, and what was spent before."""
    newest = server.control("GET", "/changes?limit=1")["data"][0]["revision"]
    until(lambda: server.ask("GET", "/health/ready").json["revision"] >= newest, "it is followed")


def chat(client: OpenAI, user: str, model: str = MODEL, **more: Any) -> Any:
    return client.chat.completions.with_raw_response.create(
        model=model, messages=more.pop("messages", HELLO), user=user, max_tokens=20, **more
    )


def refused(client: OpenAI, user: str, model: str = MODEL, **more: Any) -> openai.RateLimitError:
    with pytest.raises(openai.RateLimitError) as caught:
        chat(client, user, model, **more)
    return caught.value


def test_requests_a_minute_of_each_end_user(client: OpenAI, limited: Limited) -> None:
    with limited("user:*", "requests", "minute", 2):
        told = [chat(client, "ann").headers for _ in range(2)]
        assert [each["x-ratelimit-limit-requests"] for each in told] == ["2", "2"]
        assert [each["x-ratelimit-remaining-requests"] for each in told] == ["1", "0"]
        error = refused(client, "ann")
        assert (error.type, error.code) == ("requests", "rate_limit_exceeded")
        assert "end user 'ann'" in error.message
        headers = error.response.headers
        assert headers["x-ratelimit-remaining-requests"] == "0"
        assert 1 <= int(headers["retry-after"]) <= 30
        assert 0 < float(headers["retry-after-ms"]) <= 30_000
        assert chat(client, "bob").headers["x-ratelimit-remaining-requests"] == "1"
        nobody = client.chat.completions.with_raw_response.create(model=MODEL, messages=HELLO)
        assert "x-ratelimit-limit-requests" not in nobody.headers


def test_a_limit_of_ones_own_goes_before(client: OpenAI, limited: Limited) -> None:
    with limited("user:*", "requests", "day", 1), limited("user:carl", "requests", "day", 2):
        for _ in range(2):
            assert chat(client, "carl").headers["x-ratelimit-limit-requests"] == "2"
        assert refused(client, "carl").type == "insufficient_quota"
        assert chat(client, "cora").headers["x-ratelimit-limit-requests"] == "1"
        assert refused(client, "cora").type == "insufficient_quota"


def test_tokens_a_day(client: OpenAI, limited: Limited) -> None:
    with limited("user:dora", "tokens", "day", 300):
        headers = chat(client, "dora", messages=LONG).headers
        assert headers["x-ratelimit-limit-tokens"] == "300"
        assert int(headers["x-ratelimit-remaining-tokens"]) < 100
        error = refused(client, "dora", messages=LONG)
        assert (error.type, error.code) == ("insufficient_quota", "insufficient_quota")
        assert "the daily tokens quota of end user 'dora'" in error.message
        assert int(error.response.headers["retry-after"]) > 0


def test_money_a_month_and_nobody_tries_in_vain(client: OpenAI, limited: Limited) -> None:
    with limited("user:*", "money", "month", "2"):
        for _ in range(2):
            chat(client, "emma")
        error = refused(client.with_options(max_retries=5), "emma")
        assert "the monthly budget of end user 'emma'" in error.message
        assert error.response.headers["x-should-retry"] == "false"
        assert error.response.request.headers["x-stainless-retry-count"] == "0"
        chat(client, "eric")


def test_one_at_a_time_and_the_client_waits(
    server: Server, client: OpenAI, limited: Limited, sandbox: SandboxProcess
) -> None:
    """`Retry-After` is what the client obeys by itself."""
    sandbox.fault("slow_headers", delay_s=0.8, times=1)
    with limited("user:fred", "running", "now", 1) as made, ThreadPoolExecutor() as pool:
        path = f"/limits/{made['id']}/state?project=default"
        first = pool.submit(chat, client, "fred")
        until(lambda: server.control("GET", path)["used"] == 1, "the first is under way")
        error = refused(client, "fred")
        assert (error.type, error.response.headers["retry-after"]) == ("requests", "1")
        chat(client, "frida")
        patient = chat(client.with_options(max_retries=3), "fred")
        assert patient.http_request.headers["x-stainless-retry-count"] == "1"
        assert first.result().status_code == 200


def test_streams_at_a_time(server: Server, client: OpenAI, limited: Limited) -> None:
    """Whole answers need no place; a stream that ends gives its own back."""
    with limited("user:iris", "streams", "now", 2) as made:
        path = f"/limits/{made['id']}/state?project=default"

        def used() -> int:
            return int(server.control("GET", path)["used"])

        def stream() -> openai.Stream[ChatCompletionChunk]:
            return client.chat.completions.create(
                model=MODEL, messages=SLOW, user="iris", stream=True
            )

        first, second = stream(), stream()
        assert used() == 2
        error = refused(client, "iris", stream=True)
        assert (error.type, error.response.headers["retry-after"]) == ("requests", "1")
        assert error.message.count("Too many streams at a time for end user 'iris': Limit 2.") == 1
        assert chat(client, "iris").status_code == 200
        assert used() == 2
        first.close()
        until(lambda: used() == 1, "whoever leaves gives the place back")
        chat(client, "iris", stream=True).parse().close()
        until(lambda: used() == 1, "the short one has ended")
        second.close()
        until(lambda: used() == 0, "nobody streams")
        for chunk in client.chat.completions.create(
            model=MODEL, messages=HELLO, user="iris", stream=True
        ):
            assert chunk.object == "chat.completion.chunk"
        assert used() == 0, "it is free when the last byte comes"


@pytest.mark.parametrize(
    "path,body",
    [
        ("chat/completions", {"messages": HELLO}),
        ("completions", {"prompt": "Hello"}),
        ("responses", {"input": "Hello"}),
        ("messages", {"messages": HELLO, "max_tokens": 20}),
    ],
)
def test_every_dialect_has_streams(
    server: Server, limited: Limited, path: str, body: dict[str, Any]
) -> None:
    with limited("key:*", "streams", "now", 0):
        body = body | {"model": MODEL}
        for streamed, status in ((True, 429), (False, 200)):
            asked = body | {"stream": streamed}
            assert server.ask("POST", f"/v1/{path}", asked, server.key).status == status


def test_versions_are_counted_apart(client: OpenAI, limited: Limited) -> None:
    with limited(f"version:{MODEL}:2", "requests", "day", 1):
        versions = [chat(client, "gina", f"{MODEL}:rc").headers for _ in range(2)]
        assert [each["x-xrouter-version"] for each in versions] == ["2", "1"]
        error = refused(client, "gina", f"{MODEL}:2")
        assert error.type == "insufficient_quota"
        assert "model version" in error.message
        assert "x-ratelimit-limit-requests" not in chat(client, "gina").headers
    with limited(f"model:{MODEL}", "requests", "day", 10_000):
        left = [
            int(chat(client, "gina", name).headers["x-ratelimit-remaining-requests"])
            for name in (MODEL, f"{MODEL}:rc")
        ]
        assert left[0] - 1 == left[1]


def test_a_limit_made_later_knows_what_was_used_before(
    server: Server, client: OpenAI, limited: Limited
) -> None:
    """From the database: the counter begins where the day stands."""
    for _ in range(3):
        chat(client, "hugo")
    with limited("user:hugo", "requests", "day", 4) as made:
        path = f"/limits/{made['id']}/state?project=default"
        until(lambda: server.control("GET", path)["used"] == 3, "what was used is known")
        chat(client, "hugo")
        refused(client, "hugo")
