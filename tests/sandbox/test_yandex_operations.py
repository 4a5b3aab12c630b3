"""The simulated Yandex Cloud: pictures, the metadata service, marks."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from tests.sandbox.yandex_caller import Caller, asked, close, uri

from xrouter.sandbox.yandex.operations import MOMENT

DRAW = "/foundationModels/v1/imageGenerationAsync"
TOKEN = "/computeMetadata/v1/instance/service-accounts/default/token"
CLOCK = {"name": "get_time", "parameters": {"type": "object", "properties": {}}}


def order(prompt: str = "A cat", **options: Any) -> dict[str, Any]:
    return {
        "modelUri": uri("yandex-art/latest", "art"),
        "messages": [{"text": prompt, "weight": "1"}],
        "generationOptions": {"mimeType": "image/jpeg"} | options,
    }


@pytest.fixture
def caller() -> Caller:
    return Caller()


async def test_a_picture_is_ready_a_moment_later(caller: Caller) -> None:
    ratio = {"widthRatio": "2", "heightRatio": 1}
    response = await caller.native(DRAW, order(seed="17", aspectRatio=ratio))
    begun = json.loads(response.body)
    assert not begun["done"]
    assert begun["description"] == ""
    caller.now += MOMENT
    shown = await caller.native(f"/operations/{begun['id']}", method="GET")
    done = json.loads(shown.body)["response"]
    assert base64.b64decode(done["image"]).startswith(b"\xff\xd8\xff")
    assert done["modelVersion"] == ""
    assert [(charge.model, charge.operation) for charge in caller.bill] == [
        ("yandex-art/latest", "images")
    ]


@pytest.mark.parametrize(
    "body,message",
    [
        (order("x" * 501), "prompt length must be no more than 500"),
        (order(""), "messages must not be empty"),
        (order("bad [[policy]]"), "may violate the terms of use"),
        (order(mimeType="image/png"), "mimeType must be image/jpeg"),
        (order(seed=-1), "seed must not be negative"),
        (order(aspectRatio={"widthRatio": 0, "heightRatio": 1}), "aspectRatio"),
        (order() | {"modelUri": uri("yandexgpt", "art")}, "invalid model_uri"),
        (order() | {"modelUri": uri("yandex-art", "gpt")}, "invalid model_uri"),
        (order() | {"modelUri": "art://b1gother/yandex-art"}, "does not match with"),
        (order() | {"prompt": "A cat"}, 'unknown field "prompt"'),
    ],
)
async def test_pictures_refused(caller: Caller, body: dict[str, Any], message: str) -> None:
    response = await caller.native(DRAW, body)
    error = json.loads(response.body)
    assert response.status == 400
    assert error["code"] == 3
    assert message in error["error"]
    assert not caller.bill


async def test_an_operation_may_fail(caller: Caller) -> None:
    begun = json.loads((await caller.native(DRAW, order("bad [[policy_later]]"))).body)
    caller.now += MOMENT
    shown = json.loads((await caller.native(f"/operations/{begun['id']}", method="GET")).body)
    assert shown["error"]["code"] == 3
    assert "response" not in shown
    assert not caller.bill


async def test_the_list_has_no_pictures(caller: Caller) -> None:
    listed = json.loads((await caller.compatible("GET", "/v1/models")).body)["data"]
    assert not any(row["id"].startswith("art://") for row in listed)


async def test_a_token_of_the_machine(caller: Caller) -> None:
    refused = await caller.send("GET", TOKEN)
    assert refused.status == 403
    answer = json.loads((await caller.send("GET", TOKEN, metadata_flavor="Google")).body)
    assert (answer["token_type"], answer["expires_in"]) == ("Bearer", 43200)
    said = await caller.native(
        "/foundationModels/v1/completion",
        asked(),
        authorization=f"Bearer {answer['access_token']}",
    )
    assert said.status == 200


async def test_calls_that_leak_into_the_text(caller: Caller) -> None:
    body = asked("[[leak]] get_time please", tools=[{"function": CLOCK}])
    response = await caller.native("/foundationModels/v1/completion", body)
    close(response)
    alternative = json.loads(response.body)["result"]["alternatives"][0]
    assert alternative["message"]["text"] == "[TOOL_CALL_START]get_time\n{}[TOOL_CALL_END]"
    assert alternative["status"] == "ALTERNATIVE_STATUS_FINAL"


async def test_a_thinking_model_without_json_object(caller: Caller) -> None:
    body = {
        "model": uri("qwen3.6-35b-a3b"),
        "messages": [{"role": "user", "content": "Hi [[fence]]"}],
    }
    loose = body | {"response_format": {"type": "json_object"}}
    refused = await caller.compatible("POST", "/v1/chat/completions", loose)
    assert refused.status == 400
    assert "json_object is not supported" in json.loads(refused.body)["error"]["message"]
    said = await caller.compatible("POST", "/v1/chat/completions", body)
    close(said)
    text = json.loads(said.body)["choices"][0]["message"]["content"]
    assert text == '```json\n{"said":"Hi"}\n```'
