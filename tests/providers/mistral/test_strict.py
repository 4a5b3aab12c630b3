"""Whatever order of messages a client sends, the strict simulator takes what becomes of it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.providers.mistral.conftest import endpoint_of

from xrouter.domain.catalog import Model, Version
from xrouter.domain.chat import ChatRequest, Fields
from xrouter.domain.plan import Target
from xrouter.providers.mistral.adapter import MistralAdapter
from xrouter.sandbox.kit import Charge, SandboxRequest
from xrouter.sandbox.mistral.simulator import KEY_PREFIX, MistralSimulator

MODELS = ("mistral-large-4-0", "magistral-medium-2509", "open-mistral-nemo")
TEXT = st.sampled_from(["", "a", "bb", [{"type": "text", "text": "c"}], None])
EXTRA: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {},
        {"name": "bob"},
        {"cache_control": {"type": "ephemeral"}},
        {"reasoning_content": "hm"},
        {"refusal": "No."},
        {"reasoning_details": [{"type": "reasoning.text", "text": "so", "signature": "s"}]},
        {"prefix": True},
    ]
)


@st.composite
def turns(draw: st.DrawFn) -> list[dict[str, Any]]:
    """One message, or calls with their results in any order."""
    role = draw(st.sampled_from(["system", "developer", "user", "assistant", "calls", "legacy"]))
    message: dict[str, Any] = {"content": draw(TEXT)} | draw(EXTRA)
    if role == "legacy":
        call = {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}}
        return [call, {"role": "function", "name": "f", "content": "1"}]
    if role != "calls":
        return [{"role": role} | message]
    names = draw(
        st.lists(
            st.sampled_from(["call_1", "call_2", "D681PevKs", "x" * 60, "ц"]),
            min_size=1,
            unique=True,
        )
    )
    calls = [
        {"id": name, "type": "function", "index": 0, "function": {"name": "f", "arguments": "{}"}}
        for name in names
    ]
    results = [{"role": "tool", "tool_call_id": name, "content": "1"} for name in names]
    return [{"role": "assistant", **message, "tool_calls": calls}, *draw(st.permutations(results))]


PARAMETERS = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.sampled_from([0, 1, 2]),
        "top_p": st.sampled_from([0.5, 1]),
        "max_completion_tokens": st.just(50),
        "max_tokens": st.just(50),
        "stream": st.booleans(),
        "stream_options": st.just({"include_usage": True}),
        "seed": st.integers(0, 9),
        "stop": st.sampled_from(["x", ["x", "y"], []]),
        "user": st.just("u"),
        "store": st.booleans(),
        "logit_bias": st.just({"1": 1}),
        "metadata": st.just({"a": "b"}),
        "logprobs": st.booleans(),
        "service_tier": st.sampled_from(["auto", "default", "flex", "standard_only"]),
        "prompt_cache_key": st.sampled_from(["k", "ц"]),
        "response_format": st.sampled_from(
            [{"type": "text"}, {"type": "json_object", "x": 1}, {"type": "json_schema",
             "json_schema": {"name": "s", "schema": {"type": "object"}, "strict": True}}]
        ),
        "prediction": st.just({"type": "content", "content": [{"type": "text", "text": "a"}]}),
        "tools": st.just(
            [
                {"type": "function", "function": {"name": "f"}},
                {"type": "custom", "custom": {"name": "c"}},
            ]
        ),
        "parallel_tool_calls": st.booleans(),
        "verbosity": st.just("low"),
        "anything": st.just(1),
    },
)  # fmt: skip


@given(
    history=st.lists(turns(), min_size=1, max_size=6),
    more=PARAMETERS,
    model=st.sampled_from(MODELS),
)
@settings(max_examples=300, deadline=None)
def test_the_simulator_takes_what_the_adapter_sends(
    history: list[list[dict[str, Any]]], more: dict[str, Any], model: str
) -> None:
    messages = [message for turn in history for message in turn]
    body = msgspec.json.encode({"model": model, "messages": messages, **more})
    request = msgspec.json.decode(body, type=ChatRequest)
    request.fields = msgspec.json.decode(body, type=Fields)
    version = Version(label="latest", upstream=model)
    described = Model(
        model_id=f"mistral/{model}",
        provider="mistral",
        adapter_class="",
        display_name=model,
        versions=(version,),
    )
    adapter = MistralAdapter(endpoint_of())
    exchange = adapter.encode_chat(request, Target(adapter.endpoint, described, version))
    bill: list[Charge] = []
    asked = SandboxRequest(
        method="POST",
        path="/v1/chat/completions",
        query={},
        headers={"authorization": f"Bearer {KEY_PREFIX}"},
        body=exchange.wire.body,
        origin="http://h",
    )
    answered = asyncio.run(MistralSimulator(bill).handle(asked))
    assert answered.status == 200, (json.loads(exchange.wire.body), answered.body)
