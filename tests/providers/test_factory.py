"""The registry of adapters, rows, detection and registration from the environment."""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from xrouter.domain.catalog import Endpoint
from xrouter.domain.errors import (
    InvalidRequest,
    UpstreamMalformed,
    UpstreamUnreachable,
    XRouterError,
)
from xrouter.domain.secret import Secret
from xrouter.providers import factory
from xrouter.providers.base import (
    BaseAPIAdapter,
    EnvironmentSpec,
    from_environment,
)
from xrouter.providers.rows import RowError, read_rows, rows
from xrouter.providers.shapes.openai import OpenAILanguageAdapter
from xrouter.wire.types import WireReply, WireRequest

GENERIC = "xrouter.providers.openai.GenericOpenAIAdapter"
LLAMACPP = "xrouter.providers.llamacpp.adapter.LlamaCppAdapter"


class Newcomer(OpenAILanguageAdapter):
    """An adapter of another package."""

    provider = "newcomer"


class NoAdapter:
    """Something else that a package offers by mistake."""


@pytest.fixture
def fresh() -> Iterator[None]:
    """Registries as in a new process, before and after."""
    for registry in (factory.adapter_classes, factory.providers):
        registry.cache_clear()
    yield
    for registry in (factory.adapter_classes, factory.providers):
        registry.cache_clear()


def endpoint_of(adapter_class: str, **more: Any) -> Endpoint:
    fields: dict[str, Any] = {
        "id": 1,
        "provider": "p",
        "name": "primary",
        "base_url": "http://h/v1",
    } | more
    return Endpoint(adapter_class=adapter_class, **fields)


def test_every_adapter_has_one_path_and_it_leads_there() -> None:
    classes = factory.adapter_classes()
    assert GENERIC in classes
    assert LLAMACPP in classes
    assert len(set(classes.values())) == len(classes)
    for dotted, cls in classes.items():
        assert factory.resolve(dotted) is cls
        assert issubclass(cls, BaseAPIAdapter)
        assert not dotted.startswith("xrouter.providers.shapes")


@pytest.mark.parametrize(
    "dotted", ["", "os.system", "xrouter.providers.base.BaseAPIAdapter", GENERIC + "x"]
)
def test_nothing_else_is_resolved(dotted: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        factory.resolve(dotted)
    assert raised.value.param == "adapter_class"


def offer(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    point = EntryPoint("newcomer", f"{__name__}:{name}", factory.GROUP)

    def entry_points(*, group: str) -> list[EntryPoint]:
        return [point] if group == factory.GROUP else []

    def load(_: EntryPoint) -> Any:
        return globals()[name]

    monkeypatch.setattr(factory, "entry_points", entry_points)
    monkeypatch.setattr(EntryPoint, "load", load)


@pytest.mark.usefixtures("fresh")
def test_packages_bring_adapters(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, "Newcomer")
    path = f"{Newcomer.__module__}.Newcomer"
    assert factory.resolve(path) is Newcomer
    assert factory.providers()["newcomer"].adapter_class == path


@pytest.mark.usefixtures("fresh")
def test_a_package_that_brings_something_else_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, "NoAdapter")
    with pytest.raises(TypeError, match="newcomer"):
        factory.adapter_classes()


def test_an_endpoint_gets_its_adapter() -> None:
    adapter = factory.build(endpoint_of(LLAMACPP, options={"strict_roles": "true"}))
    assert type(adapter) is factory.resolve(LLAMACPP)
    assert adapter.endpoint.options == {"strict_roles": "true"}


def test_an_unsound_endpoint_is_refused() -> None:
    with pytest.raises(InvalidRequest) as raised:
        factory.build(endpoint_of(GENERIC, options={"x": "y"}))
    assert raised.value.param == "options.x"


def test_a_row_gives_options_that_an_endpoint_may_change() -> None:
    row = next(row for row in rows().values() if row.options)
    name = next(iter(row.options))
    plain = endpoint_of(row.adapter_class, provider=row.provider)
    assert factory.build(plain).endpoint.options == row.options
    changed = endpoint_of(row.adapter_class, provider=row.provider, options={name: ""})
    assert factory.build(changed).endpoint.options == row.options | {name: ""}
    assert factory.build(endpoint_of(row.adapter_class)).endpoint.options == {}


def test_known_providers() -> None:
    known = factory.providers()
    assert set(rows()) < set(known)
    for name, provider in known.items():
        assert name == provider.name
        assert provider.display_name
        assert provider.adapter_class in factory.adapter_classes()
        assert re.fullmatch(r"(?:https?://[^/]+.*[^/])?", provider.default_base_url)
        assert provider.environment is not None
        names = [model.name for model in provider.supported_models]
        assert len(set(names)) == len(names)


ROW = """
provider = "x"
display_name = "X"
base_url = "https://x.test/v1"
adapter_class = "xrouter.providers.openai.GenericOpenAIAdapter"
"""
WHOLE = (
    ROW
    + """
[options]
limit_field = "max_tokens"
[environment]
required = [["X_API_KEY"]]
credential = { api_key = "X_API_KEY" }
[detect]
path = "/"
contains = "I am X"
[[models]]
name = "x-1"
context_length = 10
"""
)


def read(folder: Path, text: str, name: str = "x") -> dict[str, Any]:
    (folder / f"{name}.toml").write_text(text)
    return dict(read_rows(folder))


def test_a_row(tmp_path: Path) -> None:
    provider = factory.of_row(read(tmp_path, WHOLE)["x"])
    assert provider.name == "x"
    assert provider.options == {"limit_field": "max_tokens"}
    model = provider.supported_models[0]
    assert (model.name, model.display_name, model.kind) == ("x-1", "x-1", "chat")
    assert model.versions[0].upstream == "x-1"


@pytest.mark.parametrize(
    "text, told",
    [
        (ROW + 'colour = "red"', "colour"),
        (ROW + "[environment]\nrequired = []\nurl = 'X'", "url"),
        (ROW + "[detect]\npath = '/'", "contains"),
        (ROW + "[[models]]\nname = 'm'\nprice = 1", "price"),
        (ROW + "[options]\nlimit_field = 1", "options"),
        (ROW.replace('display_name = "X"', ""), "display_name"),
        (ROW.replace('"x"', '"y"'), "provider"),
        (ROW.replace("https://", "ftp://"), "base_url"),
        (ROW + "]", "line"),
    ],
)
def test_a_wrong_row_is_told_with_file_and_key(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(RowError, match=rf"^x\.toml: .*{told}"):
        read(tmp_path, text)


@pytest.mark.parametrize(
    "text, told",
    [
        (ROW.replace("GenericOpenAI", "Unheard"), "adapter_class"),
        (ROW + "[options]\nlimit_field = 'x'", "options.limit_field"),
        (ROW + "[options]\nlimit = 'x'", "options.limit"),
    ],
)
def test_a_row_that_its_adapter_refuses(tmp_path: Path, text: str, told: str) -> None:
    row = read(tmp_path, text)["x"]
    with pytest.raises(RowError, match=rf"^x\.toml: {told}: "):
        factory.of_row(row)


# --- detection


Answers = dict[str, WireReply | XRouterError]


def ask(address: str, answers: Answers) -> tuple[factory.Identified, list[str]]:
    """Play the part of the wire; also the URLs that were asked."""
    asked: list[str] = []
    questions = factory.identify(address)
    try:
        request = next(questions)
        while True:
            assert isinstance(request, WireRequest)
            assert "authorization" not in request.headers
            asked.append(request.url)
            request = questions.send(answers.get(request.url, reply({}, 404)))
    except StopIteration as stop:
        return stop.value, asked


def reply(body: Any, status: int = 200, **headers: str) -> WireReply:
    return WireReply(status, headers, json.dumps(body, separators=(",", ":")).encode())


LIST = {"object": "list", "data": []}


@pytest.mark.parametrize(
    "address, answers, name, base_url",
    [
        ("http://h:8080", {"/props": reply({}, 503, server="llama.cpp")}, "llamacpp", ""),
        ("http://h:8080/v1/", {"/props": reply({"total_slots": 1})}, "llamacpp", "/v1"),
        ("http://h:1", {"/": WireReply(200, {}, b"Ollama is running")}, "ollama", "/v1"),
        ("http://h:1/v1", {"/": WireReply(200, {}, b"Ollama is running")}, "ollama", "/v1"),
        (
            "http://h:1",
            {"/v1/models": reply({"data": [{"id": "m", "owned_by": "vllm"}]})},
            "vllm",
            "/v1",
        ),
        ("http://h:1", {"/v1/models": reply(LIST)}, "openai-compatible", "/v1"),
        ("http://h:1", {"/models": reply(LIST)}, "openai-compatible", ""),
        ("http://h:1/api", {"/api/models": reply(LIST)}, "openai-compatible", "/api"),
        (
            "http://h:1/v1",
            {"/v1/models": reply({"error": {"message": "key"}}, 401)},
            "openai-compatible",
            "/v1",
        ),
    ],
)
def test_detection(address: str, answers: dict[str, WireReply], name: str, base_url: str) -> None:
    root = re.match(r"http://[^/]+", address)
    assert root is not None
    found, asked = ask(address, {root[0] + path: told for path, told in answers.items()})
    assert found.provider.name == name
    assert found.base_url == root[0] + base_url
    assert len(set(asked)) == len(asked)


def test_a_provider_at_home_needs_no_asking() -> None:
    homes = [p for p in factory.providers().values() if p.default_base_url.startswith("https://")]
    assert homes
    for provider in homes:
        found, asked = ask(provider.default_base_url, {})
        assert found.provider is provider
        assert asked == []


def test_nobody_known_is_told() -> None:
    with pytest.raises(InvalidRequest) as raised:
        ask("http://h:1", {"http://h:1/v1/models": UpstreamMalformed("x")})
    assert raised.value.param == "base_url"
    with pytest.raises(InvalidRequest):
        ask("h:1", {})


def test_an_address_without_an_answer_is_not_asked_on() -> None:
    with pytest.raises(UpstreamUnreachable):
        ask("http://h:1", {"http://h:1/props": UpstreamUnreachable("refused")})


def test_detect_returns_the_path() -> None:
    questions: Generator[WireRequest, WireReply | XRouterError, str] = factory.detect("http://h:1")
    next(questions)
    with pytest.raises(StopIteration) as stop:
        questions.send(reply({}, server="llama.cpp"))
    assert stop.value.value == LLAMACPP


# --- environment


SPEC = EnvironmentSpec(
    required=(("X_KEY", "X_TOKEN"), ("X_FOLDER",)),
    credential={"api_key": "X_KEY", "token": "X_TOKEN"},
    credential_files={"account": "X_FILE"},
    options={"folder": "X_FOLDER", "scope": "X_SCOPE"},
    base_url="X_URL",
    ca_bundle="X_CA",
)


@pytest.mark.parametrize(
    "environ", [{}, {"X_KEY": "k"}, {"X_FOLDER": "f"}, {"X_KEY": " ", "X_FOLDER": "f"}]
)
def test_an_environment_that_is_not_enough(environ: dict[str, str]) -> None:
    assert from_environment(SPEC, environ) is None


def test_an_endpoint_from_the_environment() -> None:
    environ = {"X_TOKEN": " t ", "X_FOLDER": "f", "X_FILE": "/k.json", "X_CA": "", "Y": "z"}
    fields = from_environment(SPEC, environ)
    assert fields is not None
    assert fields.credential == {"token": Secret("t")}
    assert fields.credential_files == {"account": "/k.json"}
    assert fields.options == {"folder": "f"}
    assert fields.base_url is None
    assert fields.ca_bundle is None


def test_variables_are_named_once_and_after_their_provider() -> None:
    seen: dict[str, str] = {}
    for provider in factory.providers().values():
        spec = provider.environment
        assert spec is not None
        names = [
            *spec.credential.values(),
            *spec.credential_files.values(),
            *spec.options.values(),
            *(n for n in (spec.base_url, spec.ca_bundle, spec.client_cert, spec.client_key) if n),
        ]
        for group in spec.required:
            assert set(group) <= set(names)
        for name in names:
            assert re.fullmatch(r"[A-Z][A-Z0-9_]+", name)
            assert seen.setdefault(name, provider.name) == provider.name


class _Silent(BaseAPIAdapter):
    """The defaults of the hooks."""

    provider = "silent"

    @override
    @classmethod
    def supported_models(cls) -> list[Any]:
        return []


def test_an_adapter_may_not_be_recognisable() -> None:
    assert _Silent.detect_probe("http://h") is None
    assert not _Silent.recognises(reply({}))
    assert _Silent.environment is None
