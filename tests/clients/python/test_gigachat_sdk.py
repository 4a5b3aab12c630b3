"""GigaChat's own client against the simulator: what it takes for GigaChat is like GigaChat."""

from __future__ import annotations

import base64
import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import pytest
from gigachat import GigaChat
from gigachat import exceptions as refused
from gigachat.context import client_id_cvar, session_id_cvar
from gigachat.models import Chat, Function, Messages
from tests.clients.python.gigachat_client import MAX, SPECIFICATION, ULTRA, Town, settings
from tests.clients.served import SandboxControl, ask
from tests.clients.upstreams import EXACT

LITE = "GigaChat-2"
PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@contextmanager
def header(variable: ContextVar[str | None], value: str) -> Iterator[None]:
    """A header that the client takes from its context."""
    before = variable.set(value)
    try:
        yield
    finally:
        variable.reset(before)


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client reads variables; those of this machine are not meant."""
    for name in list(os.environ):
        if name.startswith("GIGACHAT_"):
            monkeypatch.delenv(name)


@pytest.fixture
def giga(sandbox: SandboxControl) -> Iterator[GigaChat]:
    """The client of the newest host, which is its default."""
    with GigaChat(**settings(sandbox.origin)) as made:
        yield made


@pytest.fixture
def old(sandbox: SandboxControl) -> Iterator[GigaChat]:
    """The client of the old host."""
    with GigaChat(**settings(sandbox.origin, old=True)) as made:
        yield made


def told(error: pytest.ExceptionInfo[Any]) -> dict[str, Any]:
    """The body of a refusal."""
    body: dict[str, Any] = json.loads(error.value.content)
    return body


def asked(text: str = "Hello", **more: Any) -> Chat:
    return Chat.model_validate({"messages": [{"role": "user", "content": text}]} | more)


# --- who asks


def test_a_token_is_fetched_once_and_again_when_it_has_ended(
    giga: GigaChat, sandbox: SandboxControl
) -> None:
    token = giga.get_token()
    assert token is not None
    assert time.time() < token.expires_at / 1000 < time.time() + 1900
    giga.get_models()
    giga.chat("Hello")
    assert len(sandbox.seen("oauth")) == 1
    assert ask(f"{sandbox.origin}/gigachat/_tokens/expire", "POST").status == 200
    assert giga.chat("Hello again").choices[0].finish_reason == "stop"
    assert len(sandbox.seen("oauth")) == 2


def test_a_user_and_the_password_are_of_the_old_host(sandbox: SandboxControl) -> None:
    given = {"credentials": None, "user": "b2b-user", "password": "sandbox"}
    with GigaChat(**(settings(sandbox.origin, old=True) | given)) as old_host:
        assert old_host.chat("Hello").choices[0].message.content
    with (
        GigaChat(**(settings(sandbox.origin) | given)) as new_host,
        pytest.raises(refused.ResponseError),
    ):
        new_host.chat("Hello")


@pytest.mark.parametrize(
    "changed, kind, status",
    [
        (
            {"credentials": base64.b64encode(b"b2b-a:wrong").decode()},
            refused.AuthenticationError,
            401,
        ),
        ({"scope": "GIGACHAT_API_PERS"}, refused.BadRequestError, 400),
        ({"scope": "GIGACHAT"}, refused.BadRequestError, 400),
        ({"credentials": None, "access_token": "eyJold"}, refused.AuthenticationError, 401),
    ],
)
def test_strangers_are_refused(
    sandbox: SandboxControl,
    changed: dict[str, Any],
    kind: type[refused.ResponseError],
    status: int,
) -> None:
    with (
        GigaChat(**(settings(sandbox.origin) | changed)) as stranger,
        pytest.raises(kind) as caught,
    ):
        stranger.chat("Hello")
    assert caught.value.status_code == status


# --- the first contract


def test_chat(giga: GigaChat) -> None:
    answer = giga.chat(asked(EXACT))
    (choice,) = answer.choices
    assert choice.message.role == "assistant"
    assert choice.message.content == f"This is GigaChat-2-Max:2.0.30.01. You said: {EXACT}"
    assert choice.finish_reason == "stop"
    assert answer.model == "GigaChat-2-Max:2.0.30.01"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.x_headers is not None
    assert answer.x_headers["x-request-id"]
    assert answer.x_headers["x-session-id"]


def test_stream(giga: GigaChat) -> None:
    chunks = list(giga.stream(asked(EXACT)))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == giga.chat(asked(EXACT)).choices[0].message.content
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.usage] == ["stop"]
    assert chunks[-1].usage is not None


async def test_without_blocking(sandbox: SandboxControl) -> None:
    async with GigaChat(**settings(sandbox.origin)) as giga:
        whole = await giga.achat("Hello")
        chunks = [chunk async for chunk in giga.astream("Hello")]
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        assert text == whole.choices[0].message.content
        created = await giga.achat.create("Hello")
        assert created.finish_reason == "stop"
        events = [chunk async for chunk in giga.achat.stream("Hello")]
        assert events[-1].finish_reason == "stop"


def test_a_session_is_cheaper(giga: GigaChat) -> None:
    history = [Messages(role="user", content="one two three")]
    with header(session_id_cvar, "5d0ffd3c-7c37-4d5e-b0c5-1f5a8cd1a111"):
        giga.chat(Chat(messages=history))
        history += [Messages(role="assistant", content="yes"), Messages(role="user", content="so")]
        usage = giga.chat(Chat(messages=history)).usage
    assert usage.precached_prompt_tokens == 4
    assert usage.prompt_tokens == 2


def test_censorship_and_length(giga: GigaChat) -> None:
    assert giga.chat("[[blacklist]]").choices[0].finish_reason == "blacklist"
    short = giga.chat(asked("go [[words:40]]", max_tokens=3))
    assert short.choices[0].finish_reason == "length"
    assert short.usage.completion_tokens == 3


def test_a_function_there_and_back(giga: GigaChat) -> None:
    chat = asked("use get_weather", functions=[SPECIFICATION], function_call="auto")
    choice = giga.chat(chat).choices[0]
    assert choice.finish_reason == "function_call"
    call = choice.message.function_call
    assert call is not None
    assert call.name == "get_weather"
    assert call.arguments == {"city": "sample"}
    assert choice.message.functions_state_id
    told_back = Messages(role="function", name="get_weather", content='{"degrees": 5}')
    chat.messages += [choice.message, told_back]
    answer = giga.chat(chat).choices[0]
    assert answer.finish_reason == "stop"
    assert '{"degrees": 5}' in answer.message.content


def test_a_function_in_a_stream(giga: GigaChat) -> None:
    chat = asked("hello", functions=[SPECIFICATION], function_call={"name": "get_weather"})
    last = list(giga.stream(chat))[-1].choices[0]
    assert last.finish_reason == "function_call"
    assert last.delta.function_call is not None
    assert last.delta.function_call.arguments == {"city": "sample"}
    assert last.delta.functions_state_id


def test_reasoning(giga: GigaChat) -> None:
    chat = asked("Think [[think:5]]", model=ULTRA, reasoning_effort="low")
    message = giga.chat(chat).choices[0].message
    assert message.reasoning_content
    parts = [chunk.choices[0].delta.reasoning_content or "" for chunk in giga.stream(chat)]
    assert "".join(parts) == message.reasoning_content


def test_structured_output(giga: GigaChat, old: GigaChat) -> None:
    completion, town = giga.chat_parse(asked(model=ULTRA), response_format=Town)
    assert completion.object_ == "chat.completions"
    assert town == Town(name="sample", people=1)
    for client, model in ((giga, MAX), (old, MAX)):
        with pytest.raises(refused.UnprocessableEntityError):
            client.chat_parse(asked(model=model), response_format=Town)
    with pytest.raises(refused.LengthFinishReasonError):
        giga.chat_parse(asked("go", model=ULTRA, max_tokens=1), response_format=Town)


# --- files


def test_files(giga: GigaChat) -> None:
    sent = giga.upload_file(("pixel.png", PICTURE))
    assert (sent.filename, sent.bytes_, sent.purpose) == ("pixel.png", len(PICTURE), "general")
    assert sent.access_policy == "private"
    assert sent.id_ in {file.id_ for file in giga.get_files().data}
    assert giga.get_file(sent.id_).created_at == sent.created_at
    assert base64.b64decode(giga.get_image(sent.id_).content) == PICTURE
    gone = giga.delete_file(sent.id_)
    assert (gone.id_, gone.deleted) == (sent.id_, True)
    with pytest.raises(refused.NotFoundError) as caught:
        giga.get_file(sent.id_)
    assert told(caught) == {"status": 404, "message": "No such file"}


def test_an_image_is_looked_at(giga: GigaChat) -> None:
    sent = giga.upload_file(("pixel.png", PICTURE))
    message = {"role": "user", "content": "What is it?", "attachments": [sent.id_]}
    assert "pixel.png" in giga.chat({"messages": [message]}).choices[0].message.content
    with pytest.raises(refused.UnprocessableEntityError, match="does not support images"):
        giga.chat({"messages": [message], "model": LITE})
    twice = message | {"attachments": [sent.id_, sent.id_]}
    with pytest.raises(refused.UnprocessableEntityError):
        giga.chat({"messages": [twice]})
    giga.delete_file(sent.id_)


def test_a_document_is_read(giga: GigaChat) -> None:
    sent = giga.upload_file(("rivers.txt", b"The Kama is long."), purpose="general")
    message = {"role": "user", "content": "Read", "attachments": [sent.id_]}
    assert "The Kama is long." in giga.chat({"messages": [message]}).choices[0].message.content
    giga.delete_file(sent.id_)


@pytest.mark.parametrize(
    "file, purpose", [(("a.exe", b"MZ"), "general"), (("a.pdf", b"%PDF"), "assistant")]
)
def test_files_refused(giga: GigaChat, file: tuple[str, bytes], purpose: Any) -> None:
    with pytest.raises(refused.UnprocessableEntityError):
        giga.upload_file(file, purpose=purpose)


def test_a_drawing(giga: GigaChat) -> None:
    with header(client_id_cvar, "artist"):
        message = giga.chat(asked("Нарисуй кота", function_call="auto")).choices[0].message
        tag = re.search(r'<img src="([^"]+)" fuse="true"/>', message.content)
        assert tag is not None
        picture = base64.b64decode(giga.get_image(tag[1]).content)
    assert picture.startswith(b"\xff\xd8\xff")
    with pytest.raises(refused.ResponseError):
        giga.get_image(tag[1])


# --- beside the chats


def test_embeddings(giga: GigaChat) -> None:
    made = giga.embeddings(["one", EXACT])
    assert [one.index for one in made.data] == [0, 1]
    assert {len(one.embedding) for one in made.data} == {1024}
    assert all(one.usage.prompt_tokens for one in made.data)
    large = giga.embeddings(["one"], model="EmbeddingsGigaR")
    assert len(large.data[0].embedding) == 2560


def test_tokens_are_counted(giga: GigaChat) -> None:
    one, two = giga.tokens_count(["one two", "Привет"], model="GigaChat")
    assert (one.tokens, one.characters, one.object_) == (2, 7, "tokens")
    assert two.characters == 6


def test_balance(giga: GigaChat, sandbox: SandboxControl) -> None:
    before = {entry.usage: entry.value for entry in giga.get_balance().balance}
    usage = giga.chat("Hello").usage
    after = {entry.usage: entry.value for entry in giga.get_balance().balance}
    assert before[MAX] - after[MAX] == usage.total_tokens
    with (
        GigaChat(**settings(sandbox.origin, key="corp-sdk:sandbox")) as postpaid,
        pytest.raises(refused.ForbiddenError),
    ):
        postpaid.get_balance()


def test_models_differ_by_host(giga: GigaChat, old: GigaChat) -> None:
    new = {model.id_ for model in giga.get_models().data}
    assert {model.id_ for model in old.get_models().data} < new
    assert giga.get_model(ULTRA).owned_by == "salutedevices"
    with pytest.raises(refused.NotFoundError) as caught:
        old.get_model(ULTRA)
    assert told(caught) == {"status": 404, "message": "No such model"}


def test_checks(giga: GigaChat) -> None:
    found = giga.check_ai("an AI wrote this", "GigaCheckDetection")
    assert (found.category, found.ai_intervals) == ("ai", [[0, 16]])
    described = {"paths": {"/now": {"get": {"operationId": "now", "summary": "The time"}}}}
    (function,) = giga.openapi_function_convert(json.dumps(described)).functions
    assert isinstance(function, Function)
    assert (function.name, function.description) == ("now", "The time")


# --- refusals


@pytest.mark.parametrize(
    "chat, kind, status",
    [
        (
            {"messages": [{"role": "user", "content": "a"}], "model": "gpt"},
            refused.NotFoundError,
            404,
        ),
        (
            {"messages": [{"role": role, "content": "a"} for role in ("user", "system")]},
            refused.UnprocessableEntityError,
            422,
        ),
        (
            {"messages": [{"role": "user", "content": "word " * 131_100}]},
            refused.RequestEntityTooLargeError,
            413,
        ),
    ],
)
def test_refusals(
    giga: GigaChat, chat: dict[str, Any], kind: type[refused.ResponseError], status: int
) -> None:
    with pytest.raises(kind) as caught:
        giga.chat(chat)
    assert told(caught)["status"] == status
    with pytest.raises(kind):
        list(giga.stream(chat))


def test_a_person_has_one_call_at_a_time(sandbox: SandboxControl) -> None:
    with GigaChat(**settings(sandbox.origin, key="pers-sdk:sandbox")) as giga:
        running: Any = giga.stream("go [[words:400]] [[pause:5]]")
        assert next(running).choices[0].delta.content
        with pytest.raises(refused.RateLimitError) as caught:
            giga.chat("Hello")
        assert caught.value.retry_after == 0
        running.close()
        sandbox.saw_a_client_leave()
        assert giga.chat("Hello").choices[0].message.content


def test_an_empty_package(sandbox: SandboxControl) -> None:
    with (
        GigaChat(**settings(sandbox.origin, key="b2b-empty:sandbox")) as giga,
        pytest.raises(refused.ResponseError) as caught,
    ):
        giga.chat("Hello")
    assert told(caught) == {"status": 402, "message": "Payment Required"}


@pytest.mark.parametrize("kind", ["server_error", "html_error"])
def test_faults(giga: GigaChat, sandbox: SandboxControl, kind: str) -> None:
    giga.get_token()
    sandbox.fault(kind, "gigachat")
    with pytest.raises(refused.ServerError):
        giga.chat("Hello")
    assert giga.chat("Hello").choices[0].message.content
