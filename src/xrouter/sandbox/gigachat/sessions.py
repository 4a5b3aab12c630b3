"""The prompt cache of the simulated GigaChat: what each session's last prompt was."""

from __future__ import annotations

import zlib
from typing import Any

import msgspec

from xrouter.sandbox.gigachat.chat import message_tokens

SESSIONS_KEPT = 1000
_encode = msgspec.json.Encoder().encode


class SessionCache:
    """The last prompt of the last SESSIONS_KEPT sessions, as a sum and a size of each message."""

    def __init__(self) -> None:
        self._sessions: dict[tuple[str, ...], list[tuple[int, int]]] = {}

    def known(self, session: tuple[str, ...], messages: list[dict[str, Any]]) -> int:
        """Tokens of the leading messages that were in this session's last prompt.

        The prompt becomes the session's last.
        """
        told = [(zlib.crc32(_encode(message)), message_tokens(message)) for message in messages]
        tokens = 0
        for now, before in zip(told, self._sessions.pop(session, []), strict=False):
            if now != before:
                break
            tokens += now[1]
        self._sessions[session] = told
        if len(self._sessions) > SESSIONS_KEPT:
            del self._sessions[next(iter(self._sessions))]
        return tokens
