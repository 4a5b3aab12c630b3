"""How commands reach the control API: the running server's, else one of their own in this process.

So each command has one code path, and a SQLite file never has two writers.
"""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import typer

from xrouter.app import presence
from xrouter.app.control import ControlPlane
from xrouter.cli.output import fail
from xrouter.domain.errors import XRouterError
from xrouter.settings import Settings, SettingsError, load
from xrouter.telemetry.logs import log

PREFIX = "/control/v1"
TIMEOUT_S = 120.0
_FIRST_ERROR = 400
_CHANGED_MEANWHILE = 412


class Wanted(NamedTuple):
    """A request. headers: those beside the usual ones."""

    method: str
    target: str
    data: bytes
    headers: Mapping[str, str]


def settings() -> Settings:
    """The settings, or a message that names each wrong one."""
    try:
        return load()
    except SettingsError as error:
        raise fail(f"The settings are wrong:\n{error}") from None


def call(
    method: str,
    path: str,
    body: dict[str, Any] | None = None,
    query: dict[str, Any] | None = None,
    if_match: str | None = None,
    idempotency_key: str | None = None,
) -> Any:
    """The JSON answer of `/control/v1<path>`. An error ends the command with its message.

    if_match: the etag of what was read, by commands that write what they have made of it.
    """
    said = {"if-match": if_match, "idempotency-key": idempotency_key}
    headers = {name: value for name, value in said.items() if value is not None}
    answer = _answer(method, path, body, query, headers)
    return json.loads(answer) if answer else None


def every(path: str, query: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """All pages of the list `/control/v1<path>`."""
    rows: list[dict[str, Any]] = []
    after: str | None = None
    while True:
        page = call("GET", path, query={**(query or {}), "after": after})
        rows += page["data"]
        after = page["next"]
        if after is None:
            return rows


def fetch(path: str, query: dict[str, Any]) -> bytes:
    """The file that `/control/v1<path>` answers. An error ends the command with its message."""
    return _answer("GET", path, None, query)


def _answer(
    method: str,
    path: str,
    body: dict[str, Any] | None,
    query: dict[str, Any] | None,
    headers: Mapping[str, str] | None = None,
) -> bytes:
    current = settings()
    given = {key: value for key, value in (query or {}).items() if value is not None}
    target = PREFIX + quote(path, safe="/:") + (f"?{urlencode(given)}" if given else "")
    data = b"" if body is None else json.dumps(body).encode()
    try:
        status, answer = _ask(Wanted(method, target, data, headers or {}), current)
    except XRouterError as error:
        raise fail(error.message, error.hint) from None
    except urllib.error.URLError as error:
        raise fail(f"The server could not be asked: {error.reason}") from None
    except OSError as error:
        hint = "Set XROUTER_DATA_DIR to the server's data folder."
        raise fail(f"The data folder {current.data_dir} cannot be used: {error}", hint) from None
    return _good(status, answer)


def _ask(wanted: Wanted, current: Settings) -> tuple[int, bytes]:
    server = presence.find(current.data_dir)
    if server is not None:
        return _remote(server.url, wanted, current)
    with log.captured() as events:  # what went wrong is told by the answer
        answer = asyncio.run(_local(wanted, current))
    for event in events:
        if "exception" in event:
            typer.echo(event["exception"], err=True)
    return answer


def _good(status: int, answer: bytes) -> bytes:
    if status < _FIRST_ERROR:
        return answer
    if status == _CHANGED_MEANWHILE:
        raise fail(
            "Somebody else changed it at the same moment; nothing was written.",
            "Look at what it is now, and give the command again.",
        )
    value = json.loads(answer) if answer else None
    error = value.get("error", {}) if isinstance(value, dict) else {}
    raise fail(str(error.get("message", f"The server answered {status}.")), error.get("hint"))


def _remote(url: str, wanted: Wanted, current: Settings) -> tuple[int, bytes]:
    token = presence.admin_token(current.data_dir).reveal()
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    headers |= wanted.headers
    request = urllib.request.Request(  # noqa: S310 - our own server's address
        url + wanted.target, data=wanted.data or None, headers=headers, method=wanted.method
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=TIMEOUT_S) as reply:
            return int(reply.status), bytes(reply.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


async def _local(wanted: Wanted, current: Settings) -> tuple[int, bytes]:
    async with ControlPlane.opened(current) as plane:
        return await plane.ask(*wanted)
