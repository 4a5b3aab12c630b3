"""Counts by GigaChat's tokenizer."""

import json
from typing import Any

import pytest
from tests.providers.gigachat.asking import adapter_of, play, reply, target_of

from xrouter.domain.counting import CountRequest, TokenCount
from xrouter.domain.errors import UpstreamMalformed


def test_counts_go_in_portions() -> None:
    adapter = adapter_of()
    texts = [f"text {i}" for i in range(25)]
    replies = [
        reply(200, [{"object": "tokens", "tokens": 1, "characters": 9}] * size) for size in (20, 5)
    ]
    found, wires = play(
        adapter.count(CountRequest(model="m", texts=texts), target_of(adapter)), *replies
    )
    assert found == TokenCount((1,) * 25)
    assert [wire.url for wire in wires] == ["http://h/v1/tokens/count"] * 2
    assert [text for wire in wires for text in json.loads(wire.body)["input"]] == texts


@pytest.mark.parametrize("body", ["<html>", [], {"tokens": 1}, [{"tokens": "x"}]])
def test_counts_that_are_none(body: Any) -> None:
    adapter = adapter_of()
    with pytest.raises(UpstreamMalformed):
        play(
            adapter.count(CountRequest(model="m", texts=["a"]), target_of(adapter)),
            reply(200, body),
        )


def test_nothing_needs_no_request_to_be_counted() -> None:
    adapter = adapter_of()
    errand = adapter.count(CountRequest(model="m", texts=[]), target_of(adapter))
    with pytest.raises(StopIteration) as end:
        next(errand)
    assert end.value.value == TokenCount(())
