"""Thirty-five faults, seven providers, streams and whole answers: docs/faults.md in assertions."""

from __future__ import annotations

import pytest
from tests.faults.cells import FAULTS, PROVIDERS, Fault, run

HOW = {True: "stream", False: "whole"}
CELLS = [
    pytest.param(fault, provider, stream, id=f"{fault.name}-{provider}-{HOW[stream]}")
    for fault in FAULTS
    for provider in PROVIDERS
    for stream in (True, False)
]


@pytest.mark.parametrize("fault,provider,stream", CELLS)
async def test_a_fault_of_one_target_is_not_the_callers(
    fault: Fault, provider: str, stream: bool
) -> None:
    seen = await run(fault, provider, stream=stream)
    reply, event = seen.reply, seen.event
    assert seen.events == 1
    assert seen.running == 0
    if fault.late and stream:
        assert reply.error is not None
        assert reply.calls[-1] == "fail"
        assert reply.text
        assert (event.outcome, event.endpoint, event.attempts) == ("error", "primary", 1)
        assert event.tokens_in > 0
        assert event.tokens_out > 0
        return
    assert reply.error is None
    assert reply.finish == "stop"
    assert len(reply.text.split()) >= 40
    assert event.outcome == "ok"
    assert event.endpoint == ("primary" if fault.harmless else "standby")
    assert (event.tokens_in, event.tokens_out) == seen.answered[-1]
