"""A worker as the supervisor starts it: a process of its own that follows its leash."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path

import msgspec

from xrouter.app.sockets import listen
from xrouter.app.workers.leash import WHERE, Task

PATIENCE_S = 60.0


class Child:
    def __init__(self, folder: Path, **settings: str) -> None:
        (listener,) = listen("127.0.0.1", 0)
        self.port = listener.getsockname()[1]
        task = Task(
            role="worker",
            number=1,
            name="worker-1-1",
            folder=str(folder),
            control=str(folder / "control.sock"),
            workers=1,
            sockets=[listener.fileno()],
            url="",
            first=True,
        )
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "xrouter.app.workers.child"),
                msgspec.json.encode(task).decode(),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=task.sockets,
            env={"XROUTER_DATA_DIR": str(folder / "var")} | settings,
            start_new_session=True,
        )
        listener.close()

    def order(self, what: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(what.encode() + b"\n")
        self.process.stdin.flush()

    def word(self) -> dict[str, object]:
        assert self.process.stdout is not None
        found: dict[str, object] = json.loads(self.line())
        return found

    def line(self) -> str:
        """What it says next, but for its heart."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line != b"\n":
                return line.decode()
        return ""

    def beat(self) -> None:
        """Wait for the next."""
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"\n"

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()


def test_it_begins_when_it_is_told_to_and_ends_with_its_supervisor(tmp_path: Path) -> None:
    child = Child(tmp_path)
    try:
        child.order("go")
        assert child.word() == {"ready": True}
        connection = HTTPConnection("127.0.0.1", child.port, timeout=PATIENCE_S)
        connection.request("GET", "/health/live")
        assert connection.getresponse().read() == b'{"status":"live"}'
        connection.request("GET", "/control/v1/providers")
        assert connection.getresponse().status == 503
        connection.close()
        assert child.process.stdin is not None
        child.process.stdin.close()
        assert child.process.wait(PATIENCE_S) == 0
        assert "xrouter_requests_running" in (tmp_path / "worker-1-1.metrics").read_text()
    finally:
        child.close()


def test_what_is_wrong_is_told(tmp_path: Path) -> None:
    child = Child(tmp_path, XROUTER_MAX_LAG="nonsense")
    try:
        said = child.word()
        assert not said["ready"]
        assert "XROUTER_MAX_LAG" in str(said["message"])
        assert child.process.wait(PATIENCE_S) == 1
    finally:
        child.close()


def test_a_signal_to_one_worker_drains_it(tmp_path: Path) -> None:
    child = Child(tmp_path)
    try:
        child.order("go")
        assert child.word()["ready"]
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGTERM):
            child.process.send_signal(number)
        assert child.process.wait(PATIENCE_S) == 0
    finally:
        child.close()


def test_it_beats_and_says_where_it_is(tmp_path: Path) -> None:
    """It goes on afterwards; that it was asked is no harm."""
    child = Child(tmp_path)
    try:
        child.order("go")
        assert child.word()["ready"]
        child.beat()
        child.process.send_signal(WHERE)
        assert child.process.stderr is not None
        said = b""
        while b"child.py" not in said:
            line = child.process.stderr.readline()
            assert line, said
            said += line
        child.beat()
        child.beat()
    finally:
        child.close()
