"""Processes of the program that are born with its modules already loaded.

Most of a start is the loading of modules. The nursery is a process that has loaded them and has
done nothing else; it forks, and what it forks becomes `xrouter` with the arguments, environment,
folder and files that were asked for: a process of its own in all else, with a session of its own.
Each has a keeper, its parent, which tells us how it ended.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import IO

import xrouter

ROOT = Path(__file__).parents[2]
_BYTES = 1 << 17


class Born:
    """A process of the nursery: of `subprocess.Popen` what tests use."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self.returncode: int | None = None
        self.pid = int(line.recv(_BYTES))

    def poll(self) -> int | None:
        return self._look(0.0)

    def wait(self, timeout: float | None = None) -> int:
        code = self._look(timeout)
        if code is None:
            raise subprocess.TimeoutExpired("xrouter", timeout or 0.0)
        return code

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _look(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._line], [], [], timeout)[0]:
            self.returncode = int(self._line.recv(_BYTES))
            self._line.close()
        return self.returncode


class Nursery:
    """The process that forks, as we see it. It ends with us."""

    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno())],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    def born(
        self,
        arguments: Sequence[str],
        env: Mapping[str, str],
        cwd: Path,
        out: IO[bytes],
        err: IO[bytes],
    ) -> Born:
        """A new process; it reads nothing."""
        request = json.dumps([list(arguments), dict(env), str(cwd)]).encode()
        line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, Path(os.devnull).open("rb") as nothing:
            files = [nothing.fileno(), out.fileno(), err.fileno(), theirs.fileno()]
            socket.send_fds(self._channel, [request], files)
        return Born(line)

    def run(
        self, arguments: Sequence[str], env: Mapping[str, str], cwd: Path, timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """A process and its end."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            process = self.born(arguments, env, cwd, out, err)
            try:
                code = process.wait(timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise
            said = [_text(file) for file in (out, err)]
        return subprocess.CompletedProcess(list(arguments), code, *said)

    def close(self) -> None:
        self._channel.close()
        self._process.wait()


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


@cache
def nursery() -> Nursery | None:
    """The one of this test process; None where there cannot be one."""
    if sys.platform != "linux" or "COVERAGE_PROCESS_START" in os.environ:
        return None
    made = Nursery()
    atexit.register(made.close)
    return made


def _load() -> None:
    """All there is of the program, and what it would load at its first steps."""
    for module in walk_packages(xrouter.__path__, "xrouter."):
        if not module.name.endswith("__main__") and ".migrations" not in module.name:
            import_module(module.name)
    for name in ("sqlite.aiosqlite", "postgresql.asyncpg"):
        import_module(f"sqlalchemy.dialects.{name}")


def main(channel: socket.socket) -> None:
    """Fork for each request, until nobody can ask any more.

    What is loaded is never collected: neither now nor, copied page by page, at a child's end.
    """
    _load()
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        request, files, _, _ = socket.recv_fds(channel, _BYTES, 4)
        if not request:
            return
        if os.fork() == 0:
            channel.close()
            _keep(request, files)
        for file in files:
            os.close(file)


def _keep(request: bytes, files: list[int]) -> None:
    """Have the child, and tell its id and how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    *streams, line = files
    child = os.fork()
    if child == 0:
        os.close(line)
        _become(request, streams)
    for stream in streams:
        os.close(stream)
    os.write(line, str(child).encode())
    _, status = os.waitpid(child, 0)
    os.write(line, str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def _become(request: bytes, streams: list[int]) -> None:
    """Be the program. It ends as the program ends."""
    arguments, env, cwd = json.loads(request)
    os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    tempfile.tempdir = None
    time.tzset()
    sys.argv = ["xrouter", *arguments]
    import_module("xrouter.cli.main").app()
    raise AssertionError("the program ends itself")


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
