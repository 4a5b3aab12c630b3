"""Response headers: what is told about the answer, the limits and the errors."""

from __future__ import annotations

import math
from email.utils import formatdate
from functools import lru_cache

from xrouter.domain.errors import XRouterError
from xrouter.domain.ports import Allowance, Notice, Served
from xrouter.edge.asgi import Header

_MAX_VALUE = 2000
_FINAL_TYPES = ("insufficient_quota",)
_UNKNOWN, _NOT_ALLOWED = 401, 403
_CHALLENGED = (_UNKNOWN, _NOT_ALLOWED)
_TOLD = ("invalid_token", "insufficient_scope")
_MS = 1000
_RATE: dict[str, tuple[bytes, bytes, bytes]] = {
    meter: (
        f"x-ratelimit-limit-{meter}".encode(),
        f"x-ratelimit-remaining-{meter}".encode(),
        f"x-ratelimit-reset-{meter}".encode(),
    )
    for meter in ("requests", "tokens")
}
_MINUTE = 60


def clean(text: str) -> bytes:
    """Text as a header value: one line of Latin-1, at most 2000 bytes; the rest becomes `?`."""
    if not (text.isascii() and text.isprintable()):
        text = "".join(c if c.isprintable() else "?" for c in text)
    return text[:_MAX_VALUE].encode("latin-1", "replace")


@lru_cache(maxsize=4096)
def _named(who: tuple[str, str, str, str, str | None, str, int]) -> tuple[Header, ...]:
    """What many have in common: model, version, provider, endpoint, route, reason, attempts."""
    model, version, provider, endpoint, route, reason, attempts = who
    headers = [
        (b"x-xrouter-model", clean(model)),
        (b"x-xrouter-version", clean(version)),
        (b"x-xrouter-provider", clean(provider)),
        (b"x-xrouter-endpoint", clean(endpoint)),
    ]
    if reason:
        why = reason if route is None else f"route/{route}; {reason}"
        headers.append((b"x-xrouter-route", clean(why)))
    headers.append((b"x-xrouter-attempts", b"%d" % attempts))
    return tuple(headers)


def served(who: Served, dropped: tuple[str, ...] = ()) -> list[Header]:
    """Who answered. dropped: what the dialect gave up, beside what the adapter did."""
    headers = asked(who)
    if dropped or who.dropped:
        headers.append((b"x-xrouter-dropped", clean(", ".join((*dropped, *who.dropped)))))
    return headers


def asked(who: Served) -> list[Header]:
    """Who was asked, whatever came of it."""
    key = (who.model, who.version, who.provider, who.endpoint, who.route, who.reason, who.attempts)
    headers = [*_named(key)]
    if who.cached:
        headers.append((b"x-xrouter-cache", b"hit"))
    if who.notice is not None:
        headers += _deprecation(who.notice)
    if who.upstream_request_id:
        headers.append((b"x-xrouter-upstream-id", clean(who.upstream_request_id)))
    return headers


def _deprecation(notice: Notice) -> list[Header]:
    """RFC 9745 and RFC 8594: since when it is deprecated, when it goes, what takes its place."""
    since = 0 if notice.since is None else int(notice.since)
    headers: list[Header] = [(b"deprecation", b"@%d" % since)]
    if notice.until is not None:
        headers.append((b"sunset", formatdate(notice.until, usegmt=True).encode()))
    if notice.successor is not None:
        headers.append((b"x-xrouter-successor", clean(notice.successor)))
    return headers


def allowance(state: Allowance) -> list[Header]:
    """The limit of requests or of tokens, the way clients of OpenAI read it."""
    limit, remaining, reset = _RATE[state.meter]
    left = state.remaining
    return [
        (limit, b"%d" % state.limit),
        (remaining, b"%d" % left if left > 0 else b"0"),
        (reset, _go(round(state.reset_s * _MS))),
    ]


def error(reason: XRouterError) -> list[Header]:
    """Whether and when to try again."""
    headers: list[Header] = []
    wait = reason.retry_after
    if wait is not None and math.isfinite(wait):
        wait = max(0.0, wait)
        headers.append((b"retry-after", b"%d" % math.ceil(wait)))
        headers.append((b"retry-after-ms", b"%d" % math.ceil(wait * _MS)))
    if reason.type in _FINAL_TYPES:
        headers.append((b"x-should-retry", b"false"))
    if reason.status in _CHALLENGED:
        headers += _challenge(reason)
    return headers


def _challenge(reason: XRouterError) -> list[Header]:
    """RFC 6750: how to ask, and what was wrong with a token."""
    if reason.code in _TOLD:
        return [(b"www-authenticate", b'Bearer error="%b"' % reason.code.encode())]
    return [(b"www-authenticate", b"Bearer")] if reason.status == _UNKNOWN else []


def go_duration(seconds: float) -> str:
    """Seconds in Go's notation: `12ms`, `1.5s`, `6m0s`, `1h2m3s`."""
    return _go(round(seconds * _MS)).decode()


@lru_cache(maxsize=4096)
def _go(milliseconds: int) -> bytes:
    if milliseconds < _MS:
        return b"%dms" % milliseconds if milliseconds > 0 else b"0s"
    minutes, rest = divmod(milliseconds, _MINUTE * _MS)
    hours, minutes = divmod(minutes, _MINUTE)
    text = f"{rest / _MS:g}s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    return (f"{hours}h{text}" if hours else text).encode()
