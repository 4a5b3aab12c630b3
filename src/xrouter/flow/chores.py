"""What adapters want done now and then: uploaded files deleted, and the like."""

from __future__ import annotations

import asyncio
import time

from xrouter.domain.deadline import Deadline
from xrouter.flow.upstreams import Upstream, Upstreams
from xrouter.telemetry.logs import log

EVERY_S = 60.0
PATIENCE_S = 30.0


class Janitor:
    """Goes round the endpoints in use."""

    def __init__(self, upstreams: Upstreams, every_s: float = EVERY_S) -> None:
        self._upstreams = upstreams
        self._every_s = every_s

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(self._every_s)
            await self.round()

    async def round(self) -> None:
        """Once. What fails is logged and tried again the next time."""
        for upstream in self._upstreams.alive:
            try:
                with Deadline(PATIENCE_S):
                    await _tidy(upstream)
            except Exception as error:  # noqa: BLE001 - the next endpoint is not to blame
                endpoint = upstream.endpoint
                log.warning(
                    "chores_failed",
                    provider=endpoint.provider,
                    endpoint=endpoint.name,
                    error=str(error) or type(error).__name__,
                )


async def _tidy(upstream: Upstream) -> None:
    errand = upstream.adapter.chores(time.time())
    if errand is not None:
        await upstream.run(errand)
