"""The bounds of the door."""

from __future__ import annotations

from msgspec import Struct

from xrouter.domain.bounds import Network


class DoorLimits(Struct, frozen=True):
    """Sizes in bytes, times in seconds.

    max_body: of a request, as it came and as it inflates. body_timeout: for all of the body.
    heartbeat: silence after which an open stream gets a comment. proxies: whose word on where a
    request comes from is taken.

    From where on requests are refused for a while: max_running of them are being answered, their
    bodies have max_body_bytes_in_flight, the event loop is max_lag late. See `shed`.
    """

    max_body: int = 64 << 20
    body_timeout: float = 60.0
    heartbeat: float = 15.0
    max_running: int = 2000
    max_body_bytes_in_flight: int = 512 << 20
    max_lag: float = 0.25
    proxies: tuple[Network, ...] = ()


class GuardLimits(Struct, frozen=True):
    """What one connection may do. Sizes in bytes, times in seconds.

    head_timeout: for a whole request head, also on a fresh connection that stays silent.
    write_timeout: how long a caller may take nothing of what waits for it.
    max_head: request line and headers together; max_target: the URL alone.
    """

    head_timeout: float = 10.0
    write_timeout: float = 60.0
    max_head: int = 64 << 10
    max_target: int = 16 << 10
