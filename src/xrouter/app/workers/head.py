"""The control process: the control plane behind a local socket, with no port of its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path

from xrouter.app.allinone import Planes
from xrouter.app.workers.leash import Leash, Task, Word, tell
from xrouter.app.workers.link import Host
from xrouter.app.workers.tallies import Tallies, Teller
from xrouter.app.workers.worker import OPENAPI
from xrouter.settings import Settings
from xrouter.telemetry.logs import LineWriter

LEAVE_S = 5.0


class Head(Planes):
    """`run` it once."""

    def __init__(
        self,
        settings: Settings,
        environ: Mapping[str, str],
        writer: LineWriter,
        task: Task,
        leash: Leash,
    ) -> None:
        """Raises VaultError, DatabaseError."""
        self._said: list[str] = []
        super().__init__(settings, environ, writer, self._said.append, answers=False)
        folder = Path(task.folder)
        self._folder = folder
        self._task = task
        self._leash = leash
        self._host = Host(self._control.serve)
        self._teller = Teller(Tallies(folder), task.name, self._data.meters.render)

    async def run(self) -> None:
        """Serve until told to stop. Raises XRouterError when it cannot start."""
        async with self.life():
            self._spawn(self._teller.run())
            document = json.dumps(self._control.app.openapi()).encode()
            await asyncio.to_thread((self._folder / OPENAPI).write_bytes, document)
            await self._host.start(Path(self._task.control))
            if self._task.first:
                await self.greet(self._task.url)
            tell(Word(ready=True, text="\n".join(self._said)))
            await self._leash.stopping.wait()
            self._control.events.close()
            await self._host.stop(LEAVE_S)
        await asyncio.to_thread(self._teller.write)
