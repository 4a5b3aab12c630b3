"""What the sandbox has seen: the last requests, so that tests can prove what was sent to it."""

from __future__ import annotations

import time
from collections import deque
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from msgspec import Struct

from xrouter.sandbox.kit import SandboxRequest

REQUESTS_KEPT = 200
BODY_KEPT = 1 << 20
_SECRET_HEADERS = ("authorization", "api-key", "x-api-key", "proxy-authorization", "cookie")


class Sighting(Struct):
    """One request to a simulator. Times are unix seconds.

    finished: when the last byte of the answer was handed over, None while it is being served or
    when it never was. closed_by_client: when the client left before that, else None.
    frames: how many frames of a stream, or bodies, were sent. fault: kind of the fault applied.
    """

    id: int
    provider: str
    request: SandboxRequest
    started: float
    status: int | None = None
    frames: int = 0
    fault: str | None = None
    finished: float | None = None
    closed_by_client: float | None = None

    def report(self) -> dict[str, Any]:
        """The sighting as JSON data, secrets masked, the body parsed."""
        request = self.request
        return {
            "id": self.id,
            "provider": self.provider,
            "method": request.method,
            "path": request.path,
            "query": request.query,
            "headers": _masked(request.headers),
            "body": _parsed(request),
            "started": self.started,
            "finished": self.finished,
            "status": self.status,
            "frames": self.frames,
            "fault": self.fault,
            "closed_by_client": self.closed_by_client is not None,
            "closed_at": self.closed_by_client,
        }


class SeenLog:
    """The last REQUESTS_KEPT requests, and how many are being served now."""

    def __init__(self) -> None:
        self._last: deque[Sighting] = deque(maxlen=REQUESTS_KEPT)
        self._count = 0
        self.open = 0

    def begin(self, provider: str, request: SandboxRequest) -> Sighting:
        """Note a request whose body has arrived; `end` must follow."""
        self._count += 1
        self.open += 1
        sighting = Sighting(
            id=self._count, provider=provider, request=_kept(request), started=time.time()
        )
        self._last.append(sighting)
        return sighting

    def end(self) -> None:
        """A request is no longer being served."""
        self.open -= 1

    def clear(self) -> None:
        """Forget the requests seen; those being served still count as open."""
        self._last.clear()

    def report(self) -> list[dict[str, Any]]:
        """The requests, oldest first."""
        return [sighting.report() for sighting in self._last]


def _masked(headers: dict[str, str]) -> dict[str, str]:
    return {
        name: _mask(value) if name in _SECRET_HEADERS else value for name, value in headers.items()
    }


def _mask(value: str) -> str:
    scheme, blank, secret = value.rpartition(" ")
    shown = f"{secret[:4]}***{secret[-4:]}" if len(secret) > 16 else "***"  # noqa: PLR2004 - both ends of a short secret would be all of it
    return f"{scheme}{blank}{shown}"


def _kept(request: SandboxRequest) -> SandboxRequest:
    if len(request.body) <= BODY_KEPT:
        return request
    return msgspec.structs.replace(request, body=b"(%d bytes, not kept)" % len(request.body))


def _parsed(request: SandboxRequest) -> Any:
    body = request.body
    if not body:
        return None
    if request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        return dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True))
    try:
        return msgspec.json.decode(body)
    except ValueError:
        return body.decode(errors="replace")
