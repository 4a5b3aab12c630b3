from __future__ import annotations

from random import Random

from xrouter.domain.answer import Usage
from xrouter.domain.chat import ChatRequest, Message
from xrouter.flow.yardstick import ENOUGH, EVERY, PLAIN, Lengths, Yardstick

REQUEST = ChatRequest(model="m", messages=[Message(role="user", content="слово " * 20)])


def test_the_usual_length_is_told_once_enough_was_seen() -> None:
    lengths = Lengths()
    for _ in range(ENOUGH - 1):
        lengths.add(100)
    assert lengths.usual() is None
    lengths.add(100)
    assert lengths.usual() == 128


def test_hardly_any_answer_is_longer_than_usual() -> None:
    chance, lengths = Random(7), Lengths()
    seen = [int(chance.expovariate(1 / 300)) for _ in range(1000)]
    for tokens in seen:
        lengths.add(tokens)
    usual = lengths.usual()
    assert usual is not None
    exact = sorted(seen)[949]
    assert exact <= usual <= 1.5 * exact
    assert sum(tokens > usual for tokens in seen) <= 50


def test_the_bound_is_never_below_the_answer() -> None:
    for tokens in (0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 13, 4095, 4096, 10**9):
        lengths = Lengths()
        for _ in range(ENOUGH):
            lengths.add(tokens)
        usual = lengths.usual()
        assert usual is not None
        assert tokens <= usual <= max(1, 2 * tokens)


def test_new_lengths_take_the_place_of_old_ones() -> None:
    lengths = Lengths()
    for _ in range(3000):
        lengths.add(4000)
    for _ in range(30_000):
        lengths.add(10)
    assert lengths.usual() == 12


def test_a_yardstick_learns_both() -> None:
    yardstick = Yardstick()
    assert yardstick.prompt(REQUEST) == PLAIN.prompt(REQUEST)
    for _ in range(4 * EVERY):
        yardstick.learn(REQUEST, 150, Usage(60, 50))
    assert yardstick.usual == 64
    assert yardstick.prompt(REQUEST) == 60, "two characters a token"
    assert yardstick.answer(150) == 50


def test_estimates_teach_nothing() -> None:
    yardstick = Yardstick()
    for _ in range(100):
        yardstick.learn(REQUEST, 150, Usage(60, 50, estimated=True))
    assert yardstick.usual is None
