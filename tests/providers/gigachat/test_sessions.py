"""The session of a conversation, in both of GigaChat's contracts."""

from typing import Any
from uuid import UUID

import pytest
from tests.providers.gigachat.asking import PNG, adapter_of, ask, endpoint_of, image, reply

from xrouter.providers.gigachat.adapter import GigaChatAdapter
from xrouter.providers.gigachat.v2.adapter import GigaChatV2Adapter


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


SYSTEM = {"role": "system", "content": "You sell flowers."}
GREETING = {"role": "assistant", "content": "Good day!"}
FIRST = user("A rose, please.")
LATER = [{"role": "assistant", "content": "Red?"}, user("White.")]


@pytest.fixture(params=[GigaChatAdapter, GigaChatV2Adapter])
def adapter(request: pytest.FixtureRequest) -> GigaChatAdapter:
    made: GigaChatAdapter = request.param(endpoint_of())
    return made


def session(adapter: GigaChatAdapter, *messages: dict[str, Any], **fields: Any) -> str:
    return ask(adapter, messages=list(messages), **fields).wire.headers["x-session-id"]


def test_it_is_a_uuid(adapter: GigaChatAdapter) -> None:
    assert UUID(session(adapter, FIRST)).version == 5


def test_a_conversation_keeps_it(adapter: GigaChatAdapter) -> None:
    begun = session(adapter, SYSTEM, GREETING, FIRST)
    assert session(adapter, SYSTEM, GREETING, FIRST, *LATER, temperature=1) == begun


def test_every_process_finds_the_same(adapter: GigaChatAdapter) -> None:
    other = type(adapter)(endpoint_of())
    assert session(other, SYSTEM, FIRST) == session(adapter, SYSTEM, FIRST)


@pytest.mark.parametrize(
    "messages",
    [[FIRST], [SYSTEM, user("A tulip.")], [SYSTEM, GREETING, FIRST]],
    ids=["no system", "another question", "another greeting"],
)
def test_conversations_that_begin_otherwise_have_others(
    adapter: GigaChatAdapter, messages: list[dict[str, Any]]
) -> None:
    assert session(adapter, *messages) != session(adapter, SYSTEM, FIRST)


def test_users_have_their_own(adapter: GigaChatAdapter) -> None:
    found = {session(adapter, FIRST, user=name) for name in ("anna", "boris", None)}
    assert len(found) == 3


def test_endpoints_have_their_own() -> None:
    assert session(adapter_of(id=2), FIRST) != session(adapter_of(), FIRST)


@pytest.mark.parametrize(
    "named", [{"prompt_cache_key": "shop"}, {"metadata": {"session_id": "shop"}}]
)
def test_a_named_conversation_may_forget_its_beginning(
    adapter: GigaChatAdapter, named: dict[str, Any]
) -> None:
    assert session(adapter, SYSTEM, FIRST, **named) == session(adapter, *LATER, **named)
    assert session(adapter, SYSTEM, FIRST, **named) != session(adapter, SYSTEM, FIRST)
    assert "shop" not in session(adapter, FIRST, **named)


def test_marks_of_the_cache_may_move_on(adapter: GigaChatAdapter) -> None:
    part = {"type": "text", "text": FIRST["content"]}
    marked = {"role": "user", "content": [{**part, "cache_control": {"type": "ephemeral"}}]}
    assert session(adapter, marked) == session(adapter, FIRST)


def test_other_pictures_are_another_conversation(adapter: GigaChatAdapter) -> None:
    asked = [{"role": "user", "content": [image(data)]} for data in (PNG, PNG + b"1")]
    assert session(adapter, asked[0]) != session(adapter, asked[1])


def test_an_empty_name_is_none(adapter: GigaChatAdapter) -> None:
    for empty in ("", None):
        assert session(adapter, FIRST, prompt_cache_key=empty) == session(adapter, FIRST)


def test_a_name_is_no_beginning(adapter: GigaChatAdapter) -> None:
    assert session(adapter, FIRST, prompt_cache_key="x") != session(adapter, user("x"))


def test_the_key_is_made_use_of_and_the_rest_of_metadata_is_not(adapter: GigaChatAdapter) -> None:
    exchange = ask(adapter, prompt_cache_key="k", metadata={"session_id": "s"}, user="u")
    assert exchange.dropped == ("metadata", "user")
    assert b"prompt_cache_key" not in exchange.wire.body


def test_another_way_to_ask_is_the_same_session(adapter: GigaChatAdapter) -> None:
    schema = {"type": "object", "properties": {}}
    form = {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}
    exchange = ask(adapter, response_format=form)
    said = "Invalid params: unknown field `response_format`"
    other = exchange.instead(adapter.decode_error(reply(422, {"status": 422, "message": said})))
    assert other is not None
    assert other.wire.headers["x-session-id"] == exchange.wire.headers["x-session-id"]
