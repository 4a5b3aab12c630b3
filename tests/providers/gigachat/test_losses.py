"""What GigaChat has no place for is named or refused, in both of its contracts."""

import json
from typing import Any

import pytest
from tests.providers.gigachat.asking import adapter_of, ask, endpoint_of, sent, user

from xrouter.domain.errors import InvalidRequest
from xrouter.providers.gigachat.adapter import GigaChatAdapter
from xrouter.providers.gigachat.v2.adapter import GigaChatV2Adapter


@pytest.fixture(params=[GigaChatAdapter, GigaChatV2Adapter])
def adapter(request: pytest.FixtureRequest) -> GigaChatAdapter:
    made: GigaChatAdapter = request.param(endpoint_of())
    return made


def test_keys_of_messages_that_have_no_place_are_named(adapter: GigaChatAdapter) -> None:
    said = {"role": "assistant", "content": "Hi", "functions_state_id": "x", "annotations": []}
    asked = {"role": "user", "content": "?", "attachments": ["id"], "cache_control": {"a": 1}}
    exchange = ask(adapter, messages=[said, asked, asked, {**asked, "y" * 99: 1, "z": None}])
    assert exchange.dropped == (
        "messages.functions_state_id",
        "messages.attachments",
        "messages.cache_control",
        "messages." + "y" * 40,
    )
    assert "attachments" not in exchange.wire.body.decode()


def test_keys_of_messages_are_bounded(adapter: GigaChatAdapter) -> None:
    many = {"role": "user", "content": "?", **{f"k{number}": 1 for number in range(1000)}}
    assert len(ask(adapter, messages=[many]).dropped) == 32


@pytest.mark.parametrize("name", ["storage", "assistant_id", "thread_id"])
def test_history_that_the_account_keeps_is_no_callers(adapter: GigaChatAdapter, name: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        ask(adapter, additional_fields={name: {"thread_id": "of another caller"}})
    assert raised.value.param == f"additional_fields.{name}"
    exchange = ask(adapter, **{name: {"thread_id": "of another caller"}})
    assert name not in sent(exchange)
    assert exchange.dropped == (name,)


def test_the_top_level_wins_over_additional_fields(adapter: GigaChatAdapter) -> None:
    exchange = ask(adapter, flags=["a"], additional_fields={"flags": ["b"], "later": 1})
    assert (sent(exchange)["flags"], sent(exchange)["later"]) == (["a"], 1)
    assert exchange.dropped == ("additional_fields.flags",)
    assert ask(adapter, flags=None, additional_fields={"flags": ["b"]}).dropped == ()


def test_names_of_the_second_contract_win_as_well() -> None:
    adapter = GigaChatV2Adapter(endpoint_of())
    more = {"user_info": {"timezone": "UTC"}}
    exchange = ask(adapter, user_info={"timezone": "Europe/Moscow"}, additional_fields=more)
    assert sent(exchange)["user_info"] == {"timezone": "Europe/Moscow"}
    assert exchange.dropped == ("additional_fields.user_info",)


def _functions(body: Any) -> Any:
    functions = body.get("functions")
    return body["tools"][0]["functions"]["specifications"] if functions is None else functions


def test_a_wide_function_goes_out_whole_and_in_order(adapter: GigaChatAdapter) -> None:
    names = [f"field_{number}" for number in range(60)]
    schema = {
        "type": "object",
        "properties": {name: {"type": "string", "description": name} for name in names},
        "required": names,
    }
    function = {"name": "f", "parameters": schema}
    exchange = ask(adapter, tools=[{"type": "function", "function": function}])
    assert json.dumps(_functions(sent(exchange))) == json.dumps([function])
    assert exchange.dropped == ()


def test_files_have_no_other_way_in_than_content_parts() -> None:
    """An id of the account's files could be another caller's."""
    part = {"type": "file", "file": {"file_id": "22222222-0000-4000-8000-000000000002"}}
    with pytest.raises(InvalidRequest) as raised:
        ask(adapter_of(), messages=user(part))
    assert raised.value.param == "messages[0].content[0].file"
