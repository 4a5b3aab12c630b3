"""The running product against its own OpenAPI document: no 5xx, no other shape."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from schemathesis import Case as AnyCase
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.parameters import ParameterLocation
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation, BaseSchema
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tests.clients.served import Answer, Product, ask
from tests.edge.odd_chats import MODELS, odd_chats, odd_embeddings

CALL_S = 30.0
LISTEN_S = 3.0
"""Seconds of a stream that has no end: its head and its first words come at once."""

ENDLESS = "/control/v1/health/events"

pytestmark = pytest.mark.timeout(300)

lenient = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
strict = [*lenient, negative_data_rejection]

Operation = APIOperation[Any, Any, Any, Any]
Case = AnyCase[Any]
Subtests = Any
Send = Callable[[Case, str | None], None]


@pytest.fixture(scope="module")
def product() -> Iterator[Product]:
    """One of our own: what is fuzzed is changed."""
    running = Product(XROUTER_ACCESS_LOG="false")
    try:
        running.start()
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def key(product: Product) -> str:
    return str(product.new_key("fuzz")["key"])


@pytest.fixture(scope="module")
def document(product: Product) -> BaseSchema:
    return schemathesis.openapi.from_url(f"{product.url}/openapi.json")


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    """One connection, no proxies of this machine."""
    with requests.Session() as made:
        made.trust_env = False
        yield made


def operations(document: BaseSchema, prefix: str) -> list[Operation]:
    found = list(document.get_all_operations())
    sound = [result.ok() for result in found if isinstance(result, Ok)]
    assert len(sound) == len(found)
    return [one for one in sound if one.path.startswith(prefix)]


def cases(operation: Operation) -> SearchStrategy[Case]:
    """What fits the document and what does not."""
    modes = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    return st.one_of([operation.as_strategy(generation_mode=mode) for mode in modes])


def bounded(examples: int) -> settings:
    """The same cases in every run."""
    return settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )


def bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


def with_each(subtests: Subtests, found: list[Operation], examples: int, send: Send) -> None:
    """Send so many cases of each operation, and with some the id of a model that exists.

    Each operation is a result of its own.
    """
    assert found
    for operation in found:

        @bounded(examples)
        @given(case=cases(operation), model=st.none() | st.sampled_from(MODELS))
        def fuzz(case: Case, model: str | None) -> None:
            send(case, model)

        with subtests.test(operation.label):
            fuzz()


def test_the_door(
    subtests: Subtests, document: BaseSchema, key: str, session: requests.Session
) -> None:
    def send(case: Case, model: str | None) -> None:
        if model and isinstance(case.body, dict) and isinstance(case.body.get("model"), str):
            case.body["model"] = model
        case.call_and_validate(session=session, headers=bearer(key), checks=lenient, timeout=CALL_S)

    with_each(subtests, operations(document, "/v1/"), 40, send)


REFUSED = (400, 404, 413)


def test_strange_chats(product: Product, key: str) -> None:
    """Each is answered whole or refused with a reason; no provider's translator breaks."""
    outcomes: Counter[tuple[str, int]] = Counter()

    @bounded(400)
    @given(body=odd_chats)
    def fuzz(body: dict[str, Any]) -> None:
        answer = post(product, key, "/v1/chat/completions", body)
        outcomes[body["model"], answer.status] += 1
        if answer.status != 200:
            check_refusal(answer)
        elif body["stream"]:
            assert answer.body.endswith(b"data: [DONE]\n\n")
            assert b'"error":' not in answer.body
        else:
            assert answer.json()["object"] == "chat.completion"

    fuzz()
    answered = sum(count for (_, status), count in outcomes.items() if status == 200)
    assert answered > 40, f"hardly anything was answered: {outcomes}"


def test_strange_embeddings(product: Product, key: str) -> None:
    outcomes: Counter[int] = Counter()

    @bounded(100)
    @given(body=odd_embeddings)
    def fuzz(body: dict[str, Any]) -> None:
        answer = post(product, key, "/v1/embeddings", body)
        outcomes[answer.status] += 1
        if answer.status != 200:
            check_refusal(answer)
        else:
            count = 1 if isinstance(body["input"], str) else len(body["input"])
            assert [one["index"] for one in answer.json()["data"]] == list(range(count))

    fuzz()
    assert outcomes[200] > 30


def post(product: Product, key: str, path: str, body: dict[str, Any]) -> Answer:
    return ask(product.url + path, "POST", json.dumps(body).encode(), bearer(key))


def check_refusal(answer: Answer) -> None:
    assert answer.status in REFUSED, answer.body
    error = answer.json()["error"]
    assert {"message", "type", "param", "code"} <= error.keys()
    assert error["message"]


FOR_EVERYBODY = ("/control/v1/auth/providers",)
"""What the page for signing in must know."""


def test_a_stranger_gets_nothing(
    subtests: Subtests, document: BaseSchema, session: requests.Session
) -> None:
    def send(case: Case, _model: str | None) -> None:
        reply = case.call(session=session, headers=bearer("sk-xr-nobody"), timeout=CALL_S)
        case.validate_response(reply, checks=lenient)
        if case.operation.path in FOR_EVERYBODY and reply.status_code == 200:
            return
        assert reply.status_code in (400, 401), reply.text
        error: dict[str, Any] = reply.json()["error"]
        assert {"message", "type", "param", "code"} <= error.keys()

    with_each(subtests, operations(document, "/"), 6, send)


def test_the_control_api(
    subtests: Subtests, document: BaseSchema, product: Product, session: requests.Session
) -> None:
    admin = bearer(product.admin_token)

    def send(case: Case, model: str | None) -> None:
        if model:
            steer(case, model)
        checks = lenient if mended(case, steered=model is not None) else strict
        patience = LISTEN_S if case.path == ENDLESS else CALL_S
        case.call_and_validate(session=session, headers=admin, checks=checks, timeout=patience)

    with_each(subtests, operations(document, "/control/"), 20, send)
    assert ask(f"{product.url}/health/ready").status == 200


def mended(case: Case, *, steered: bool) -> bool:
    """Whether we have repaired what was spoilt: the token is always sent, known names put in."""
    ours = {ParameterLocation.HEADER}
    if steered:
        ours |= {ParameterLocation.PATH, ParameterLocation.BODY}
    parts = case.meta.components if case.meta is not None else {}
    return any(
        info.mode is GenerationMode.NEGATIVE for place, info in parts.items() if place in ours
    )


def steer(case: Case, model: str) -> None:
    """Lead a case to something that exists, or may exist afterwards."""
    known = {"provider": model.partition("/")[0], "endpoint": "primary", "model_id": model}
    for name in case.path_parameters or {}:
        if name in known:
            case.path_parameters[name] = known[name]
    if isinstance(case.body, dict) and isinstance(case.body.get("base_url"), str):
        case.body["base_url"] = "http://127.0.0.1:1/v1"
        case.body["adapter_class"] = "xrouter.providers.openai.GenericOpenAIAdapter"


def test_times_are_documented_as_they_are_taken(document: BaseSchema, product: Product) -> None:
    """Unix seconds are taken beside ISO 8601, so the schema must not forbid numbers."""
    assert product.control("/usage?since=1700000000").status == 200
    raw = document.raw_schema["paths"]["/control/v1/usage"]["get"]["parameters"]
    [since] = [parameter for parameter in raw if parameter["name"] == "since"]
    kinds = {kind.get("type") for kind in since["schema"]["anyOf"]}
    assert kinds & {"integer", "number"}, since


def test_every_operation_says_what_it_needs(document: BaseSchema) -> None:
    """A summary, a credential, and the error's shape."""
    for operation in operations(document, "/"):
        raw = operation.definition.raw
        assert raw["summary"], operation.label
        assert raw.get("security"), f"{operation.label} does not say that it needs a credential"
        schemas = [json.dumps(reply) for reply in raw["responses"].values()]
        assert any("ErrorBody" in schema for schema in schemas), operation.label
