"""The providers' own lists of models: asked for at the start, without holding it up."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from xrouter.app import registration
from xrouter.app.control import ControlPlane
from xrouter.domain.errors import XRouterError
from xrouter.telemetry.logs import log

PATIENCE_S = 2.0
FIRST_WAIT_S = 5.0
LONGEST_WAIT_S = 300.0

Spawn = Callable[[Coroutine[Any, Any, None]], None]


async def begin(plane: ControlPlane, names: Iterable[str], spawn: Spawn) -> None:
    """Begin to read the lists of these providers; come back when all are read, or soon.

    spawn: starts a task. A provider without any model is asked again and again: it may be a server
    that is still loading its only one.
    """
    asked = {name: asyncio.Event() for name in names}
    for name, once in asked.items():
        spawn(_follow(plane, name, once))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_S):
            for once in asked.values():
                await once.wait()


async def _follow(plane: ControlPlane, name: str, once: asyncio.Event) -> None:
    wait_s, told = FIRST_WAIT_S, False
    while True:
        try:
            if await _read(plane, name, tell=not told) or await registration.has_models(
                plane, name
            ):
                return
        except XRouterError as error:
            log.error("live_list_not_stored", provider=name, error=error.message)
        finally:
            once.set()
        told = True
        await asyncio.sleep(wait_s)
        wait_s = min(2 * wait_s, LONGEST_WAIT_S)


async def _read(plane: ControlPlane, name: str, *, tell: bool) -> bool:
    body = {"provider": name, "live": True}
    done = await registration.request(plane, "POST", "/models/sync", body)
    if done is None:  # the provider was removed meanwhile
        return True
    for failure in done["failed"]:
        if tell:
            log.warning("live_list_not_read", provider=name, error=failure["error"])
    return not done["failed"]
