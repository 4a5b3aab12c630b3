"""Who answers at an address: the questions are the adapters', the sending is ours."""

from __future__ import annotations

from xrouter.domain.errors import XRouterError
from xrouter.providers.factory import Identified, Questions
from xrouter.wire.client import Client
from xrouter.wire.types import Route, WireReply

TIMEOUT_S = 5.0


async def identify(questions: Questions, client: Client, route: Route) -> Identified:
    """Ask until it is known. Raises InvalidRequest when it is nobody known, or UpstreamError."""
    heard: WireReply | XRouterError | None = None
    try:
        while True:
            try:
                wire = next(questions) if heard is None else questions.send(heard)
            except StopIteration as stop:
                found: Identified = stop.value
                return found
            try:
                heard = await client.fetch(wire, route, timeout=TIMEOUT_S)
            except XRouterError as error:
                heard = error
    finally:
        questions.close()
