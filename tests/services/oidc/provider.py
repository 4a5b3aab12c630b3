"""A real OpenID provider (npm `oidc-provider`, certified by the OpenID Foundation) as a process."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.clients.node.install import NODE, modules
from tests.services.process import free_port

HERE = Path(__file__).parent
_START_S = 60.0
_STOP_S = 20.0


class OpenIdProvider:
    """Not yet started. It forgets everybody, and makes new keys, when it starts anew."""

    def __init__(self, folder: Path) -> None:
        """folder: an empty one, for modules are found beside the file that imports them."""
        self._folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{self._port}"
        folder.mkdir()
        (folder / "node_modules").symlink_to(modules(HERE))
        for name in ("server.mjs", "package.json"):
            shutil.copy(HERE / name, folder)

    def start(self, clients: Sequence[dict[str, Any]]) -> None:
        """Start, and wait until it answers."""
        told = json.dumps({"port": self._port, "clients": clients})
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [NODE, "server.mjs"],
                cwd=self._folder,
                env={"OIDC_TESTS": told, "HOME": str(self._folder), "NODE_ENV": "test"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        out = self._process.stdout
        assert out is not None
        late = threading.Timer(_START_S, self._process.kill)
        late.start()
        lines = iter(out.readline, b"")
        ready = any(line.strip() == b"ready" for line in lines)
        late.cancel()
        assert ready, (self._folder / "log").read_text()

    def stop(self) -> None:
        """Close its standard input, and wait for its end."""
        process, self._process = self._process, None
        if process is not None:
            process.communicate(timeout=_STOP_S)
