"""The cookie of a session: how it is named, set and read."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.responses import Response

from xrouter.control.kit.origin import is_loopback
from xrouter.domain.secret import Secret

NAME = "__Host-xrouter"
PLAIN = "xrouter"
"""Without Secure: only where the browser itself speaks plain http to its own machine."""

_MAX_SECRET = 100

Headers = Iterable[tuple[bytes, bytes]]
"""As ASGI has them; of a Starlette request: `request.headers.raw`."""


def read(headers: Headers) -> Secret | None:
    """The secret that the browser brings. None without one, and for two of one name."""
    pairs = list(headers)
    wanted = {NAME, PLAIN} if _is_plain(pairs) else {NAME}
    found: dict[str, list[str]] = {}
    for value in _all(pairs, b"cookie"):
        for part in value.split(";"):
            name, _, secret = part.strip().partition("=")
            if name in wanted:
                found.setdefault(name, []).append(secret)
    secrets = found.get(NAME) or found.get(PLAIN) or []
    if len(secrets) != 1 or not 0 < len(secrets[0]) <= _MAX_SECRET:
        return None
    return Secret(secrets[0])


def put(response: Response, headers: Headers, secret: Secret) -> None:
    """Give the browser a secret; it ends with the browser, or with the session.

    headers: of the request.
    """
    _set(response, headers, secret.reveal(), max_age=None)


def clear(response: Response, headers: Headers) -> None:
    """Take it away."""
    _set(response, headers, "", max_age=0)


def _set(response: Response, headers: Headers, value: str, max_age: int | None) -> None:
    plain = _is_plain(list(headers))
    response.set_cookie(
        PLAIN if plain else NAME,
        value,
        max_age=max_age,
        path="/",
        secure=not plain,
        httponly=True,
        samesite="lax",
    )


def _is_plain(pairs: list[tuple[bytes, bytes]]) -> bool:
    """Whether the browser asks its own machine, by http as far as it says."""
    hosts = _all(pairs, b"host")
    if len(hosts) != 1 or not is_loopback(hosts[0]):
        return False
    told = [*_all(pairs, b"origin"), *_all(pairs, b"x-forwarded-proto")]
    return not any(value.lower().startswith("https") for value in told)


def _all(pairs: list[tuple[bytes, bytes]], name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in pairs if key.lower() == name]
