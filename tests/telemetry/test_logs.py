from __future__ import annotations

import io
import json
import logging
from typing import Any

import msgspec
import pytest
from typing_extensions import override

from xrouter.domain.errors import InternalError, UpstreamDenied
from xrouter.domain.usage import UsageEvent
from xrouter.telemetry import logs
from xrouter.telemetry.access import AccessLog
from xrouter.telemetry.logs import LineWriter, Log


class Broken(io.StringIO):
    @override
    def write(self, _text: str, /) -> int:
        raise OSError(32, "Broken pipe")


def lines_of(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_events_are_json_lines_in_order() -> None:
    stream, log = io.StringIO(), Log()
    writer = LineWriter(stream)
    log.to(writer, logging.INFO)
    log.info("started", port=8080)
    log.error("broke", reason="a\nb", error=ValueError("x"))
    writer.stop()
    writer._flush()
    first, second = lines_of(stream)
    assert (first["event"], first["level"], first["port"]) == ("started", "info", 8080)
    assert first["time"].endswith("Z")
    assert (second["level"], second["reason"], second["error"]) == ("error", "a\nb", "x")


def test_levels_below_are_left_out() -> None:
    stream, log = io.StringIO(), Log()
    writer = LineWriter(stream)
    log.to(writer, logging.WARNING)
    log.info("quiet")
    log.warning("loud")
    writer._flush()
    assert [line["event"] for line in lines_of(stream)] == ["loud"]


def test_defects_carry_their_traceback() -> None:
    stream, log = io.StringIO(), Log()
    writer = LineWriter(stream)
    log.to(writer, logging.INFO)
    try:
        raise KeyError("lost")
    except KeyError:
        log.exception("defect", request_id="r")
    writer._flush()
    (line,) = lines_of(stream)
    assert "KeyError: 'lost'" in line["exception"]


def test_what_cannot_be_encoded_is_written_all_the_same() -> None:
    stream, log = io.StringIO(), Log()
    writer = LineWriter(stream)
    log.to(writer, logging.INFO)
    log.error("odd", text="\udcff", keys={(1, 2): 3})
    writer._flush()
    assert lines_of(stream)[0]["event"] == "'odd'"


def test_a_full_buffer_loses_lines_and_counts_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MAX_LINES", 2)
    writer = LineWriter(io.StringIO())
    for _ in range(5):
        writer.put(b"{}")
    assert writer.lines_lost == 3


def test_a_broken_pipe_is_counted_not_raised() -> None:
    writer = LineWriter(Broken())
    writer.start()
    writer.put(b"{}")
    writer.stop()
    assert writer.lines_lost == 1


def test_stopping_writes_what_is_left() -> None:
    stream = io.StringIO()
    writer = LineWriter(stream)
    writer.start()
    for number in range(1000):
        writer.put(b"%d" % number)
    writer.stop()
    assert stream.getvalue().splitlines() == [str(n) for n in range(1000)]


def test_records_of_libraries_come_in_the_same_form() -> None:
    stream = io.StringIO()
    writer = LineWriter(stream)
    root = logging.getLogger()
    before = (list(root.handlers), root.level)
    try:
        logs.configure(writer, "info")
        logging.getLogger("some.library").warning("odd %s", "thing")
        logging.getLogger("some.library").info("not shown")
    finally:
        root.handlers[:], root.level = before
        logs.log._writer = None
    writer._flush()
    (line,) = lines_of(stream)
    assert (line["event"], line["logger"], line["level"]) == (
        "odd thing",
        "some.library",
        "warning",
    )


def encoded(**fields: Any) -> bytes:
    event = UsageEvent(event_id="e", request_id="r", at=1.0, operation="chat", **fields)
    return msgspec.json.encode(event)


def test_access_lines_hold_the_usage_event() -> None:
    stream = io.StringIO()
    writer = LineWriter(stream)
    AccessLog(writer).write(encoded(status=200, tokens_in=5), None)
    writer._flush()
    (line,) = lines_of(stream)
    assert (line["event"], line["level"]) == ("request", "info")
    assert line["request"]["tokens_in"] == 5


@pytest.mark.parametrize(
    "error,level", [(UpstreamDenied("no", hint="look"), "error"), (InternalError("x"), "error")]
)
def test_access_lines_of_errors_tell_whose_they_are(
    error: UpstreamDenied | InternalError, level: str
) -> None:
    stream = io.StringIO()
    writer = LineWriter(stream)
    AccessLog(writer).write(encoded(status=error.status), error)
    writer._flush()
    (line,) = lines_of(stream)
    assert line["level"] == level
    assert line["error"] == {"message": error.message, "hint": error.hint, "blame": error.blame}


def test_the_access_log_can_be_switched_off() -> None:
    writer = LineWriter(io.StringIO())
    AccessLog(writer, enabled=False).write(encoded(status=200), None)
    assert not writer._lines
