"""A post that is always filled: a child, and its successor when it dies, hangs, or is to be
replaced.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Sequence

import msgspec
from msgspec import Struct

from xrouter.app.workers.leash import GO, STOP, WHERE, Role, Task, Word
from xrouter.domain.errors import OperatorError
from xrouter.telemetry.logs import log

START_S = 120.0
SETTLED_S = 30.0
"""One that lived so long is replaced at once when it dies; others ever later."""
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 30.0
LOOK_S = 1.0
SPEAK_S = 1.0
"""For one that hangs to write down where, before it is killed."""
CALM_S = 3600.0
"""Whoever has lived so long had nothing to do with the one before it that hung."""
LONGEST_HANG_S = 3600.0
_BYTES = 1 << 16


class Plan(Struct, frozen=True):
    """What all children are told. hang_s: how long one may hang before it is killed, 0 for ever."""

    folder: str
    control: str
    workers: int
    sockets: list[int]
    url: str
    hang_s: float = 0.0


class Child:
    """One process, from its start to its end."""

    def __init__(self, process: Process, name: str) -> None:
        self.name = name
        self.pid = process.pid
        self.word: Word | None = None
        self._began = time.monotonic()
        self._process = process
        self._beats = 0
        self._said = asyncio.Event()
        self._hearing = asyncio.create_task(self._hear())
        self.over = asyncio.create_task(self._watch())

    @property
    def code(self) -> int | None:
        """Its exit code, None while it lives; that of a signal is negative."""
        return self._process.returncode

    @classmethod
    async def start(cls, task: Task, sockets: Sequence[int]) -> Child:
        """Raises OSError."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-P", "-m", "xrouter.app.workers.child"),
            msgspec.json.encode(task).decode(),
            stdin=PIPE,
            stdout=PIPE,
            pass_fds=sockets,
            start_new_session=True,
        )
        return cls(process, task.name)

    async def ready(self) -> str:
        """What it has to say when it is. Raises OperatorError when it fails instead."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_S):
                await self._said.wait()
        word = self.word
        if word is None or not word.ready:
            await self.kill()
            message = word.message if word is not None else f"{self.name} did not start."
            raise OperatorError(message, hint=word.hint if word is not None else None)
        return word.text

    def order(self, what: str) -> None:
        """Say it, if it is still there."""
        stdin = self._process.stdin
        if stdin is not None and not stdin.is_closing():
            stdin.write(what.encode() + b"\n")

    async def end(self, seconds: float) -> None:
        """Tell it to stop and wait; in the end it is killed."""
        self.order(STOP)
        await self.gone(seconds)

    async def gone(self, seconds: float) -> None:
        """Wait for its end, which comes at last."""
        await asyncio.wait((self.over,), timeout=seconds)
        if not self.over.done():
            log.error("process_killed", process=self.name, pid=self.pid, reason="it did not end")
            await self.kill()

    async def hangs(self, patience: Callable[[], float]) -> float:
        """Until it has not been heard for so many seconds; our own sleep is not counted.

        Returns for how many.
        """
        heard, silent = self._beats, 0.0
        while silent < patience():
            await asyncio.sleep(LOOK_S)
            silent += LOOK_S
            if self._beats != heard:
                heard, silent = self._beats, 0.0
        return silent

    async def explain(self) -> None:
        """Let it write to the log where it hangs, if it still can; that may end it."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(WHERE)
        await asyncio.wait((self.over,), timeout=SPEAK_S)

    async def kill(self) -> None:
        """At once."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self.over

    async def _hear(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - a pipe was asked for
        line = b"\n"
        while line == b"\n":
            line = await self._process.stdout.readline()
        with contextlib.suppress(msgspec.MsgspecError):
            self.word = msgspec.json.decode(line, type=Word)
        self._said.set()
        while await self._process.stdout.read(_BYTES):
            self._beats += 1

    async def _watch(self) -> float:
        """How long it lived, in seconds."""
        await self._process.wait()
        return time.monotonic() - self._began


class Post:
    """ended: told role, number and name of each process that is gone. restarts: of dead ones,
    hangs: of those that were killed as they hung.
    """

    def __init__(
        self, role: Role, number: int, plan: Plan, ended: Callable[[Role, int, str], None]
    ) -> None:
        self._role = role
        self._number = number
        self._plan = plan
        self._ended = ended
        self._starts = 0
        self._changing = asyncio.Lock()
        self._started: list[Child] = []
        self.child: Child | None = None
        self.restarts = 0
        self.hangs = 0
        self._hang_s = plan.hang_s

    def living(self) -> list[Child]:
        """The one that is there, and one that comes or goes."""
        self._started = [child for child in self._started if not child.over.done()]
        return self._started

    async def begin(self) -> Child:
        """Start the first one; it waits for `GO`. Raises OSError."""
        self.child = await self._start()
        return self.child

    async def keep(self) -> None:
        """Until cancelled: whenever it dies or hangs, start another."""
        wait_s = 0.0
        while self.child is not None:
            child = self.child
            watching = asyncio.create_task(self._watch(child))
            try:
                lived = await asyncio.shield(child.over)
            finally:
                watching.cancel()
            async with self._changing:
                if self.child is not child:  # it was replaced
                    continue
                wait_s = 0.0 if lived > SETTLED_S else _longer(wait_s)
                log.error("process_died", process=child.name, pid=child.pid, code=child.code)
                self.restarts += 1
                self._tell_ended(child)
                while not await self._again(wait_s):
                    wait_s = _longer(wait_s)

    async def replace(self, seconds: float) -> bool:
        """Let another take over. A worker goes when the new one is there.

        seconds: that the old one has for its end. Says whether that was done.
        """
        async with self._changing:
            old = self.child
            if old is None:
                return False
            if self._role == "control":  # there must never be two
                await old.end(seconds)
                return await self._succeed()  # else `keep` tries again
            done = await self._succeed()
            if done:
                await old.end(seconds)
                self._tell_ended(old)
            return done

    async def _watch(self, child: Child) -> None:
        """Kill it when it hangs. Those that follow one another do so ever later."""
        first_s = self._plan.hang_s
        if not first_s:
            return
        began = time.monotonic()
        silent_s = await child.hangs(
            lambda: self._hang_s if time.monotonic() - began < CALM_S else first_s
        )
        log.error("process_hangs", process=child.name, pid=child.pid, silent_s=silent_s)
        self.hangs += 1
        self._hang_s = max(first_s, min(2 * silent_s, LONGEST_HANG_S))
        await child.explain()
        await child.kill()

    def _tell_ended(self, child: Child) -> None:
        self._ended(self._role, self._number, child.name)

    async def _again(self, wait_s: float) -> bool:
        await asyncio.sleep(wait_s)
        return await self._succeed()

    async def _succeed(self) -> bool:
        """Put a new one there, if that is possible."""
        try:
            child = await self._start()
            child.order(GO)
            await child.ready()
        except (OperatorError, OSError) as error:
            log.error("process_not_started", process=self._role, error=str(error))
            return False
        self.child = child
        log.info("process_started", process=child.name, pid=child.pid)
        return True

    async def _start(self) -> Child:
        self._starts += 1
        plan, role = self._plan, self._role
        task = Task(
            role=role,
            number=self._number,
            name=f"{role}-{self._number}-{self._starts}",
            folder=plan.folder,
            control=plan.control,
            workers=plan.workers,
            sockets=plan.sockets if role == "worker" else [],
            url=plan.url,
            first=self._starts == 1,
        )
        child = await Child.start(task, task.sockets)
        self._started = [*self.living(), child]
        return child


def _longer(wait_s: float) -> float:
    return min(LONGEST_WAIT_S, max(FIRST_WAIT_S, 2 * wait_s))
