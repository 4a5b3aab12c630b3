from __future__ import annotations

import json
from typing import Any

import pytest

from xrouter.control.registry.litellm import GENERIC_ADAPTER, Taken, translate
from xrouter.control.registry.schemas import RegistryDoc
from xrouter.domain.errors import InvalidRequest
from xrouter.providers import factory

Json = dict[str, Any]
STRATEGIES = ("priority", "weighted", "latency")


def deployment(name: str, model: str, **params: Any) -> Json:
    return {"model_name": name, "litellm_params": {"model": model, **params}}


def taken(*deployments: Json, environ: Json | None = None, **more: Any) -> Taken:
    config = {"model_list": list(deployments), **more}
    found = translate(config, environ or {}, factory.providers(), STRATEGIES)
    RegistryDoc.model_validate(found.document)
    return found


def routes(found: Taken) -> Json:
    return {route["name"]: route for route in found.document["routes"]}


def test_a_deployment_becomes_a_provider_a_model_and_a_route() -> None:
    found = taken(deployment("gpt", "openai/gpt-4o", api_key="sk-1"))
    (provider,) = found.document["providers"]
    assert (provider["name"], provider["endpoints"][0]["credential"]) == (
        "openai",
        {"api_key": "sk-1"},
    )
    assert provider["endpoints"][0]["base_url"] == "https://api.openai.com/v1"
    assert found.document["models"] == [{"model_id": "openai/gpt-4o", "provider": "openai"}]
    assert found.document["routes"] == [
        {
            "name": "gpt",
            "display_name": "gpt",
            "aliases": ["gpt"],
            "targets": [{"model": "openai/gpt-4o"}],
            "policy": {},
        }
    ]
    assert found.notes == []


def test_a_name_that_is_the_models_needs_no_route() -> None:
    found = taken(deployment("openai/gpt-4o", "openai/gpt-4o", api_key="k"))
    assert found.document["routes"] == []


def test_credentials_come_from_the_environment() -> None:
    found = taken(
        deployment("a", "openai/gpt-4o", api_key="os.environ/MINE"),
        deployment("b", "mistral/mistral-small-latest"),
        deployment("c", "groq/llama", api_key="os.environ/NONE"),
        environ={"MINE": "sk-mine", "MISTRAL_API_KEY": "m"},
    )
    given = {p["name"]: p["endpoints"][0].get("credential") for p in found.document["providers"]}
    assert given == {"openai": {"api_key": "sk-mine"}, "mistral": {"api_key": "m"}, "groq": None}
    (note,) = found.notes
    assert note.startswith("model_list[2].api_key: the variable NONE is not set: give it, here or")
    found = taken(
        deployment("a", "openai/gpt-4o", api_key="os.environ/MINE"),
        environment_variables={"MINE": "sk-theirs"},
    )
    assert found.document["providers"][0]["endpoints"][0]["credential"] == {"api_key": "sk-theirs"}


def test_a_group_of_several_deployments_is_a_route_with_targets() -> None:
    found = taken(
        deployment("gpt", "openai/gpt-4o", api_key="one", weight=2),
        deployment("gpt", "openai/gpt-4o", api_key="two", order=1),
        deployment("gpt", "openai/gpt-4o-mini", api_key="one"),
    )
    (provider,) = found.document["providers"]
    assert [e["name"] for e in provider["endpoints"]] == ["primary", "standby-1"]
    route = routes(found)["gpt"]
    assert route["targets"] == [
        {"model": "openai/gpt-4o", "endpoint": "primary", "weight": 2},
        {"model": "openai/gpt-4o", "endpoint": "standby-1", "priority": 1},
        {"model": "openai/gpt-4o-mini", "endpoint": "primary"},
    ]
    assert route["policy"] == {"strategy": "weighted"}


def test_other_servers_that_speak_openais_language_are_providers_of_their_own() -> None:
    found = taken(
        deployment("a", "openai/x", api_base="http://gpu-1:8000/v1", api_key="k"),
        deployment("b", "openai/y", api_base="http://gpu-2:8000/v1/", api_key="k"),
        deployment("c", "openai/z", api_base="https://api.openai.com/v1/", api_key="k"),
        deployment("d", "hosted_vllm/q", api_base="http://gpu-3/v1"),
    )
    assert [
        (p["name"], p["adapter_class"] == GENERIC_ADAPTER) for p in found.document["providers"]
    ] == [
        ("gpu-1-8000", True),
        ("gpu-2-8000", True),
        ("openai", False),
        ("vllm", True),
    ]
    assert [m["model_id"] for m in found.document["models"]] == [
        "gpu-1-8000/x",
        "gpu-2-8000/y",
        "openai/z",
        "vllm/q",
    ]


def test_names_keep_their_slashes_and_bare_ones_are_looked_up() -> None:
    found = taken(
        deployment("a", "openrouter/meta/llama:free", api_key="k"),
        deployment("b", "gpt-4o", api_key="k"),
        deployment("c", "nobody-knows", api_key="k"),
        deployment("d", "x", custom_llm_provider="openai", api_key="k"),
    )
    assert [m["model_id"] for m in found.document["models"]] == [
        "openrouter/meta/llama:free",
        "openai/gpt-4o",
        "openai/x",
    ]
    assert found.notes == [
        "model_list[2]: 'nobody-knows' names no provider: write 'provider/nobody-knows'; left out."
    ]


def test_fallbacks_and_retries_are_policies() -> None:
    found = taken(
        deployment("small", "openai/gpt-4o-mini", api_key="k"),
        deployment("big", "openai/gpt-4o", api_key="k"),
        deployment("far", "mistral/mistral-large-latest", api_key="k"),
        router_settings={
            "fallbacks": [{"small": ["big", "nine"]}, {"ten": ["big"]}],
            "context_window_fallbacks": [{"small": ["big"]}],
            "content_policy_fallbacks": [{"big": ["far"]}],
            "default_fallbacks": ["far"],
            "num_retries": 2,
            "model_group_alias": {"mini": "small", "maxi": {"model": "big", "hidden": True}},
            "allowed_fails": 3,
        },
    )
    made = routes(found)
    assert made["small"]["policy"] == {
        "fallbacks": ["big"],
        "on_overflow": ["big"],
        "max_attempts": 3,
    }
    assert made["big"]["policy"] == {
        "on_refusal": ["far"],
        "fallbacks": ["far"],
        "max_attempts": 3,
    }
    assert made["far"]["policy"] == {"max_attempts": 3}
    assert made["small"]["aliases"] == ["small", "mini"]
    assert made["big"]["aliases"] == ["big", "maxi"]
    assert found.notes == [
        "router_settings.allowed_fails: not taken over.",
        "fallbacks[0].small: 'nine' is none of the models that were taken over; left out.",
        "fallbacks[1].ten: there is no 'ten'; left out.",
    ]


def test_fallbacks_that_can_never_answer_are_left_out() -> None:
    found = taken(
        deployment("chat", "openai/gpt-4o", api_key="k"),
        deployment("vectors", "openai/small", api_key="k") | {"model_info": {"mode": "embedding"}},
        router_settings={"fallbacks": [{"chat": ["chat"]}], "default_fallbacks": ["chat"]},
    )
    assert [route["policy"] for route in found.document["routes"]] == [{}, {}]
    assert found.notes == [
        "fallbacks[0].chat: 'chat' is the model itself; left out.",
        "default_fallbacks: 'chat' answers other requests than 'vectors'; left out.",
    ]


@pytest.mark.parametrize(
    "theirs, ours", [("latency-based-routing", "latency"), ("simple-shuffle", "weighted")]
)
def test_a_strategy_that_we_have_is_taken_over(theirs: str, ours: str) -> None:
    found = taken(
        deployment("a", "openai/x", api_key="k"),
        deployment("a", "openai/y", api_key="k"),
        router_settings={"routing_strategy": theirs},
    )
    assert routes(found)["a"]["policy"] == {"strategy": ours}


def test_what_has_no_counterpart_is_told_without_its_content() -> None:
    item = deployment(
        *("a", "openai/x"), api_key="k", rpm=6, tpm=7, temperature=0.1, organization="secret-org"
    )
    item["model_info"] = {"mode": "embedding", "max_input_tokens": 99, "input_cost_per_token": 1}
    found = taken(
        item,
        deployment("a", "openai/x", api_key="k"),
        deployment("b", "bedrock/claude", api_base="https://aws"),
        deployment("c", "openai/*", api_key="k"),
        {"model_name": "d"},
        router_settings={"routing_strategy": "cost-based-routing"},
        litellm_settings={"drop_params": True},
        general_settings={"master_key": "sk-master"},
    )
    assert found.document["models"] == [
        {
            "model_id": "openai/x",
            "provider": "openai",
            "kind": "embeddings",
            "context_length": 99,
        }
    ]
    assert found.notes == [
        "model_list[0]: prices are not taken over: set them in the catalog.",
        "model_list[0]: rpm, tpm: limits of deployments are not taken over.",
        "model_list[0]: not taken over: organization, temperature.",
        (
            "model_list[2]: 'bedrock/claude': there is no provider 'bedrock'; left out. If its "
            "server speaks OpenAI's language, write 'openai/<model>' with its api_base."
        ),
        (
            "model_list[3]: 'openai/*' means all models of openai: "
            "`xrouter models sync --provider openai --live` lists them."
        ),
        "model_list[4]: has no litellm_params.model; left out.",
        "general_settings: not taken over.",
        "litellm_settings.drop_params: not taken over.",
        "routing_strategy 'cost-based-routing' has no counterpart: targets are tried in order.",
    ]
    assert "secret-org" not in json.dumps(found.notes)
    assert "sk-master" not in json.dumps([found.notes, found.document])


def test_names_that_are_none_here_get_others() -> None:
    found = taken(
        deployment("My Model", "openai/x", api_key="k"),
        deployment("my-model", "openai/y", api_key="k"),
        deployment("openai/x", "openai/x", api_key="k"),
        deployment("openai/x", "openai/y", api_key="k"),
    )
    made = routes(found)
    assert {name: route["aliases"] for name, route in made.items()} == {
        "my-model": [],
        "my-model-2": ["my-model"],
        "openai-x": [],
    }
    assert len(found.notes) == 2


@pytest.mark.parametrize("config", [None, [], {}, {"model_list": {}}])
def test_something_else_is_refused(config: Any) -> None:
    with pytest.raises(InvalidRequest):
        translate(config, {}, factory.providers(), STRATEGIES)
