"""A running llama.cpp server with the tiny model."""

from __future__ import annotations

import urllib.request
from pathlib import Path

from tests.llamacpp import model
from tests.services.process import Service

ALIAS = "tiny"
SLOTS = 2
CONTEXT = 2048
"""Tokens of each slot."""


class LlamaServer:
    """Ready when it is made; `close` leaves nothing behind.

    models: one is served by its name; several by a server that loads them when they are asked for,
    one at a time.
    """

    def __init__(self, program: Path, *options: str, models: tuple[str, ...] = (ALIAS,)) -> None:
        self._service = Service("llamacpp")
        self._program = program
        self._options = options
        self._models = models
        try:
            for name in models:
                model.write(self._service.folder / f"{name}.gguf")
            self._service.start(self._command, self._ready)
        except BaseException:
            self._service.remove()
            raise

    @property
    def url(self) -> str:
        """Where it listens, without /v1."""
        return f"http://{self._service.host}:{self._service.port}"

    def close(self) -> None:
        """End the process, remove its folder."""
        self._service.remove()

    def _command(self, port: int) -> list[str | Path]:
        folder = self._service.folder
        served: list[str | Path] = ["--models-dir", folder, "--models-max", "1"]
        if len(self._models) == 1:
            (name,) = self._models
            served = ["--model", folder / f"{name}.gguf", "--alias", name]
        return [
            *(self._program, "--host", self._service.host, "--port", str(port), *served),
            *("--ctx-size", str(SLOTS * CONTEXT), "--parallel", str(SLOTS)),
            *("--threads", "1", "--no-ui", "--offline", "--fit", "off", "--cache-ram", "0"),
            *self._options,
        ]

    def _ready(self) -> bool:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"{self.url}/health", timeout=5) as reply:
                return bool(reply.status == 200)
        except OSError:
            return False
