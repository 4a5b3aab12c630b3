"""Access tokens: fetched once for all who need them, renewed before they expire.

A token is fresh until 60 seconds, or a fifth of its life if that is less, before it expires.
From then on it is renewed in the background while callers still get the old one; only in its last
seconds, and without a token, do they wait. When renewing fails the old token serves until it
expires. A failure is told to all who wait for it and, for one second, to all who come after.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable

from msgspec import Struct

from xrouter.domain.errors import InternalError, UpstreamMalformed, XRouterError
from xrouter.wire.types import Token, TokenFlow, WireReply, WireRequest

MARGIN_S = 60.0
MARGIN_SHARE = 0.2
LAST_SECONDS = 5.0
BACK_OFF_S = 1.0
MAX_KEYS = 4096
MAX_STEPS = 8

Fetch = Callable[[WireRequest], Awaitable[WireReply]]


class _Entry(Struct):
    """What is known for one key. Times are unix seconds."""

    token: Token | None = None
    fresh_until: float = 0.0
    error: XRouterError | None = None
    quiet_until: float = 0.0
    refresh: asyncio.Task[None] | None = None


class TokenBook:
    """Caches one token for each key; keys must change with the credential behind them."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        """now: unix seconds."""
        self._now = now
        self._entries: dict[Hashable, _Entry] = {}

    async def get(self, key: Hashable, start: Callable[[], TokenFlow], fetch: Fetch) -> str:
        """The token's text. start: begins a token exchange; fetch: sends its requests.

        Raises what the exchange raises. A caller that is cancelled does not disturb the others.
        """
        entry = self._entries.get(key)
        if entry is None:
            entry = self._add(key)
        now = self._now()
        if entry.token is not None and now < entry.fresh_until:
            return entry.token.value
        if entry.refresh is None and now >= entry.quiet_until:
            entry.refresh = asyncio.create_task(self._renew(entry, start, fetch))
        if entry.token is not None and now < entry.token.expires_at - LAST_SECONDS:
            return entry.token.value
        if entry.refresh is not None:
            await asyncio.wait((entry.refresh,))
        return self._outcome(entry)

    def drop(self, key: Hashable, token: str) -> None:
        """Forget a token the provider refused, unless a newer one has taken its place."""
        entry = self._entries.get(key)
        if entry is not None and entry.token is not None and entry.token.value == token:
            entry.token = None

    async def close(self) -> None:
        """Stop what is being fetched."""
        tasks = [entry.refresh for entry in self._entries.values() if entry.refresh is not None]
        self._entries.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _add(self, key: Hashable) -> _Entry:
        """Make room, if need be, by forgetting the key that was added first."""
        if len(self._entries) >= MAX_KEYS:
            self._entries.pop(next(iter(self._entries)))
        return self._entries.setdefault(key, _Entry())

    def _outcome(self, entry: _Entry) -> str:
        """The token there is, or why there is none."""
        if entry.token is not None:
            usable_until = max(entry.token.expires_at, entry.fresh_until)
            if entry.error is None or self._now() < usable_until:
                return entry.token.value
        if entry.error is None:
            raise InternalError("The token exchange was stopped.")
        raise entry.error.with_traceback(None)

    async def _renew(self, entry: _Entry, start: Callable[[], TokenFlow], fetch: Fetch) -> None:
        """Run one exchange and note how it went. Raises nothing."""
        try:
            token = await _run(start(), fetch)
        except XRouterError as error:
            entry.error = error
            entry.quiet_until = self._now() + BACK_OFF_S
        except Exception as error:  # noqa: BLE001 - an adapter's defect must reach its callers
            entry.error = InternalError("The token exchange failed.")
            entry.error.__cause__ = error
            entry.quiet_until = self._now() + BACK_OFF_S
        else:
            entry.error = None
            now = self._now()
            margin = min(MARGIN_S, MARGIN_SHARE * (token.expires_at - now))
            entry.token = token
            # A token that looks expired on arrival (clocks differ) is tried for a moment.
            entry.fresh_until = max(token.expires_at - margin, now + BACK_OFF_S)
        finally:
            entry.refresh = None


async def _run(flow: TokenFlow, fetch: Fetch) -> Token:
    """Send what the flow asks for until it returns. Raises what it raises."""
    reply: WireReply | None = None
    try:
        for _ in range(MAX_STEPS):
            try:
                request = next(flow) if reply is None else flow.send(reply)
            except StopIteration as stop:
                token: Token = stop.value
                return token
            reply = await fetch(request)
    finally:
        flow.close()
    raise UpstreamMalformed("The token exchange does not come to an end.")
