"""The fault table: what becomes of one request when its first target fails, and the second is well.

A cell is a fault, a provider of the sandbox, and whether the answer is streamed. `run` makes one
request through the real pipeline between two sandboxes and says what came out.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from tests.flow.harness import PATIENT, SILENCE_S, Recorder, leaping, open_rig

from xrouter.domain.catalog import Endpoint, Model, Timeouts, Version
from xrouter.domain.plan import Target
from xrouter.domain.snapshot import Snapshot
from xrouter.domain.usage import UsageEvent
from xrouter.providers import factory
from xrouter.providers.base import from_environment

QUESTION = "[[words:40]] Tell me of hedgehogs"

Spec = Mapping[str, Any]
Charged = tuple[int, int]


class Fault(Struct, frozen=True):
    """spec: of the sandbox's fault, or {"address": ...} for a server that is not there.

    late: in a stream it comes after the first piece of text, where nobody else may go on.
    harmless: the answer comes all the same, from the first target.
    """

    name: str
    about: str
    about_ru: str
    spec: Spec
    late: bool = False
    harmless: bool = False


def _early(kind: str, about: str, about_ru: str, **spec: Any) -> Fault:
    name = "-".join([kind, *(f"{key}-{value}" for key, value in spec.items())])
    return Fault(name, about, about_ru, {"kind": kind, **spec})


def _late(kind: str, about: str, about_ru: str) -> Fault:
    return Fault(f"{kind}-late", about, about_ru, {"kind": kind, "after": 4}, late=True)


FAULTS: tuple[Fault, ...] = (
    Fault("no-server", "nobody listens at the port", "порт никто не слушает", {"address": "port"}),
    Fault("no-name", "the host has no address", "у имени нет адреса", {"address": "name"}),
    Fault("no-tls", "TLS is asked of a plain port", "TLS на порту без TLS", {"address": "tls"}),
    _early("refuse", "closed without a byte", "закрыто без единого байта"),
    _early("reset", "reset before a byte", "сброс до первого байта"),
    _early("hang_before_headers", "silence from the start", "молчание с самого начала"),
    _early("server_error", "status 500", "статус 500", status=500),
    _early("server_error", "status 502", "статус 502", status=502),
    _early("server_error", "status 503", "статус 503", status=503),
    _early("server_error", "status 504", "статус 504", status=504),
    _early(
        "server_error", "status 402: the money is gone", "статус 402: деньги кончились", status=402
    ),
    _early("rate_limited", "status 429", "статус 429"),
    _early("rate_limited", "429, again in a second", "429, через секунду", retry_after=1),
    _early("rate_limited", "429, again in a minute", "429, через минуту", retry_after=60),
    _early("rate_limited", "429, again in a year", "429, через год", retry_after=31536000),
    _early("html_error", "502 as a page of HTML", "502 страницей HTML", status=502),
    _early("html_error", "403 as a page of HTML", "403 страницей HTML", status=403),
    _early("html_error", "200 as a page of HTML", "200 страницей HTML", status=200),
    _early("unauthorized_once", "our credential is refused (401)", "ключ отвергнут (401)", times=9),
    _early("unauthorized_once", "our account is barred (403)", "доступ закрыт (403)", status=403),
    _early("error_in_200", "an error under status 200", "ошибка под статусом 200"),
    _early("cut", "cut before the first piece", "обрыв до первого куска", after=0),
    _early("reset", "reset before the first piece", "сброс до первого куска", after=0),
    _early("malformed_chunk", "a first piece of broken JSON", "первым битый JSON", after=0),
    _early("truncated_json", "half of the first piece", "половина первого куска", after=0),
    _early("hang_mid_stream", "silence after the headers", "молчание после заголовков", after=0),
    _early("early_error_frame", "an error as the first piece", "ошибка первым куском", after=0),
    Fault(
        "slow_headers",
        "slow headers",
        "медленные заголовки",
        {"kind": "slow_headers", "delay_s": 0.1},
        harmless=True,
    ),
    Fault(
        "slow_drip",
        "byte by byte",
        "по одному байту",
        {"kind": "slow_drip", "delay_s": 0.0001},
        harmless=True,
    ),
    _late("cut", "cut in the middle", "обрыв в середине"),
    _late("reset", "reset in the middle", "сброс в середине"),
    _late("malformed_chunk", "broken JSON in the middle", "битый JSON в середине"),
    _late("truncated_json", "half a piece in the middle", "половина куска в середине"),
    _late("hang_mid_stream", "silence in the middle", "молчание в середине"),
    _late("early_error_frame", "an error in the middle", "ошибка в середине"),
)

PROVIDERS: dict[str, str] = {
    "gigachat": "GigaChat-2-Max",
    "yandex": "yandexgpt-lite/latest",
    "openai": "gpt-4o-mini",
    "openrouter": "openai/gpt-4o-mini",
    "mistral": "mistral-small-latest",
    "anthropic": "claude-haiku-4-5",
    "llamacpp": "gemma-3-4b-it",
}
"""Providers of the sandbox, each with the upstream name of a chat model there."""


class Outcome(Struct, frozen=True):
    """What came out. charges: tokens in and out that each sandbox charged for, a pair a call."""

    reply: Recorder
    event: UsageEvent
    events: int
    charges: tuple[list[Charged], list[Charged]]
    running: int

    @property
    def answered(self) -> list[Charged]:
        """What was charged where the request was answered."""
        return self.charges[self.event.endpoint == "standby"]


async def run(fault: Fault, provider: str, *, stream: bool) -> Outcome:
    """One request, its first target failing and its second well."""
    with leaping():
        return await _run(fault, provider, stream=stream)


async def _run(fault: Fault, provider: str, *, stream: bool) -> Outcome:
    async with open_rig() as rig:
        endpoints = tuple(
            _endpoint(provider, sandbox.environment(url), number)
            for number, (sandbox, url) in enumerate(
                zip((rig.first, rig.second), rig.urls, strict=True), 1
            )
        )
        first = _broken(endpoints[0], fault, stream=stream)
        model = _model(provider)
        rig.snapshots.replace(
            Snapshot(
                revision=1,
                built_at=0.0,
                models={model.model_id: model},
                endpoints={provider: (first, endpoints[1])},
                keys={},
            )
        )
        if "kind" in fault.spec:
            rig.first.faults.add(msgspec.json.encode(_spec(fault, provider)))
        reply = await rig.chat(model.model_id, QUESTION, stream=stream)
        first_bill, second_bill = (
            [(c.tokens_in, c.tokens_out) for c in sandbox.bill]
            for sandbox in (rig.first, rig.second)
        )
        standings = [rig.board.standing(target) for target in _targets(rig.snapshots.current)]
        return Outcome(
            reply,
            rig.journal.events[-1],
            len(rig.journal.events),
            (first_bill, second_bill),
            sum(standing.running for standing in standings),
        )


def _spec(fault: Fault, provider: str) -> dict[str, Any]:
    """As the sandbox takes it. One provider's first frame is a comment that says nothing."""
    path = "messages" if provider == "anthropic" else "ompletion"
    spec = {"times": None, "match": {"path": path}} | dict(fault.spec)
    if provider == "openrouter" and "after" in spec:
        spec["after"] += 1
    return spec


def _targets(snapshot: Snapshot) -> list[Target]:
    from_model = next(iter(snapshot.models.values()))
    made = snapshot.endpoints[from_model.provider]
    return [Target(endpoint, from_model, from_model.versions[0]) for endpoint in made]


def _endpoint(provider: str, environ: dict[str, str], number: int) -> Endpoint:
    known = factory.providers()[provider]
    assert known.environment is not None
    fields = from_environment(known.environment, environ)
    assert fields is not None
    return Endpoint(
        id=number,
        provider=provider,
        name=("primary", "standby")[number - 1],
        adapter_class=known.adapter_class,
        base_url=fields.base_url or known.default_base_url,
        credential=fields.credential,
        options={**known.options, **fields.options},
        priority=number,
        timeouts=PATIENT,
    )


def _broken(endpoint: Endpoint, fault: Fault, *, stream: bool) -> Endpoint:
    """The endpoint at an address where the fault lives, and impatient where it is silence."""
    if "hang" in fault.name:
        total = 3 * SILENCE_S if stream else SILENCE_S
        silence = Timeouts(connect=60.0, first_token=SILENCE_S, idle=SILENCE_S, total=total)
        return replace(endpoint, timeouts=silence)
    match fault.spec.get("address"):
        case "port":
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                host = f"http://127.0.0.1:{free.getsockname()[1]}"
        case "name":
            host = "http://nobody.invalid"
        case "tls":
            host = "https://" + endpoint.base_url.partition("://")[2].partition("/")[0]
        case _:
            return endpoint
    path = endpoint.base_url.partition("://")[2].partition("/")[2]
    options = dict(endpoint.options)
    return replace(endpoint, base_url=f"{host}/{path}", options=options)


def _model(provider: str) -> Model:
    upstream = PROVIDERS[provider]
    return Model(
        model_id=f"{provider}/model",
        provider=provider,
        adapter_class=factory.providers()[provider].adapter_class,
        display_name=upstream,
        versions=(Version(label="1", upstream=upstream),),
    )
