"""LiteLLM's file as people have it: YAML, and variables of an environment that is not ours."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.control.registry.conftest import RegistryApi

from xrouter.control.registry import litellm_file
from xrouter.control.registry.litellm import translate
from xrouter.control.registry.litellm_variables import complete
from xrouter.domain.errors import InvalidRequest, PayloadTooLarge
from xrouter.providers import factory

CONFIG = """\
# the proxy of our team
model_list:
  - model_name: gpt-4o
    litellm_params:
      model: openai/gpt-4o
      api_key: "os.environ/OPENAI_API_KEY"
      rpm: 480          # requests a minute
      timeout: 300
    model_info:
      mode: chat
      max_input_tokens: 128000
  - model_name: gpt-4o
    litellm_params:
      model: os.environ/SECOND_MODEL
      api_base: os.environ/SECOND_BASE
      api_key: 12345
      weight: 2
  - model_name: local
    litellm_params:
      model: openai/qwen3
      api_base: http://10.0.0.5:8000/v1
      api_key: none

litellm_settings:
  drop_params: true
  num_retries: 2
  context_window_fallbacks: [{"local": ["gpt-4o"]}]

router_settings:
  routing_strategy: simple-shuffle
  model_group_alias: {"gpt-4": "gpt-4o"}
  fallbacks:
    - local: [gpt-4o]

general_settings:
  master_key: sk-master-1234
  database_url: "postgresql://user:password@host/db"

environment_variables:
  SECOND_BASE: https://second.test/v1
  SECOND_MODEL: os.environ/ELSEWHERE
"""
ENVIRON = {"OPENAI_API_KEY": "sk-own", "ELSEWHERE": "openai/gpt-4o-mini"}


def test_a_configuration_as_people_have_it() -> None:
    config = litellm_file.read(CONFIG.encode())
    found = translate(config, ENVIRON, factory.providers(), ["weighted"])
    providers = {p["name"]: p["endpoints"][0] for p in found.document["providers"]}
    assert {name: (p["base_url"], p.get("credential")) for name, p in providers.items()} == {
        "openai": ("https://api.openai.com/v1", {"api_key": "sk-own"}),
        "second.test": ("https://second.test/v1", {"api_key": "12345"}),
        "10.0.0.5-8000": ("http://10.0.0.5:8000/v1", {"api_key": "none"}),
    }
    assert [model["model_id"] for model in found.document["models"]] == [
        "openai/gpt-4o",
        "second.test/gpt-4o-mini",
        "10.0.0.5-8000/qwen3",
    ]
    main, local = found.document["routes"]
    assert main["aliases"] == ["gpt-4o", "gpt-4"]
    assert main["targets"][1] == {"model": "second.test/gpt-4o-mini", "weight": 2}
    assert main["policy"] == {"max_attempts": 3, "strategy": "weighted"}
    assert local["policy"]["fallbacks"] == local["policy"]["on_overflow"] == ["gpt-4o"]
    said = "\n".join(found.notes)
    for left in ("general_settings", "litellm_settings.drop_params", "timeout", "rpm"):
        assert left in said
    for secret in ("sk-own", "sk-master", "password", "12345"):
        assert secret not in said


async def test_the_api_does_not_read_the_servers_environment(
    api: RegistryApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    config = CONFIG.replace("openai/gpt-4o\n", "homely/one\n      api_base: https://own.test\n")
    config = config.replace("SECOND_MODEL: os.environ/ELSEWHERE", "SECOND_MODEL: homely/two")
    yaml: Any = {"content": config.encode(), "headers": {"content-type": "application/yaml"}}
    told = await api.ask("POST", "/registry/litellm?dry_run=true", **yaml)
    assert told["dry_run"]
    assert (await api.export())["providers"] == []
    done = await api.ask("POST", "/registry/litellm", **yaml)
    assert "homely" in {each["object"] for each in done["changed"]}
    assert done["changed"] == told["changed"]
    assert "sk-own" not in json.dumps(done) + json.dumps(await api.export("sealed"))
    assert any("OPENAI_API_KEY is not set" in warning for warning in done["warnings"])


async def test_the_api_takes_variables_that_the_file_has(api: RegistryApi) -> None:
    config: Any = {
        "model_list": [
            {
                "model_name": "main",
                "litellm_params": {
                    "model": "homely/one",
                    "api_base": "os.environ/BASE",
                    "api_key": "os.environ/KEY",
                },
            }
        ],
        "environment_variables": {"KEY": "sk-mine", "BASE": "https://mine.test/v1"},
    }
    done = await api.ask("POST", "/registry/litellm", json=config)
    assert done["warnings"] == []
    (provider,) = (await api.ask("GET", "/providers"))["data"]
    assert provider["endpoints"][0]["credential_fields"] == ["api_key"]
    assert provider["endpoints"][0]["base_url"] == "https://mine.test/v1"
    page = await api.ask("GET", "/changes?kind=route")
    assert [(row["author"], row["action"]) for row in page["data"]] == [("admin", "import")]


@pytest.mark.parametrize(
    "text,said",
    [
        ("model_list: &a [1]\nother: *a", "line 2, column 8"),
        ("a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]", "line 2"),
        ("[" * 100_000, "32 levels"),
        ("a: sk-secret: c", "line 1, column 13"),
        ("api_key: !sk-secret", "unknown kind, line 1"),
        ("a: !!python/object/apply:os.system [sk-secret]", "unknown kind"),
        ("a: !!timestamp sk-secret", "none"),
        ("a: .inf", "none"),
        ("a: \x00", "none"),
        ("{", "line 1"),
        ('{"a": 1e999}', "none"),
        ('{"a": ' + "[" * 100_000, "none"),
        ("--- a\n--- b", "another document"),
    ],
)
def test_what_cannot_be_read_is_refused_without_its_content(text: str, said: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        litellm_file.read(text.encode())
    assert said in caught.value.message
    assert "secret" not in caught.value.message


def test_bounds_of_the_file() -> None:
    with pytest.raises(PayloadTooLarge):
        litellm_file.read(b" " * (litellm_file.MAX_BYTES + 1))
    with pytest.raises(InvalidRequest, match="UTF-8"):
        litellm_file.read(b"\xff\xfe")
    assert litellm_file.read(b"\xef\xbb\xbfa: 2024-01-01") == {"a": "2024-01-01"}
    assert litellm_file.read(b"1: yes\nnull: x") == {"1": True, "null": "x"}


@pytest.mark.parametrize(
    "params,info,place",
    [
        ({"order": 10**12}, {}, "routes[0].targets[0].priority"),
        ({}, {"max_input_tokens": 10**12}, "models[0].context_length"),
        ({"api_base": "ftp://x.test"}, {}, "providers[0].endpoints[0].base_url"),
    ],
)
async def test_values_that_are_none_here_are_refused_with_their_place(
    api: RegistryApi, params: Any, info: Any, place: str
) -> None:
    params = {"model": "homely/one", **params}
    config = {"model_list": [{"model_name": "x", "litellm_params": params, "model_info": info}]}
    error = await api.error("POST", "/registry/litellm", json=config, status=400)
    assert error["param"] == place


def test_parts_that_are_something_else_are_no_defect() -> None:
    odd = [1, "x", {}, {"litellm_params": []}, {"litellm_params": {"model": 5}}]
    odd += [
        {"litellm_params": {"model": "openai/a", "api_base": base}}
        for base in ("nothing", "http://x:99999", "http://[x")
    ]
    good = {"model": "openai/a", "api_key": ["k"], "weight": "much", "order": None}
    odd.append({"litellm_params": good, "model_info": [1]})
    odd.append({"litellm_params": {**good, "api_key": None}, "model_info": {"mode": ["chat"]}})
    for section in (None, [1], {"fallbacks": 5, "model_group_alias": [1], "num_retries": "x"}):
        config = {"model_list": odd, "router_settings": section, "environment_variables": section}
        found = translate(config, {}, factory.providers(), [])
        assert [model["model_id"] for model in found.document["models"]] == ["openai/a"]
        assert sum("needs the address" in note for note in found.notes) == 3
        assert any("api_key: is no text" in note for note in found.notes)


BESIDE = """\
model_list:
  - {model_name: plain, litellm_params: {model: homely/one}}
  - {model_name: same, litellm_params: {model: homely/one, api_key: sk-mine}}
  - {model_name: other, litellm_params: {model: homely/two, api_key: sk-theirs}}
  - model_name: far
    litellm_params: {model: homely/three, api_base: "https://far.test/v1", api_key: sk-far}
  - {model_name: near, litellm_params: {model: homely/four, api_base: "https://mine.test/v1/"}}
"""


async def test_what_is_there_already_stays_and_that_is_told(api: RegistryApi) -> None:
    mine = {"base_url": "https://mine.test/v1", "credential": {"api_key": "sk-mine"}}
    await api.ask("POST", "/providers", json={"name": "homely", **mine}, status=201)
    (before,) = (await api.export("sealed"))["providers"]
    yaml: Any = {"content": BESIDE.encode(), "headers": {"content-type": "application/yaml"}}
    done = await api.ask("POST", "/registry/litellm", **yaml)
    after = {each["name"]: each for each in (await api.export("sealed"))["providers"]}
    assert set(after) == {"homely", "homely-2"}
    primary, standby = after["homely"]["endpoints"]
    assert [primary] == before["endpoints"]
    shown = (standby["name"], standby["base_url"], standby["priority"], standby["is_enabled"])
    assert shown == ("standby-1", "https://mine.test/v1", 1, True)
    assert after["homely-2"]["endpoints"][0]["base_url"] == "https://far.test/v1"
    routes = {each["name"]: each["targets"] for each in (await api.export())["routes"]}
    ways = {name: (one["model"], one["endpoint"]) for name, (one,) in routes.items()}
    assert ways == {
        "plain": ("homely/one", None),
        "same": ("homely/one", "primary"),
        "other": ("homely/two", "standby-1"),
        "far": ("homely-2/three", None),
        "near": ("homely/four", "primary"),
    }
    said = "\n".join(done["warnings"])
    for words in (
        "The provider 'homely' is there already: its address https://mine.test/v1 stays, for",
        "The provider 'homely' is there already: its credential stays, for the file names none.",
        "model_list[2]: its credential is not that of 'homely/primary', which stays",
        "it becomes the endpoint 'homely/standby-1'",
        "model_list[3]: https://far.test/v1 is not the address of the provider 'homely', which",
        "it becomes the provider 'homely-2'",
    ):
        assert words in said, said
    assert "sk-" not in said
    assert (await api.ask("POST", "/registry/litellm", **yaml))["changed"] == []


async def test_an_endpoint_that_waits_for_its_credential_gets_it(api: RegistryApi) -> None:
    params = {"model": "homely/one", "api_base": "https://a.test", "api_key": "os.environ/KEY"}
    config: Any = {"model_list": [{"model_name": "main", "litellm_params": params}]}
    await api.ask("POST", "/registry/litellm", json=config)
    (provider,) = (await api.ask("GET", "/providers"))["data"]
    assert provider["endpoints"][0]["is_enabled"] is False
    config["environment_variables"] = {"KEY": "sk-late"}
    await api.ask("POST", "/registry/litellm", json=config)
    (provider,) = (await api.ask("GET", "/providers"))["data"]
    (endpoint,) = provider["endpoints"]
    assert (endpoint["is_enabled"], endpoint["credential_fields"]) == (True, ["api_key"])


def test_variables_that_a_file_needs_go_with_it() -> None:
    config = litellm_file.read(CONFIG.encode())
    whole = complete(config, {**ENVIRON, "UNRELATED": "secret"}, factory.providers())
    assert "UNRELATED" not in whole["environment_variables"]
    known = factory.providers()
    assert translate(whole, {}, known, ["weighted"]) == translate(
        config, ENVIRON, known, ["weighted"]
    )
