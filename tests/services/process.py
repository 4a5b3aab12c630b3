"""Starting and stopping real services for tests."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

START_S = 30.0
STOP_S = 20.0


class Service:
    """One server process with a folder of its own under the temporary directory.

    Its end is tied to ours: when the tests are killed, the kernel stops it.
    """

    def __init__(self, name: str, user: str | None = None) -> None:
        self.name = name
        self.host = "127.0.0.1"
        self.port = 0
        self.folder = Path(tempfile.mkdtemp(prefix=f"xrouter-{name}-"))
        self._user = user
        self._process: subprocess.Popen[bytes] | None = None
        if user is not None:
            shutil.chown(self.folder, user)

    def command(self, *arguments: str | Path) -> list[str]:
        """The arguments as the service's user, stopped with us."""
        words = [str(a) for a in arguments]
        if shutil.which("setpriv") is None:
            assert self._user is None, f"{self.name} does not run as root: setpriv is needed"
            return words
        become = ["setpriv", "--pdeathsig", "INT"]
        if self._user is not None:
            become += [f"--reuid={self._user}", f"--regid={self._user}", "--clear-groups"]
        return become + words

    def run(self, *arguments: str | Path) -> None:
        """Run a tool of the service to its end."""
        done = subprocess.run(
            self.command(*arguments), cwd=self.folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{arguments[0]}: {done.stdout}{done.stderr}"

    def start(
        self, arguments: Callable[[int], Sequence[str | Path]], ready: Callable[[], bool]
    ) -> None:
        """Start on the port it had, else on a free one (another if that is taken meanwhile)."""
        for _ in range(3):
            self.port = self.port or free_port()
            with (self.folder / "log").open("ab") as log:
                self._process = subprocess.Popen(
                    self.command(*arguments(self.port)), cwd=self.folder, stdout=log, stderr=log
                )
            if self._wait(ready):
                return
            self.stop()
            self.port = 0
        raise AssertionError(f"{self.name} did not start:\n{(self.folder / 'log').read_text()}")

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop the process; it can be started again."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def remove(self) -> None:
        """Stop and leave nothing behind."""
        self.stop()
        shutil.rmtree(self.folder)

    def _wait(self, ready: Callable[[], bool]) -> bool:
        assert self._process is not None
        give_up = time.monotonic() + START_S
        while time.monotonic() < give_up:
            if self._process.poll() is not None:
                return False
            if ready():
                return True
            time.sleep(0.02)
        return False


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


def service_user(name: str) -> str | None:
    """The user for servers that refuse to run as root; None when we are not root ourselves."""
    return name if os.geteuid() == 0 else None
