"""XRouter as its users run it: one process, the sandbox behind it, an empty data folder."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

ROOT = Path(__file__).parents[2]
START_S = 60.0
STOP_S = 60.0
WAIT_S = 60.0
_READY = re.compile(r"XRouter answers at (http://\S+)/v1")


class Answer(Struct):
    """A plain HTTP answer. Header names are lower-case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def ask(
    url: str,
    method: str = "GET",
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
    timeout: float = 60.0,
) -> Answer:
    """One request on a connection of its own; no proxy, no redirects, the path as it is given."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection = HTTPConnection(parts.hostname, parts.port, timeout=timeout)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request(method, target or "/", body, headers or {})
        reply = connection.getresponse()
        fields = {name.lower(): value for name, value in reply.getheaders()}
        return Answer(reply.status, fields, reply.read())
    finally:
        connection.close()


def eventually(what: Callable[[], bool], why: str) -> None:
    """Wait until it is so."""
    give_up = time.monotonic() + WAIT_S
    while not what():
        assert time.monotonic() < give_up, f"did not happen: {why}"
        time.sleep(0.02)


class SandboxControl:
    """The sandbox's own API: faults, the bill, what was seen."""

    def __init__(self, origin: str) -> None:
        self.origin = origin

    def fault(self, kind: str, provider: str = "*", **how: Any) -> None:
        """Let the next request of the provider have this fault."""
        body = json.dumps({"kind": kind, "provider": provider} | how).encode()
        answer = ask(f"{self.origin}/_sandbox/faults", "POST", body)
        assert answer.status == 201, answer.body

    def clear(self) -> None:
        """No faults, no bill, nothing seen."""
        for name in ("faults", "bill", "seen"):
            assert ask(f"{self.origin}/_sandbox/{name}", "DELETE").status == 200

    def seen(self, path: str = "") -> list[dict[str, Any]]:
        """The requests whose path holds this, oldest first."""
        requests = ask(f"{self.origin}/_sandbox/seen").json()["requests"]
        return [request for request in requests if path in request["path"]]

    def charges(self) -> list[dict[str, Any]]:
        """The lines of the bill, oldest first."""
        lines: list[dict[str, Any]] = ask(f"{self.origin}/_sandbox/bill").json()["charges"]
        return lines

    def running(self) -> int:
        """How many requests it serves now."""
        return int(ask(f"{self.origin}/_sandbox/open").json()["open"])

    def is_gone(self) -> bool:
        """Whether nobody listens there any more."""
        try:
            ask(f"{self.origin}/", timeout=5.0)
        except OSError:
            return True
        return False

    def saw_a_client_leave(self) -> None:
        """Wait until it has noticed that the one running request was given up."""
        eventually(
            lambda: any(seen["closed_by_client"] for seen in self.seen()) and not self.running(),
            "the sandbox sees its client go",
        )


class Product:
    """`xrouter serve` on a free port. `url` is its origin, `admin_token` the control API's."""

    def __init__(self, **settings: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="xrouter-clients-"))
        self._log = self.folder / "log"
        self._environment = self._clean_environment(settings)
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""
        self.sandbox = SandboxControl("")

    def start(self) -> None:
        """Start it and wait until it answers."""
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*_tied_to_us(), *_command(), "serve"],
                cwd=self.folder,
                env=self._environment,
                stdout=log,
                stderr=log,
            )
        give_up = time.monotonic() + START_S
        while not (said := _READY.search(self.log())):
            assert self._process.poll() is None, f"XRouter did not start:\n{self.log()}"
            assert time.monotonic() < give_up, f"XRouter is not ready:\n{self.log()}"
            time.sleep(0.02)
        self.url = said[1]
        self.sandbox = SandboxControl(self._sandbox_origin())

    def stop(self) -> None:
        """Stop it as an operator does; nothing is left, and no error was hidden."""
        process, self._process = self._process, None
        try:
            if process is not None:
                process.send_signal(signal.SIGTERM)
                try:
                    status = process.wait(STOP_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                    raise
                assert status == 0, f"XRouter ended with {status}:\n{self.log()[-4000:]}"
                assert "Traceback" not in self.log(), self.log()[-8000:]
                eventually(self.sandbox.is_gone, "the sandbox ends with its server")
        finally:
            shutil.rmtree(self.folder)

    def log(self) -> str:
        """All it has said so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def run(self, *arguments: str) -> str:
        """One command of the command line, on the same data folder. Answers what it printed."""
        done = subprocess.run(
            [*_command(), *arguments],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def new_key(self, name: str, **more: Any) -> dict[str, Any]:
        """A key of the control API, known to the door at once: {key, key_id, ...}."""
        answer = self.control("/keys", "POST", {"name": name} | more)
        assert answer.status == 201, answer.body
        made: dict[str, Any] = answer.json()
        headers = {"authorization": f"Bearer {made['key']}"}
        eventually(
            lambda: ask(f"{self.url}/v1/models", headers=headers).status == 200, "a key works"
        )
        return made

    @property
    def admin_token(self) -> str:
        """The control API's token."""
        return (self.folder / "var" / "admin.token").read_text(encoding="ascii").strip()

    def control(self, path: str, method: str = "GET", body: Any = None) -> Answer:
        """A request to the control API with the token."""
        headers = {"authorization": f"Bearer {self.admin_token}"}
        if body is not None:
            headers["content-type"] = "application/json"
        data = None if body is None else json.dumps(body).encode()
        return ask(f"{self.url}/control/v1{path}", method, data, headers)

    def _sandbox_origin(self) -> str:
        """Providers were registered with addresses that begin with it."""
        providers = self.control("/providers").json()["data"]
        assert providers, "no provider was registered"
        parts = urlsplit(providers[0]["endpoints"][0]["base_url"])
        return f"{parts.scheme}://{parts.netloc}"

    def _clean_environment(self, settings: dict[str, str]) -> dict[str, str]:
        """Nothing of ours: neither credentials nor proxies nor settings."""
        mine = {"XROUTER_PORT": "0", "XROUTER_SANDBOX": "on", "XROUTER_DATA_DIR": "var"}
        mine |= {"XROUTER_MAX_LAG": "60"}  # a slow machine is no crowd
        return {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(ROOT / "src"),
            **mine,
            **settings,
        }


def _command() -> list[str]:
    installed = Path(sys.executable).with_name("xrouter")
    if installed.exists():
        return [str(installed)]
    return [sys.executable, "-m", "xrouter.cli.main"]


def _tied_to_us() -> list[str]:
    """When the tests are killed, the server is told to stop."""
    return ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []
