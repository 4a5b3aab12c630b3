"""Everything that a process shares with others through Redis, joined from its parts."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from xrouter.domain.secret import Secret
from xrouter.stores.redis.answers import RedisAnswers
from xrouter.stores.redis.hearing import Hearing, RedisSignal
from xrouter.stores.redis.lanes import RedisLanes
from xrouter.stores.redis.link import Link
from xrouter.stores.redis.tries import RedisTries
from xrouter.stores.vault import Vault


class SharedState:
    """Of one process. Nothing needs Redis to be there, not even the start."""

    def __init__(self, url: Secret, vault: Vault) -> None:
        """Raises OperatorError, see Link."""
        self.link = Link(url)
        self._hearing = Hearing(self.link)
        self.answers = RedisAnswers(self.link, vault)
        self.lanes = RedisLanes(self.link, self._hearing)
        self.tries = RedisTries(self.link, vault.mac)
        self.signal = RedisSignal(self.link, self._hearing)

    def jobs(self) -> list[Coroutine[Any, Any, None]]:
        """What is done in the background, each until cancelled. `signal.listen` before."""
        return [self._hearing.run(), self.lanes.run()]

    async def close(self) -> None:
        """Give back what is held by nobody any more, close the connections."""
        await self.link.close()
