"""Settings, as the parts of the data plane take them."""

from __future__ import annotations

from xrouter.app.gateway import GatewayConfig
from xrouter.edge.limits import DoorLimits
from xrouter.settings import Settings


def gateway_config(settings: Settings) -> GatewayConfig:
    """What the data plane works with."""
    return GatewayConfig(
        settings.data_dir,
        access_log=settings.access_log,
        journal_max_bytes=settings.journal_max_bytes,
        public_status=settings.public_status,
        redis_url=settings.redis,
    )


def door_limits(settings: Settings) -> DoorLimits:
    """The bounds of the door."""
    return DoorLimits(
        max_body=settings.max_body,
        body_timeout=settings.body_timeout,
        max_running=settings.max_running,
        max_body_bytes_in_flight=settings.max_bodies,
        max_lag=settings.max_lag,
        proxies=settings.proxies,
    )
