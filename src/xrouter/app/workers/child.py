"""python -m xrouter.app.workers.child: one of several processes; the supervisor starts it."""

from __future__ import annotations

import asyncio
import faulthandler
import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import msgspec
import uvloop

from xrouter.app.workers.leash import WHERE, Leash, Task, Word, beat, shared_stderr, tell
from xrouter.app.workers.worker import Worker
from xrouter.domain.errors import XRouterError
from xrouter.settings import Settings, SettingsError, load, provider_environment
from xrouter.telemetry import logs


def main() -> None:
    """Be what the only argument says. Failures are told to the supervisor.

    When to end is the supervisor's word, also where all processes of a group are signalled.
    """
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    faulthandler.register(WHERE, all_threads=True)
    task = msgspec.json.decode(sys.argv[1], type=Task)
    try:
        settings = load()
    except SettingsError as error:
        _fail("The settings are wrong:\n" + str(error))
    writer = logs.LineWriter(shared_stderr(Path(task.folder)))
    logs.configure(writer, settings.log_level)
    writer.start()
    try:
        uvloop.run(_run(settings, task, writer))
    except XRouterError as error:
        _fail(error.message, error.hint)
    except OSError as error:
        _fail(f"The data folder {settings.data_dir} cannot be used: {error}")
    finally:
        writer.stop()


def _fail(message: str, hint: str | None = None) -> NoReturn:
    tell(Word(ready=False, message=message, hint=hint))
    sys.exit(1)


async def _run(settings: Settings, task: Task, writer: logs.LineWriter) -> None:
    leash = Leash()
    beside = [asyncio.create_task(work) for work in (leash.run(), beat())]
    try:
        if task.role == "worker":
            await Worker(settings, task, writer, leash).run()
        else:
            await _head(settings, task, writer, leash)
    finally:
        for each in beside:
            each.cancel()
        await asyncio.gather(*beside, return_exceptions=True)


async def _head(settings: Settings, task: Task, writer: logs.LineWriter, leash: Leash) -> None:
    """A worker does not load the control plane, which takes a second."""
    module = import_module("xrouter.app.workers.head")
    await module.Head(settings, provider_environment(), writer, task, leash).run()


if __name__ == "__main__":
    main()
