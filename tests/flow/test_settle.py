"""Whatever a provider or a caller wrote, the event is kept."""

from __future__ import annotations

import io
from pathlib import Path

from xrouter.domain.errors import UpstreamFailed
from xrouter.domain.ports import CallInfo
from xrouter.flow.settle import Settler
from xrouter.flow.tally import Tally
from xrouter.stores.journal.reader import JournalReader
from xrouter.stores.journal.writer import JournalWriter
from xrouter.telemetry.access import AccessLog
from xrouter.telemetry.logs import LineWriter
from xrouter.telemetry.metrics import Meters

NO_TEXT = "odd\udcff"


def test_texts_that_are_no_texts_cost_no_event(tmp_path: Path) -> None:
    writer = LineWriter(io.StringIO())
    settler = Settler(JournalWriter(tmp_path), Meters(), AccessLog(writer))
    tally = Tally("chat", NO_TEXT, streamed=False, started_at=0.0)
    tally.upstream_model = tally.upstream_request_id = NO_TEXT
    call = CallInfo("req_1", 0.0, "chat")
    settler.settle(call, tally, None)
    settler.settle(call, tally, UpstreamFailed(NO_TEXT, code=NO_TEXT, hint=NO_TEXT))
    events = JournalReader(tmp_path).batch(10).events
    assert [(event.upstream_model, event.status) for event in events] == [
        ("odd?", 200),
        ("odd?", 502),
    ]
