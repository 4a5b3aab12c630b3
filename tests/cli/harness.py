"""Commands, run in this process against a data folder, with or without a server on it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.e2e.harness import SandboxProcess, Server
from typer.testing import CliRunner

from xrouter.cli.main import app


class Shell:
    """A terminal in which the settings point at one data folder."""

    def __init__(self, data: Path, env: Mapping[str, str] | None = None) -> None:
        self.data = data
        self.env = {"XROUTER_DATA_DIR": str(data), "COLUMNS": "120"} | dict(env or {})

    def run(self, *arguments: str, code: int = 0, given: str | None = None) -> tuple[str, str]:
        """Standard output and standard error of a command that ends with this code."""
        done = CliRunner().invoke(app, list(arguments), input=given, env=self.env)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == code, f"{arguments}: {done.exit_code}\n{done.output}"
        return done.stdout, done.stderr

    def out(self, *arguments: str, given: str | None = None) -> str:
        return self.run(*arguments, given=given)[0]

    def json(self, *arguments: str) -> Any:
        return json.loads(self.out(*arguments, "--json"))

    def refused(self, *arguments: str, given: str | None = None) -> str:
        """What a command that fails says; it says it on standard error alone."""
        out, err = self.run(*arguments, code=1, given=given)
        assert out == ""
        assert err
        return err


class Place(Shell):
    """An empty router: with a server that runs, or with nothing but a folder."""

    def __init__(self, data: Path, sandbox: SandboxProcess, server: Server | None) -> None:
        super().__init__(data)
        self.sandbox = sandbox
        self.server = server

    def add_openai(self, name: str = "openai", *more: str) -> str:
        """Register the sandbox's OpenAI."""
        url = self.sandbox.environment["OPENAI_BASE_URL"]
        secret = "--credential", "api_key=sk-sandbox"
        return self.out("providers", "add", name, "--base-url", url, *secret, *more)
