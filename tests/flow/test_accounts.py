"""Projects' own accounts: what goes out on them, what comes after, whom their trouble meets."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest
from msgspec import structs
from tests.flow import harness
from tests.flow.harness import PRINCIPAL, Recorder, Rig

from xrouter.control.credentials import own
from xrouter.domain.catalog import Endpoint, Price, Timeouts
from xrouter.domain.errors import (
    ContextLengthExceeded,
    ProjectCredentialRefused,
)
from xrouter.domain.limits import Limit
from xrouter.domain.ports import Deferred
from xrouter.domain.routes import Policy
from xrouter.domain.secret import Secret
from xrouter.edge.dialects.openai.chat import read_chat
from xrouter.providers import factory
from xrouter.providers.openai import GenericOpenAIAdapter
from xrouter.sandbox.application import Sandbox
from xrouter.sandbox.openai import KEY_WITHOUT_QUOTA
from xrouter.wire.types import WireRequest

MODEL = "openai/gpt-4o-mini"
GIGA = "gigachat/GigaChat-2-Max"
MINE = "sk-sandbox-of-the-tenant"
WRONG = "wrong-key-that-nobody-knows"


def owned(
    ours: tuple[Endpoint, ...], *, project: str = "tests", is_only: bool = False, **secrets: str
) -> dict[int, Endpoint]:
    hidden = {name: Secret(text) for name, text in secrets.items()}
    classes = factory.adapter_classes()
    return {
        each.id: own.endpoint(
            each,
            classes.get(each.adapter_class, GenericOpenAIAdapter),
            project,
            hidden,
            is_only=is_only,
        )
        for each in ours
    }


def give(rig: Rig, provider: str, project: str = "tests", **more: Any) -> None:
    """The project has an account of its own at the provider."""
    current = rig.snapshots.current
    accounts = {name: dict(each) for name, each in current.accounts.items()}
    mine = owned(current.endpoints[provider], project=project, **more)
    accounts.setdefault(project, {}).update(mine)
    rig.snapshots.replace(structs.replace(current, accounts=accounts))


def keys(rig: Rig, where: Sandbox | None = None) -> list[str]:
    """The keys that a sandbox has seen with chats, masked."""
    return [each["headers"]["authorization"] for each in rig.asked(where or rig.first)]


def masked(key: str) -> str:
    return f"Bearer {key[:4]}***{key[-4:]}" if len(key) > 16 else "Bearer ***"


OURS = masked("sk-sandbox")


@pytest.mark.parametrize("stream", [False, True])
async def test_the_request_goes_out_on_the_projects_account(rig: Rig, stream: bool) -> None:
    give(rig, "openai", api_key=MINE)
    reply = await rig.chat(MODEL, stream=stream)
    assert reply.text
    assert keys(rig) == [masked(MINE)]
    assert reply.served is not None
    assert (reply.served.endpoint, reply.served.attempts) == ("at-1@own", 1)
    assert reply.served.reason == "priority, own account first"
    assert (rig.event.provider, rig.event.endpoint) == ("openai", "at-1@own")
    assert rig.event.reason == "priority, own account first"


async def test_every_operation_does(rig: Rig) -> None:
    give(rig, "openai", api_key=MINE)
    for reply in (
        await rig.embed("openai/text-embedding-3-small", ["text"]),
        await rig.draw("openai/gpt-4o-mini"),
    ):
        assert reply.served is None or reply.served.endpoint == "at-1@own"
    seen = {each["headers"]["authorization"] for each in rig.first.seen.report()}
    assert seen == {masked(MINE)}


async def test_other_projects_go_on_the_routers_account(rig: Rig) -> None:
    give(rig, "openai", project="another", api_key=MINE)
    reply = await rig.chat(MODEL)
    assert keys(rig) == [OURS]
    assert reply.served is not None
    assert (reply.served.endpoint, reply.served.reason) == ("at-1", "priority")


async def test_where_it_is_refused_the_routers_account_answers(rig: Rig) -> None:
    give(rig, "openai", api_key=WRONG)
    reply = await rig.chat(MODEL)
    assert reply.text
    assert keys(rig) == [masked(WRONG), OURS]
    assert reply.served is not None
    assert (reply.served.endpoint, reply.served.attempts) == ("at-1", 2)
    tried = [(each.endpoint, each.code) for each in rig.event.tried]
    assert tried == [("at-1@own", "project_credential_refused"), ("at-1", None)]
    assert rig.board.calm, "it is nobody else's trouble"
    assert rig.board.troubled == frozenset()

    again = await rig.chat(MODEL)
    assert keys(rig) == [masked(WRONG), OURS, OURS], "it is held back for a while"
    assert again.served is not None
    assert again.served.reason == "priority, openai/at-1@own held back"


async def test_what_is_refused_takes_no_attempt_from_the_request(rig: Rig) -> None:
    rig.use(policy=Policy(max_attempts=1))
    give(rig, "openai", api_key=WRONG)
    assert (await rig.chat(MODEL)).text


@pytest.mark.parametrize(
    "key,what", [(WRONG, "was refused"), (KEY_WITHOUT_QUOTA, "is used up")], ids=["401", "429"]
)
@pytest.mark.parametrize("stream", [False, True])
async def test_where_it_is_the_only_one_the_caller_is_told(
    rig: Rig, key: str, what: str, stream: bool
) -> None:
    give(rig, "openai", api_key=key, is_only=True)
    reply = await rig.chat(MODEL, stream=stream)
    error = reply.error
    assert isinstance(error, ProjectCredentialRefused)
    assert (error.status, error.code) == (424, "project_credential_refused")
    assert error.message == f"The project's own account at the provider 'openai' {what}."
    assert key not in str(error.body())
    assert key[:4] not in str(error.body()["error"]["hint"])
    assert OURS not in keys(rig) + keys(rig, rig.second)
    assert rig.event.error_code == "project_credential_refused"


async def test_another_provider_may_answer_for_the_only_one(rig: Rig) -> None:
    rig.use(policy=Policy(fallbacks=("yandex/yandexgpt",)))
    give(rig, "openai", api_key=WRONG, is_only=True)
    reply = await rig.chat(MODEL)
    assert reply.served is not None
    assert reply.served.provider == "yandex"
    assert OURS not in keys(rig)


async def test_its_limit_is_a_reason_to_ask_on_the_routers_account(rig: Rig) -> None:
    give(rig, "openai", api_key=MINE)
    rig.fault("rate_limited", times=1)
    assert (await rig.chat(MODEL)).text
    assert keys(rig) == [masked(MINE), OURS]


@pytest.mark.parametrize("kind", ["server_error", "reset"])
async def test_the_providers_own_failure_is_none(rig: Rig, kind: str) -> None:
    give(rig, "openai", api_key=MINE)
    rig.fault(kind)
    reply = await rig.chat(MODEL)
    assert reply.served is not None
    assert reply.served.endpoint == "at-2@own"
    assert set(keys(rig)) == {masked(MINE)}
    assert keys(rig, rig.second) == [masked(MINE)]


async def test_nor_is_a_prompt_that_is_too_long(rig: Rig) -> None:
    give(rig, "openai", api_key=MINE)
    reply = await rig.chat(MODEL, max_tokens=200_000)
    assert isinstance(reply.error, ContextLengthExceeded)
    assert OURS not in keys(rig) + keys(rig, rig.second)


def basic(name: str) -> str:
    return base64.b64encode(f"{name}:sandbox".encode()).decode()


async def test_tokens_are_of_the_whole_credential_and_of_the_project(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys that begin alike, and one that is the router's own as well: four accounts' tokens."""
    ours = next(iter(rig.snapshots.current.endpoints["gigachat"][0].credential.values()))
    secrets = {"a": basic("b2b-demo-tenant-1"), "b": basic("b2b-demo-tenant-2")}
    for project, secret in {**secrets, "c": ours.reveal()}.items():
        give(rig, "gigachat", project, credentials=secret, scope="GIGACHAT_API_B2B")
    for project in ("a", "b", "c", "none", "a", "b", "c", "none"):
        who = structs.replace(PRINCIPAL, project=project)
        monkeypatch.setattr(harness, "PRINCIPAL", who)
        assert (await rig.chat(GIGA)).text
    used = keys(rig)
    assert len(set(used[:4])) == 4
    assert used[:4] == used[4:]
    assert len(rig.asked(rig.first, "oauth")) == 4


async def test_a_new_credential_of_an_endpoint_has_a_new_token(rig: Rig) -> None:
    """The same endpoint, and a secret that begins like the one before."""
    for name in ("b2b-demo-1", "b2b-demo-2"):
        rig.use(gigachat={"credential": {"credentials": Secret(basic(name))}})
        assert (await rig.chat(GIGA)).text
    first, second = keys(rig)
    assert first != second


async def test_what_cannot_be_opened_is_refused_before_anybody_is_asked(rig: Rig) -> None:
    give(rig, "gigachat", is_only=True)
    reply = await rig.chat(GIGA)
    assert isinstance(reply.error, ProjectCredentialRefused)
    assert rig.first.seen.report() == []


def priced(rig: Rig, *limits: Limit) -> None:
    """A ruble for each token; nothing is left of a budget."""
    price = Price(currency="RUB", input=10**15, output=10**15)
    current = rig.snapshots.current
    models = {
        name: structs.replace(
            m, versions=tuple(structs.replace(v, price=price) for v in m.versions)
        )
        for name, m in current.models.items()
    }
    given = {limits[0].subject: limits} if limits else {}
    rig.snapshots.replace(structs.replace(current, models=models, limits=given))


async def test_it_costs_nothing_here_and_needs_no_budget(rig: Rig) -> None:
    broke = Limit(subject="project:tests", meter="money", window="total", amount=0)
    priced(rig, broke)
    assert (await rig.chat(MODEL)).error is not None
    give(rig, "openai", api_key=MINE, is_only=True)
    reply = await rig.chat(MODEL)
    assert reply.text
    event = rig.journal.events[-1]
    assert event.tokens_in > 0
    assert event.charge is not None
    assert (event.charge.is_known, event.charge.total, event.charge.cost) == (True, 0, 0)
    give(rig, "openai", api_key=MINE)
    refused = (await rig.chat(MODEL)).error
    assert refused is not None, "the router's account may come to cost something"


async def test_what_the_routers_account_answers_is_paid_for(rig: Rig) -> None:
    priced(rig)
    give(rig, "openai", api_key=WRONG)
    reply = await rig.chat(MODEL)
    assert reply.usage is not None
    charge = rig.event.charge
    assert charge is not None
    assert charge.cost == (reply.usage.prompt_tokens + reply.usage.completion_tokens) * 10**9


YANDEX, FOLDER = "yandex/yandexgpt", "b1gsandbox0000000000"


async def left(rig: Rig) -> Deferred:
    body = {"model": YANDEX, "messages": [{"role": "user", "content": "Hi"}]}
    request = read_chat(msgspec.json.encode(body))
    found = await rig.pipeline.defer(request, harness.KEY, rig.call("chat"))
    assert found is not None
    return found


async def test_what_is_left_for_later_is_left_there(rig: Rig) -> None:
    give(rig, "yandex", api_key="AQVN-sandbox-tenant", folder_id=FOLDER)
    deferred = await left(rig)
    assert deferred.endpoint == "at-1@own"
    reply = Recorder()
    reply.journal = rig.journal.events
    await rig.pipeline.collect(deferred, rig.call("chat"), reply)
    assert reply.text
    assert rig.event.endpoint == "at-1@own"
    assert {keyed["headers"]["authorization"] for keyed in rig.first.seen.report()} == {
        "Api-Key AQVN***nant"
    }


async def test_what_is_left_for_later_may_be_refused(rig: Rig) -> None:
    wrong = {"api_key": "AQVN-wrong", "folder_id": FOLDER}
    give(rig, "yandex", **wrong)
    assert (await left(rig)).endpoint == "at-1"
    give(rig, "yandex", is_only=True, **wrong)
    with pytest.raises(ProjectCredentialRefused):
        await left(rig)


def test_lanes_are_of_the_account() -> None:
    giga = harness.endpoint("gigachat", "http://x", 1, Timeouts())
    limited = structs.replace(harness.endpoint("openai", "http://x", 1, Timeouts()), max_running=1)
    mine = owned((giga,), credentials=basic("b2b-1"))[giga.id]
    assert factory.build(giga).lane() != factory.build(mine).lane()
    assert owned((limited,), api_key=MINE)[limited.id].id != limited.id


def test_nothing_of_the_routers_account_goes_out() -> None:
    ours = structs.replace(
        harness.endpoint("openai", "http://x", 1, Timeouts()),
        options={"organization": "org-of-the-router", "project": "p", "limit_field": "max_tokens"},
    )
    made = owned((ours,), api_key=MINE, project_id="ignored", organization="org-mine")[ours.id]
    wire = WireRequest("POST", "http://x")
    factory.build(made).authorize(wire, None)
    assert wire.headers == {
        "authorization": f"Bearer {MINE}",
        "openai-organization": "org-mine",
    }
    yandex = harness.endpoint("yandex", "http://x", 1, Timeouts())
    by_machine = structs.replace(yandex, options=yandex.options | {"auth": "metadata"})
    there = owned((by_machine,), api_key="AQVN-mine", folder_id="b1gmine")[yandex.id]
    assert there.options == {"folder_id": "b1gmine"}
    factory.build(there)
