"""Faults on demand: what they are, which requests they hit, and how they change a response.

Three groups, by what they need:

    instead of the simulator   unauthorized_once, rate_limited, server_error, html_error,
                               error_in_200; refuse, reset without `after`
    on its response            malformed_chunk, early_error_frame, truncated_json, slow_headers
    on the connection          hang_before_headers, hang_mid_stream, cut, reset, slow_drip

What the simulator was not asked it does not charge: nor an error before the first piece.

The first two groups are here, made of plain data; the third, and what closes the connection, is
done by `application` and `delivery`.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from xrouter.sandbox.kit import SandboxRequest, SandboxResponse, Simulator

FAULTS_KEPT = 100
ANY_PROVIDER = "*"

KINDS: dict[str, str] = {
    "refuse": "the connection is closed without a byte",
    "hang_before_headers": "nothing is answered (for delay_s; without it, ever)",
    "hang_mid_stream": "silence after `after` frames, or after half a body (for delay_s)",
    "cut": "closed after `after` frames without a last chunk, or after half a body",
    "reset": "RST after `after` frames, or half a body; without `after`: before a byte",
    "malformed_chunk": "frame number `after` is broken JSON; so is a body",
    "error_in_200": "status 200, and the provider's error in it",
    "unauthorized_once": "the provider's 401",
    "rate_limited": "the provider's 429, with Retry-After when retry_after is given",
    "server_error": "the provider's error of `status` (500)",
    "html_error": "a page of HTML with `status` (502), as a proxy on the way would send",
    "slow_drip": "byte by byte, delay_s (0.002) after each frame or each byte of a body",
    "early_error_frame": "the provider's error frame after `after` frames, and the end",
    "truncated_json": "half a body of the right content-length, or half a frame and the end",
    "slow_headers": "delay_s (1) before the headers, then as always",
}
INSTEAD = frozenset(
    ("unauthorized_once", "rate_limited", "server_error", "html_error", "error_in_200")
)


class Match(Struct, forbid_unknown_fields=True):
    """Which requests: `path` is a part of the path, `model` a part of the body's model field."""

    path: str | None = None
    model: str | None = None


class Fault(Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A fault in waiting. `times` counts down; None: until removed.

    after: frames sent as they are before it happens. delay_s, retry_after: seconds.
    """

    kind: str
    provider: str = ANY_PROVIDER
    times: int | None = 1
    after: int | None = None
    delay_s: float | None = None
    status: int | None = None
    retry_after: float | None = None
    match: Match = msgspec.field(default_factory=Match)

    def hits(self, provider: str, request: SandboxRequest) -> bool:
        """Whether the request of this provider is meant."""
        if self.provider not in (ANY_PROVIDER, provider):
            return False
        if self.match.path is not None and self.match.path not in request.path:
            return False
        return self.match.model is None or self.match.model in _model_of(request)


class FaultError(ValueError):
    """The fault asked for is not one. Shown to who asked; `param` is the field."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


class FaultBook:
    """The faults in waiting, in the order in which they came. A request gets at most one."""

    def __init__(self, providers: list[str]) -> None:
        self._providers = providers
        self._waiting: dict[str, Fault] = {}
        self._count = 0

    def add(self, body: bytes) -> tuple[str, Fault]:
        """Take a fault as JSON; answers its id. Raises FaultError."""
        try:
            fault = msgspec.json.decode(body, type=Fault)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise FaultError(f"Not a fault: {error}") from error
        self._check(fault)
        if len(self._waiting) >= FAULTS_KEPT:
            raise FaultError(f"There are {FAULTS_KEPT} faults already; remove some first.")
        self._count += 1
        fault_id = f"fault-{self._count}"
        self._waiting[fault_id] = fault
        return fault_id, fault

    def take(self, provider: str, request: SandboxRequest) -> Fault | None:
        """The first fault that hits this request; it is used up by one."""
        for fault_id, fault in self._waiting.items():
            if fault.hits(provider, request):
                if fault.times is not None:
                    fault.times -= 1
                    if fault.times == 0:
                        del self._waiting[fault_id]
                return fault
        return None

    def remove(self, fault_id: str) -> bool:
        """Remove one; False when there is none of this id."""
        return self._waiting.pop(fault_id, None) is not None

    def clear(self) -> None:
        """Remove all."""
        self._waiting.clear()

    def report(self) -> list[dict[str, Any]]:
        """The faults in waiting, with their ids and the times left."""
        return [described(fault_id, fault) for fault_id, fault in self._waiting.items()]

    def _check(self, fault: Fault) -> None:
        if fault.kind not in KINDS:
            known = ", ".join(KINDS)
            raise FaultError(f"Unknown kind `{fault.kind}`; known are: {known}.", "kind")
        if fault.provider != ANY_PROVIDER and fault.provider not in self._providers:
            known = ", ".join([*self._providers, ANY_PROVIDER])
            raise FaultError(
                f"Unknown provider `{fault.provider}`; known are: {known}.", "provider"
            )
        if fault.times is not None and fault.times < 1:
            raise FaultError("`times` must be at least 1, or null for ever.", "times")
        for name in ("after", "delay_s", "retry_after"):
            if (getattr(fault, name) or 0) < 0:
                raise FaultError(f"`{name}` must not be negative.", name)
        if fault.status is not None and not 200 <= fault.status <= 599:  # noqa: PLR2004 - the range of final HTTP statuses
            raise FaultError("`status` must be between 200 and 599.", "status")


def described(fault_id: str, fault: Fault) -> dict[str, Any]:
    """A fault as JSON data; `times` is always there."""
    return {"id": fault_id, **msgspec.to_builtins(fault), "times": fault.times}


def replaces(fault: Fault, request: SandboxRequest) -> bool:
    """Whether the simulator is not asked at all: an error that comes first is the whole answer."""
    if fault.kind == "early_error_frame":
        return not fault.after or not _wants_stream(request)
    return fault.kind in INSTEAD


def instead(fault: Fault, simulator: Simulator, request: SandboxRequest) -> SandboxResponse:
    """What is answered without asking the simulator."""
    if fault.kind == "html_error":
        response = _html(fault.status or 502)
    elif fault.kind in ("error_in_200", "early_error_frame"):
        response = _error_in_200(simulator, request, fault.status or 500)
    elif fault.kind == "unauthorized_once":
        response = simulator.failure(fault.status or 401)
    elif fault.kind == "rate_limited":
        response = simulator.failure(fault.status or 429)
        response.headers = _retry_headers(response.headers, fault.retry_after)
    else:
        response = simulator.failure(fault.status or 500)
        if fault.retry_after is not None:
            response.headers = _retry_headers(response.headers, fault.retry_after)
    response.delay += fault.delay_s or 0.0
    return response


def altered(fault: Fault, simulator: Simulator, response: SandboxResponse) -> SandboxResponse:
    """The simulator's response with the fault in it; faults of sending leave it as it is."""
    if fault.kind == "slow_headers":
        response.delay += 1.0 if fault.delay_s is None else fault.delay_s
    elif fault.kind == "malformed_chunk":
        _malform(response, fault.after or 0)
    elif fault.kind == "early_error_frame" and response.frames is not None:
        response.frames[fault.after :] = [simulator.error_frame()]
    elif fault.kind == "truncated_json":
        _truncate(response, fault.after or 0)
    return response


def told(fault: Fault | None, sent: int) -> int:
    """How many of the frames sent were the simulator's own, and not the fault's."""
    if fault is not None and fault.kind in ("early_error_frame", "truncated_json"):
        return min(sent, fault.after or 0)
    return sent


def _malform(response: SandboxResponse, after: int) -> None:
    if response.frames is None:
        response.body = _broken(response.body)
    elif response.frames:
        place = min(after, len(response.frames) - 1)
        response.frames[place] = _broken(response.frames[place])


def _broken(frame: bytes) -> bytes:
    """The frame with its first JSON value spoilt and its framing intact."""
    return frame.replace(b"{", b"{,", 1) if b"{" in frame else b"{" + frame


def _truncate(response: SandboxResponse, after: int) -> None:
    if response.frames is None:
        response.body = response.body[: len(response.body) // 2]
    elif response.frames:
        place = min(after, len(response.frames) - 1)
        frame = response.frames[place]
        response.frames[place:] = [frame[: len(frame) // 2]]


def _error_in_200(simulator: Simulator, request: SandboxRequest, status: int) -> SandboxResponse:
    if _wants_stream(request):
        headers = {"content-type": simulator.stream_type}
        return SandboxResponse(headers=headers, frames=[simulator.error_frame()])
    response = simulator.failure(status)
    response.status = 200
    return response


def _html(status: int) -> SandboxResponse:
    page = (
        f"<!DOCTYPE html>\n<html><head><title>{status}</title></head>"
        f"<body><h1>{status}</h1><p>The gateway on the way could not reach the service.</p>"
        "</body></html>\n"
    )
    headers = {"content-type": "text/html; charset=utf-8"}
    return SandboxResponse(status=status, headers=headers, body=page.encode())


def _retry_headers(headers: dict[str, str], seconds: float | None) -> dict[str, str]:
    kept = {name: value for name, value in headers.items() if not name.startswith("retry-after")}
    return kept if seconds is None else kept | {"retry-after": f"{seconds:g}"}


def _fields(request: SandboxRequest) -> dict[str, Any]:
    try:
        body = request.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _model_of(request: SandboxRequest) -> str:
    values = (value for name, value in _fields(request).items() if name.lower().startswith("model"))
    return next((value for value in values if isinstance(value, str)), "")


def _wants_stream(request: SandboxRequest) -> bool:
    """Whether `stream` is true in the body, or one level below."""
    body = _fields(request)
    places = [body, *(value for value in body.values() if isinstance(value, dict))]
    return any(place.get("stream") is True for place in places)
