"""The sandbox beside the server: started when no provider is configured, so that the first curl
works on a bare machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from xrouter.domain.errors import InternalError

FILE = "sandbox.json"
OFF = "off"
START_LIMIT_S = 20.0
STOP_LIMIT_S = 5.0


class Playground:
    """A sandbox in a process of its own, which ends when we do, however that comes about.

    environment: what makes its providers known.
    """

    def __init__(self, process: asyncio.subprocess.Process, environment: dict[str, str]) -> None:
        self._process = process
        self.environment = environment

    @classmethod
    async def start(cls) -> Playground:
        """Start one on a free port. Raises InternalError when it does not come up."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "xrouter.sandbox",
            "--port",
            "0",
            "--leashed",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        assert process.stdout is not None  # noqa: S101 - a pipe was asked for
        try:
            async with asyncio.timeout(START_LIMIT_S):
                line = await process.stdout.readline()
            said = json.loads(line)
        except (TimeoutError, ValueError):
            process.kill()
            await process.wait()
            raise InternalError("The sandbox did not start.") from None
        return cls(process, said["environment"])

    async def stop(self) -> None:
        """End it."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_LIMIT_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


def remembered(data_dir: Path) -> dict[str, str]:
    """The providers that an earlier start pointed at a sandbox, each with its address there."""
    return {name: url for name, url in _read(data_dir).items() if isinstance(url, str)}


def switched_off(data_dir: Path) -> set[str]:
    """Those of them that were switched off when the sandbox went, for something leads there."""
    found = _read(data_dir).get(OFF)
    return set(found) if isinstance(found, list) else set()


def remember(data_dir: Path, providers: Mapping[str, str], off: Collection[str] = ()) -> None:
    """Note which providers point at the sandbox, and where. off: those that we switched off."""
    noted: dict[str, Any] = {**providers, OFF: sorted(off)} if off else {**providers}
    (data_dir / FILE).write_text(json.dumps(noted), encoding="utf-8")


def _read(data_dir: Path) -> dict[str, Any]:
    try:
        found = json.loads((data_dir / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
