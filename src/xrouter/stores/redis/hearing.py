"""What other processes say through Redis: heard at once, and only a help.

A message can be lost; who needs to know for certain looks for itself now and then.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from typing_extensions import override

from xrouter.domain.deadline import Deadline
from xrouter.domain.ports import ChangeSignal
from xrouter.stores.redis.link import PATIENT_S, Client, Link
from xrouter.telemetry.logs import log

FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 5.0
CHECK_S = 5.0
CATALOG = b"xr:catalog"

Heard = Callable[[bytes], None]


class Hearing:
    """One connection that listens to channels."""

    def __init__(self, link: Link, check_s: float = CHECK_S) -> None:
        """check_s: of silence, after which the connection is asked whether it is still there."""
        self._link = link
        self._check_s = check_s
        self._channels: dict[bytes, Heard] = {}
        self._missed: list[Callable[[], None]] = []
        self.live = False
        """Whether something said now would be heard."""

    def on(self, channel: bytes, heard: Heard, missed: Callable[[], None]) -> None:
        """heard: called with each message. missed: some may have been, the connection is new or
        gone. Both before `run`, and neither may fail.
        """
        self._channels[channel] = heard
        self._missed.append(missed)

    async def run(self) -> None:
        """Until cancelled. Failures are logged once each time it goes deaf."""
        client = self._link.client(PATIENT_S, connections=1)
        pause = FIRST_PAUSE_S
        failing = False
        try:
            while True:
                try:
                    await self._listen(client)
                except self._link.expected as error:
                    if self.live or not failing:
                        log.error("redis_not_heard", error=str(error) or type(error).__name__)
                    failing = True
                    pause = FIRST_PAUSE_S if self.live else min(pause * 2, LONGEST_PAUSE_S)
                finally:
                    was_live, self.live = self.live, False
                if was_live:
                    self._tell_missed()
                await asyncio.sleep(pause)
        finally:
            await client.aclose()

    async def _listen(self, client: Client) -> None:
        """As long as one connection lasts."""
        pubsub = client.pubsub()
        try:
            with Deadline(PATIENT_S):
                await pubsub.subscribe(*self._channels)
            asked = False
            while True:
                with Deadline(self._check_s + PATIENT_S):  # it may connect anew
                    message = await pubsub.get_message(timeout=self._check_s)
                if message is None and asked:
                    raise TimeoutError("no answer")
                asked = message is None
                if asked:
                    with Deadline(PATIENT_S):
                        await pubsub.ping()
                elif message["type"] == "subscribe" and not self.live:
                    self.live = True
                    self._tell_missed()
                elif message["type"] == "message":
                    self._channels[message["channel"]](message["data"])
        finally:
            await pubsub.aclose()

    def _tell_missed(self) -> None:
        for missed in self._missed:
            missed()


class RedisSignal(ChangeSignal):
    """That the catalog has changed."""

    def __init__(self, link: Link, hearing: Hearing) -> None:
        self._link = link
        self._hearing = hearing
        self._mine = os.urandom(8)

    @property
    @override
    def live(self) -> bool:
        return self._hearing.live

    @override
    def tell(self) -> None:
        self._link.later(self._tell())

    @override
    def listen(self, changed: Callable[[], None]) -> None:
        def heard(by: bytes) -> None:
            if by != self._mine:
                changed()

        self._hearing.on(CATALOG, heard, changed)

    async def _tell(self) -> None:
        await self._link.call(lambda redis: redis.publish(CATALOG, self._mine), within=PATIENT_S)
