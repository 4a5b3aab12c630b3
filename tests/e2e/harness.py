"""The real program in a process of its own, with a data folder of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import psutil
from msgspec import Struct
from tests.e2e.nursery import Born, nursery
from tests.services.process import free_port

PATIENCE = 60.0
"""Seconds that bound a wait for something that must come, on a machine that has much to do."""

LOOK_S = 0.5
"""What one look takes of the patience at most: while the machine stands still, nobody is late."""

XROUTER = (sys.executable, "-m", "xrouter.cli.main")
PATIENT = {"XROUTER_MAX_LAG": "60"}
"""Of a server that refuses nobody because the machine of the tests is slow."""

_KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "PYTHONPATH", "COVERAGE_PROCESS_START")
_URL = re.compile(r"answers at (http://\S+?)/v1")
_KEY = re.compile(r"sk-xr-[\w-]+")


def environment(**more: str) -> dict[str, str]:
    """Ours, without what would configure a router."""
    return {name: os.environ[name] for name in _KEPT if name in os.environ} | more


def until(true: Callable[[], bool], what: str, patience: float = PATIENCE) -> float:
    """Wait for a condition; how much of the patience it took.

    patience: seconds of a machine that looks as often as it should.
    """
    took, ends_at = 0.0, time.monotonic() + max(patience, PATIENCE)
    while True:
        began = time.monotonic()
        if true():
            return took
        assert took < patience, f"not soon enough: {what}"
        assert began < ends_at, f"never came true: {what}"
        time.sleep(0.02)
        took += min(LOOK_S, time.monotonic() - began)


class Answer(Struct):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> Any:
        """The error object of OpenAI's envelope."""
        return self.json["error"]


class Site:
    """An HTTP address to be asked."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._host, _, port = urlsplit(url).netloc.rpartition(":")
        self._port = int(port)

    def ask(self, method: str, path: str, body: Any = None, key: str | None = None) -> Answer:
        with self.open(method, path, body, key) as reply:
            headers = {name.lower(): value for name, value in reply.getheaders()}
            return Answer(reply.status, headers, reply.read())

    @contextmanager
    def open(
        self, method: str, path: str, body: Any = None, key: str | None = None
    ) -> Iterator[HTTPResponse]:
        """The answer from its headers on."""
        connection = self.send_only(method, path, body, key)
        try:
            yield connection.getresponse()
        finally:
            connection.close()

    def send_only(
        self, method: str, path: str, body: Any = None, key: str | None = None
    ) -> HTTPConnection:
        """Ask, and leave it to the caller to listen or to close."""
        headers = {"content-type": "application/json"}
        if key is not None:
            headers["authorization"] = f"Bearer {key}"
        data = None if body is None else json.dumps(body).encode()
        connection = HTTPConnection(self._host, self._port, timeout=PATIENCE)
        connection.request(method, path, data, headers)
        return connection


class SandboxProcess(Site):
    """A sandbox of the tests' own, which outlives the servers, and never us."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "xrouter.sandbox", "--port", "0", "--leashed"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(),
            start_new_session=True,
        )
        assert self._process.stdout is not None
        said = json.loads(self._process.stdout.readline())
        self.environment: dict[str, str] = said["environment"]
        super().__init__(said["url"])

    def fault(self, kind: str, **fields: Any) -> None:
        fault = {"kind": kind, "match": {"path": "ompletion"}} | fields
        assert self.ask("POST", "/_sandbox/faults", fault).status == 201

    def clear(self) -> None:
        for what in ("faults", "seen", "bill"):
            self.ask("DELETE", f"/_sandbox/{what}")

    @property
    def seen(self) -> list[dict[str, Any]]:
        """The chats that were asked for."""
        found = self.ask("GET", "/_sandbox/seen").json["requests"]
        return [each for each in found if "ompletion" in each["path"]]

    def close(self) -> None:
        self._process.communicate(timeout=PATIENCE)
        assert self._process.returncode == 0


class Server(Site):
    """`xrouter serve`. What it prints is kept in files; nothing of it outlives the test."""

    def __init__(
        self, folder: Path, env: Mapping[str, str] | None = None, *, name: str = "server"
    ) -> None:
        """folder: of the test; the data folder is in it. env: besides the data folder and port."""
        self.folder = folder
        self.name = name
        self.data = folder / "var"
        ours = {"XROUTER_DATA_DIR": str(self.data), "XROUTER_PORT": str(free_port())}
        self.env = environment(**PATIENT | ours | dict(env or {}))
        self.key = ""
        self.process: subprocess.Popen[bytes] | Born | None = None
        self._family: list[psutil.Process] = []
        self._starts = 0
        self._files: list[IO[bytes]] = []
        port = self.env["XROUTER_PORT"]
        super().__init__(f"http://127.0.0.1:{port if port.isdecimal() else 0}")

    # --- its life

    def start(self, *arguments: str, wait: bool = True, cold: bool = False) -> Server:
        """Start, and wait until it answers and has said so. cold: with no module loaded before."""
        self._starts += 1
        self._close_files()
        out, err = self._file("out").open("wb"), self._file("err").open("wb")
        self._files = [out, err]
        self.process = self._process(["serve", *arguments], out, err, cold=cold)
        if wait:
            self.wait_ready(said="--role" not in arguments)
        return self

    def _process(
        self, arguments: list[str], out: IO[bytes], err: IO[bytes], *, cold: bool
    ) -> subprocess.Popen[bytes] | Born:
        mother = nursery()
        if mother is not None and not cold:
            return mother.born(arguments, self.env, self.folder, out, err)
        return subprocess.Popen(
            [*XROUTER, *arguments],
            stdout=out,
            stderr=err,
            stdin=subprocess.DEVNULL,
            env=self.env,
            cwd=self.folder,
            start_new_session=True,
        )

    def wait_ready(self, *, said: bool = True) -> None:
        until(lambda: self._is_up(said=said), "the server answers")
        assert self.process is not None
        assert self.process.poll() is None, f"it ended: {self.out}\n{self.err}"
        self._family = psutil.Process(self.process.pid).children(recursive=True)
        found = _KEY.search(self.out)
        if found is not None:
            self.key = found[0]

    def _is_up(self, *, said: bool) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            return True
        if said:
            return _URL.search(self.out) is not None and self.out.endswith("\n")
        try:
            return self.ask("GET", "/health/live").status == 200
        except OSError:
            return False

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self, patience: float = PATIENCE) -> int:
        """Wait for its end; the exit code."""
        assert self.process is not None
        return self.process.wait(patience)

    def stop(self) -> int:
        """As an operator would."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """As a power switch would."""
        self.signal(signal.SIGKILL)
        self.wait()

    def close(self) -> None:
        """Leave nothing behind."""
        if self.process is not None and self.process.poll() is None:
            self._family += psutil.Process(self.process.pid).children(recursive=True)
            self.kill()
        for child in self._family:
            if child.is_running():
                child.kill()
        self._close_files()

    @property
    def family(self) -> list[psutil.Process]:
        """The processes that it had started when it was ready."""
        return self._family

    # --- what it says

    @property
    def out(self) -> str:
        """Standard output since the last start."""
        return self._file("out").read_text()

    @property
    def err(self) -> str:
        """Standard error since the last start."""
        return self._file("err").read_text()

    def _file(self, name: str) -> Path:
        return self.folder / f"{self.name}-{self._starts}.{name}"

    def _close_files(self) -> None:
        for file in self._files:
            file.close()

    # --- what one asks of it

    def chat(
        self, model: str, text: str = "Hello there", *, key: str | None = None, **fields: Any
    ) -> Answer:
        body = {"model": model, "messages": [{"role": "user", "content": text}]} | fields
        return self.ask("POST", "/v1/chat/completions", body, self.key if key is None else key)

    def control(self, method: str, path: str, body: Any = None) -> Any:
        """The control API, with the operator's token."""
        token = (self.data / "admin.token").read_text().strip()
        answer = self.ask(method, "/control/v1" + path, body, token)
        assert answer.status < 400, answer.body
        return answer.json if answer.body else None

    def events(self) -> list[dict[str, Any]]:
        """All usage events in the database."""
        found: list[dict[str, Any]] = []
        after = ""
        while True:
            page = self.control("GET", f"/usage?limit=1000{after}")
            found += page["data"]
            if page["next"] is None:
                return found
            after = f"&after={page['next']}"

    def command(
        self, *arguments: str, cold: bool = False, **more: str
    ) -> subprocess.CompletedProcess[str]:
        """Another command in a process of its own, with the same settings."""
        mother = nursery()
        if mother is not None and not cold:
            return mother.run(arguments, self.env | more, self.folder, PATIENCE)
        return subprocess.run(
            [*XROUTER, *arguments],
            env=self.env | more,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )


class Streamed(Struct):
    """A stream as a client sees it: texts, the finish reason, an error frame, the end."""

    text: str = ""
    finish: str | None = None
    error: dict[str, Any] | None = None
    usage: dict[str, Any] | None = None
    done: bool = False
    comments: int = 0


def read_stream(lines: Iterator[bytes]) -> Streamed:
    """Read server-sent events to their end."""
    seen = Streamed()
    for line in lines:
        take_line(line, seen)
    return seen


def take_line(line: bytes, seen: Streamed) -> None:
    """One line of a stream."""
    if line.startswith(b":"):
        seen.comments += 1
    if not line.startswith(b"data: "):
        return
    assert not seen.done, "nothing comes after the end"
    data = line[6:].strip()
    if data == b"[DONE]":
        seen.done = True
        return
    chunk = json.loads(data)
    seen.error = chunk.get("error") or seen.error
    seen.usage = chunk.get("usage") or seen.usage
    for choice in chunk.get("choices", ()):
        seen.text += choice["delta"].get("content") or ""
        seen.finish = choice.get("finish_reason") or seen.finish
