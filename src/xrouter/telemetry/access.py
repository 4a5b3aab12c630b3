"""The access log: one line for each request, with what its usage event says."""

from __future__ import annotations

import msgspec

from xrouter.domain.errors import XRouterError
from xrouter.telemetry.logs import LineWriter

_SERVER_ERROR = 500


class AccessLog:
    """Writes `{"event":"request","level":...,"request":{usage event}}` lines."""

    def __init__(self, writer: LineWriter, *, enabled: bool = True) -> None:
        self._put = writer.put
        self._enabled = enabled
        self._encode = msgspec.json.Encoder().encode

    def write(self, event: bytes, error: XRouterError | None) -> None:
        """One line; never waits. Errors add their message and, for operators, the hint.

        event: a usage event as JSON.
        """
        if not self._enabled:
            return
        if error is None:
            self._put(b'{"event":"request","level":"info","request":%b}' % event)
            return
        level = b"error" if error.status >= _SERVER_ERROR else b"warning"
        shown = {"message": _text(error.message), "hint": _text(error.hint), "blame": error.blame}
        self._put(
            b'{"event":"request","level":"%b","error":%b,"request":%b}'
            % (level, self._encode(shown), event)
        )


def _text(value: str | None) -> str | None:
    """Without what cannot be written (lone surrogates)."""
    return None if value is None else value.encode("utf-8", "replace").decode()
