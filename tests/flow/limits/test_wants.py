"""How much a request may need, before anything is known of its answer."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from xrouter.domain.abilities import Abilities
from xrouter.domain.answer import Usage
from xrouter.domain.catalog import Endpoint, Model, Price, Version
from xrouter.domain.chat import ChatRequest, Message
from xrouter.domain.embeddings import EmbeddingsRequest
from xrouter.domain.identity import Principal
from xrouter.domain.images import ImagesRequest
from xrouter.domain.limits import Limit, Meter
from xrouter.domain.plan import Target
from xrouter.flow.ask import Ask, Other
from xrouter.flow.limits.rules import Rule, Sheet
from xrouter.flow.limits.wants import DEFAULT_OUTPUT, wants
from xrouter.flow.yardstick import Yardstick

WHO = Principal(key_id="k", name="k")
TEXT = "слово " * 20
BILLION = 10**9
PRICE = Price(currency="RUB", input=1000 * BILLION, output=5000 * BILLION)
VERSION = Version(label="1", upstream="m", price=PRICE)
MODEL = Model(
    model_id="p/m", provider="p", adapter_class="x.Y", display_name="M", versions=(VERSION,)
)
ENDPOINT = Endpoint(id=1, provider="p", name="e", adapter_class="x.Y", base_url="http://x")
TARGET = Target(ENDPOINT, MODEL, VERSION)


def chat(**more: Any) -> Ask:
    return Ask(WHO, ChatRequest(model="m", messages=[Message(role="user", content=TEXT)], **more))


def needed(
    meter: Meter, ask: Ask, target: Target = TARGET, learned: Yardstick | None = None
) -> int:
    most = 10**15
    rule = Rule(Limit(subject="key:k", meter=meter, window="total", amount=most), "key:k")
    if learned is None:
        (want,) = wants(Sheet((rule,)), [target], ask)
    else:
        (want,) = wants(Sheet((rule,)), [target], ask, lambda _: learned)
    return want.amount


def learned(answer: int) -> Yardstick:
    """Of a target whose tokens have two characters, and whose answers are so long."""
    found = Yardstick()
    request = chat().request
    assert request is not None
    for _ in range(64):
        found.learn(request, 3 * answer, Usage(60, answer))
    return found


def priced(**more: Any) -> Target:
    version = replace(VERSION, price=replace(PRICE, **more))
    return Target(ENDPOINT, MODEL, version)


def test_an_answer_is_as_long_as_may_be() -> None:
    assert needed("tokens", chat(max_tokens=7)) == 30 + 7
    assert needed("tokens", chat()) == 30 + DEFAULT_OUTPUT
    short = replace(MODEL, abilities=Abilities(max_output=100))
    assert needed("tokens", chat(), Target(ENDPOINT, short, VERSION)) == 30 + 100


def test_an_answer_is_as_long_as_usual_where_that_is_known() -> None:
    assert needed("tokens", chat(), learned=learned(50)) == 60 + 64
    assert needed("tokens", chat(), learned=learned(6000)) == 60 + 6144, "more than is guessed"
    assert needed("tokens", chat(max_tokens=7), learned=learned(50)) == 60 + 7
    short = Target(ENDPOINT, replace(MODEL, abilities=Abilities(max_output=40)), VERSION)
    assert needed("tokens", chat(), short, learned(50)) == 60 + 40


@pytest.mark.parametrize(
    "more,thousandths",
    [
        ({}, 30 + 50),
        ({"cached_input": 1}, 30 + 50),
        ({"cache_write": 2000 * BILLION}, 60 + 50),
        ({"reasoning": 9000 * BILLION}, 30 + 90),
        ({"request": BILLION}, 1000 + 30 + 50),
    ],
)
def test_money_is_held_for_the_dearest_tokens(more: dict[str, int], thousandths: int) -> None:
    assert needed("money", chat(max_tokens=10), priced(**more)) == thousandths * BILLION // 1000


def test_vectors_and_pictures_are_held_for_too() -> None:
    vectors: Other = EmbeddingsRequest(model="m", input=["a" * 40, "b" * 8], user="dora")
    ask = Ask(WHO, other=vectors)
    assert (needed("tokens", ask), ask.end_user) == (12, "dora")
    assert needed("money", ask) == 12 * BILLION // 1000
    pictures = Ask(WHO, other=ImagesRequest(model="m", prompt="a" * 40, n=3, user="dora"))
    assert (needed("tokens", pictures), pictures.end_user) == (10, "dora")
    target = priced(image=2 * BILLION, request=BILLION)
    assert needed("money", pictures, target) == 7 * BILLION + 10 * BILLION // 1000
    one = Ask(WHO, other=ImagesRequest(model="m", prompt="a"))
    assert needed("money", one, priced(image=2 * BILLION)) == 2 * BILLION + BILLION // 1000
