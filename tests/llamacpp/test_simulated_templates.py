"""The sandbox's chat templates demand what a real server's do, and are told of in the same way."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest
from tests.llamacpp import templates
from tests.llamacpp.asking import WAIT
from tests.llamacpp.server import LlamaServer
from tests.llamacpp.test_simulator import ASSISTANT, CALL, CHAT, USER, asked

from xrouter.providers.llamacpp.template import template_of
from xrouter.sandbox.server import running
from xrouter.wire.client import Client
from xrouter.wire.types import Route, WireReply, WireRequest

pytestmark = [pytest.mark.real_llamacpp, pytest.mark.timeout(120, func_only=True)]

CALLED: Any = [USER, ASSISTANT | {"content": None, "tool_calls": [CALL | {"id": "aB3aB3aB3"}]}]
RESULT = {"role": "tool", "tool_call_id": "aB3aB3aB3", "content": "done"}
SYSTEM = {"role": "system", "content": "s"}
SAID = ASSISTANT | {"content": "yo"}
ORDERS: list[Any] = [
    [USER],
    [SYSTEM],
    [SYSTEM, USER],
    [SYSTEM, USER, SAID, SYSTEM, USER],
    [USER, USER],
    [SAID, USER],
    [USER, SAID],
    [*CALLED, RESULT],
    [*CALLED, RESULT, USER],
    [*CALLED, RESULT, SAID, USER],
    [USER, ASSISTANT | {"tool_calls": [CALL]}, RESULT],
    [*CALLED, RESULT | {"tool_call_id": "c1"}],
]
CAPS = ("supports_system_role", "supports_tools", "supports_tool_calls", "supports_string_content")
MODELS = {
    "gemma-2-9b-it": templates.GEMMA_2,
    "gemma-3-4b-it": templates.GEMMA_3,
    "nemo-12b-instruct": templates.MISTRAL,
    "tinyllama-1.1b-chat": templates.NO_TOOLS,
}


@pytest.fixture
async def sandbox() -> AsyncIterator[str]:
    async with running() as url:
        yield f"{url}/llamacpp-router"


@pytest.mark.parametrize("model", MODELS)
async def test_templates_demand_the_same(
    client: Client, templated: Callable[[str], LlamaServer], sandbox: str, model: str
) -> None:
    bases = (templated(MODELS[model]).url, sandbox)
    for order in ORDERS:
        for path in (CHAT, "/apply-template"):
            body = {"model": model, "messages": order, "tools": [WAIT], "max_tokens": 2}
            raw = json.dumps(body).encode()
            forms = [last_words(await asked(client, base, path, raw)) for base in bases]
            assert forms[0] == forms[1], order


@pytest.mark.parametrize("model", MODELS)
async def test_templates_are_told_of_in_the_same_way(
    client: Client, templated: Callable[[str], LlamaServer], sandbox: str, model: str
) -> None:
    told = []
    for base in (templated(MODELS[model]).url, sandbox):
        wire = WireRequest("GET", f"{base}/props?model={model}")
        reply = await client.fetch(wire, Route(), timeout=60)
        template = template_of(reply.body)
        caps = json.loads(reply.body)["chat_template_caps"]
        told.append((template, {name: caps[name] for name in CAPS}))
    assert msgspec.structs.replace(told[0][0], vision=told[1][0].vision) == told[1][0]
    assert told[0][1] == told[1][1]


def last_words(reply: WireReply) -> tuple[int, str]:
    """Status, and the last line of an error: before it, the template's source is shown."""
    body = json.loads(reply.body)
    return reply.status, body["error"]["message"].splitlines()[-1] if "error" in body else ""
