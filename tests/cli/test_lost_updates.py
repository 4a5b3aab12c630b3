"""Commands that write what they have made of what they read never undo another's change."""

from __future__ import annotations

from typing import Any

import pytest
from tests.cli.harness import Place

from xrouter.cli import control

ENDPOINT = "providers", "endpoint", "set", "openai", "primary"
VERSION = "models", "version"
TWO_AT_ONCE = (
    ((*ENDPOINT, "--timeout", "total=100"), (*ENDPOINT, "--timeout", "first_token=5")),
    (
        ("providers", "set", "openai", "--policy", '{"max_attempts": 2}'),
        ("providers", "set", "openai", "--policy", '{"max_attempts": 3}'),
    ),
    (
        ("models", "set", "openai/one", "--policy", '{"max_attempts": 2}'),
        ("models", "set", "openai/one", "--policy", '{"strategy": "weighted"}'),
    ),
    (
        (*VERSION, "add", "openai/one", "a", "--upstream", "one-a"),
        (*VERSION, "add", "openai/one", "b", "--upstream", "one-b"),
    ),
    (
        (*VERSION, "remove", "openai/one", "a"),
        (*VERSION, "remove", "openai/one", "b"),
    ),
    (
        ("routes", "set", "bot", "--policy", '{"max_attempts": 2}'),
        ("routes", "set", "bot", "--policy", '{"strategy": "weighted"}'),
    ),
)


@pytest.fixture
def meddled(place: Place, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What somebody else does after the next command has read, and before it writes."""
    plain = control._answer
    ahead: list[tuple[str, ...]] = []

    def answer(method: str, *more: Any) -> bytes:
        if method == "PATCH" and ahead:
            place.out(*ahead.pop())
        return plain(method, *more)

    place.add_openai()
    place.out("models", "add", "openai/one")
    place.out("routes", "add", "bot", "openai/one")
    monkeypatch.setattr(control, "_answer", answer)
    return ahead


def test_a_change_at_the_same_moment_is_told(place: Place, meddled: list[tuple[str, ...]]) -> None:
    for first, other in TWO_AT_ONCE:
        meddled.append(other)
        told = place.refused(*first)
        assert "Somebody else changed it" in told
        assert "again" in told
        place.out(*first)
    model, *_ = (each for each in place.json("models", "list") if each["model_id"] == "openai/one")
    assert model["policy"] == {"max_attempts": 2, "strategy": "weighted"}
    assert place.json("routes", "list")[0]["policy"] == model["policy"]
    meddled.append(("models", "disable", "openai/one"))
    place.out("models", "set", "openai/one", "--context-length", "4096")
    (row,) = (each for each in place.json("models", "list") if each["model_id"] == "openai/one")
    assert (row["context_length"], row["is_available"]) == (4096, False), "nothing was read"
