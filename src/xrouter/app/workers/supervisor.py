"""The supervisor: holds the port and the data folder, and sees to it that the others are there.

It answers nothing itself. It ends when it is told to, after all others.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
import signal
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from xrouter.app.presence import ServerLock, url_of
from xrouter.app.sockets import listen
from xrouter.app.workers.leash import CONTROL_SOCKET, GO, HURRY, Role
from xrouter.app.workers.posts import Child, Plan, Post
from xrouter.app.workers.spread import ABSENT, Spread
from xrouter.app.workers.tallies import Tallies
from xrouter.app.workers.worker import LINGER_S
from xrouter.domain.errors import OperatorError
from xrouter.settings import Settings, SettingsError, load
from xrouter.telemetry.logs import log

NAME = "supervisor"
FOLDER = "workers"
LONGEST_SOCKET = 100
CUT_S = 10.0
"""For a worker to go when its grace is over."""
CONTROL_S = 60.0
"""For the control process to store what the journal holds."""

_COUNTS = """# HELP xrouter_workers Worker processes that there should be
# TYPE xrouter_workers gauge
xrouter_workers {workers}
# HELP xrouter_process_restarts_total Processes that died and were started again
# TYPE xrouter_process_restarts_total counter
xrouter_process_restarts_total {restarts}
# HELP xrouter_process_hangs_total Processes that hung and were killed
# TYPE xrouter_process_hangs_total counter
xrouter_process_hangs_total {hangs}
"""
_ALONE = """
{workers} workers without Redis (XROUTER_REDIS_URL): each grants its part of every limit and budget,
1/{workers}, sends as many calls at a time as an account takes, and keeps answers for itself.
"""


class Supervisor:
    """workers: how many. say: prints what newcomers should read."""

    def __init__(self, settings: Settings, workers: int, say: Callable[[str], None]) -> None:
        """Raises AlreadyRunning, OperatorError when the address cannot be listened on."""
        self._is_alone = settings.redis is None
        self._patience = settings.grace + LINGER_S + CUT_S
        self._say = say
        self._lock = ServerLock(settings.data_dir)
        try:
            self._sockets = listen(settings.host, settings.port)
        except OperatorError:
            self._lock.release()
            raise
        host, port, *_ = self._sockets[0].getsockname()
        self._url = url_of(host, port)
        self._folder = _folder(settings.data_dir)
        self._sockets_folder = _near(self._folder)
        self._tallies = Tallies(self._folder)
        self._spread = Spread(self._folder, workers)
        for number in range(workers):
            self._spread.note(number + 1, ABSENT)
        numbers = [each.fileno() for each in self._sockets]
        control = str(self._sockets_folder / CONTROL_SOCKET)
        hang_s = settings.hang_timeout
        plan = Plan(str(self._folder), control, workers, numbers, self._url, hang_s)
        self._control = Post("control", 1, plan, self._ended)
        self._posts = [Post("worker", n + 1, plan, self._ended) for n in range(workers)]
        self._all = [self._control, *self._posts]
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._rolling: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT. Raises OperatorError when a process does not start."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGHUP, self._roll)
        try:
            if await self._first(self._start()):
                self._tasks += [asyncio.create_task(post.keep()) for post in self._all]
                await self._stopping.wait()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._end()
            for each in self._sockets:
                each.close()
            for folder in (self._folder, self._sockets_folder):
                shutil.rmtree(folder, ignore_errors=True)
            self._lock.release()

    async def _first(self, work: Coroutine[Any, Any, None]) -> bool:
        """Do it, unless it is to stop before that."""
        working = asyncio.create_task(work)
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not working.done():
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
            return False
        await working
        return True

    async def _start(self) -> None:
        """All load at the same time; workers begin when there is something to serve."""
        self._count()
        head, *workers = [await post.begin() for post in self._all]
        text = await head.ready()
        for worker in workers:
            worker.order(GO)
        for worker in workers:
            await worker.ready()
        self._lock.announce(self._url)
        if self._is_alone:
            log.warning("limits_are_shared_out", workers=len(self._posts))
            text += _ALONE.format(workers=len(self._posts))
        self._say(text)
        log.info("workers_started", workers=len(self._posts))

    def _stop(self) -> None:
        if self._stopping.is_set():
            for child in self._living(self._posts):
                child.order(HURRY)
        self._stopping.set()

    async def _end(self) -> None:
        """Workers first: the control process stores what they leave."""
        for posts, seconds in ((self._posts, self._patience), ([self._control], CONTROL_S)):
            await asyncio.gather(*(child.end(seconds) for child in self._living(posts)))

    def _living(self, posts: Sequence[Post]) -> list[Child]:
        return [child for post in posts for child in post.living()]

    def _roll(self) -> None:
        if self._rolling is not None and not self._rolling.done():
            return
        try:
            load()
        except SettingsError as error:
            log.error("rolling_restart_given_up", reason=str(error))
            return
        self._tasks = [task for task in self._tasks if not task.done()]
        self._rolling = asyncio.create_task(self._replace_all())
        self._tasks.append(self._rolling)

    async def _replace_all(self) -> None:
        """One after the other, the control process first: it may have to change the tables."""
        log.info("rolling_restart_begun", workers=len(self._posts))
        for post, seconds in (
            (self._control, CONTROL_S),
            *((post, self._patience) for post in self._posts),
        ):
            if not await post.replace(seconds):
                log.error("rolling_restart_given_up", reason="a process does not start")
                return
        log.info("rolling_restart_done", workers=len(self._posts))

    def _ended(self, role: Role, number: int, name: str) -> None:
        if role == "worker":
            self._spread.note(number, ABSENT)  # a successor says otherwise
        try:
            self._tallies.retire(name)
            self._count()
        except OSError as error:
            log.error("metrics_not_written", error=str(error))

    def _count(self) -> None:
        restarts = sum(post.restarts for post in self._all)
        hangs = sum(post.hangs for post in self._all)
        text = _COUNTS.format(workers=len(self._posts), restarts=restarts, hangs=hangs)
        self._tallies.write(NAME, text)


def _folder(data_dir: Path) -> Path:
    """Where the processes meet; what an earlier supervisor has left is removed."""
    all_of_them = data_dir / FOLDER
    shutil.rmtree(all_of_them, ignore_errors=True)
    found = all_of_them / secrets.token_hex(4)
    found.mkdir(mode=0o700, parents=True)
    return found


def _near(folder: Path) -> Path:
    """The folder, or another where the name of a socket is not too long."""
    if len(str(folder.resolve() / CONTROL_SOCKET)) <= LONGEST_SOCKET:
        return folder.resolve()
    return Path(tempfile.mkdtemp(prefix="xrouter-"))
