"""What `xrouter doctor` looks at. Each check says what it found and, if need be, what to do."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Literal

from msgspec import Struct

from xrouter.app import presence
from xrouter.app.configured import vault_of
from xrouter.control.catalog.adapters import supported
from xrouter.control.db import schema
from xrouter.control.db.engine import Database
from xrouter.control.identity import repository as identity
from xrouter.control.publish.build import build_snapshot
from xrouter.control.publish.stock import KeyStock
from xrouter.domain.catalog import Endpoint
from xrouter.domain.errors import XRouterError
from xrouter.domain.snapshot import Snapshot
from xrouter.flow.lanes import Lanes
from xrouter.flow.upstreams import Means, Upstream
from xrouter.providers import factory
from xrouter.settings import Settings
from xrouter.wire.client import Client
from xrouter.wire.tokens import TokenBook

State = Literal["ok", "warning", "problem"]

LOW_DISK = 1 << 30
NO_DISK = 64 << 20
SAFE_SQLITE = (3, 51, 3)
MAX_SKEW_S = 30.0
PROBE_S = 15.0
SOME_KEYS = 1000
_FIRST_ERROR = 400


class Finding(Struct):
    """The result of one check."""

    check: str
    state: State
    found: str
    advice: str | None = None


async def examine(settings: Settings) -> list[Finding]:
    """All checks; those of endpoints side by side."""
    findings = [disk(settings.data_dir), server(settings), sqlite(settings)]
    tables = await database(settings)
    findings.append(tables)
    if tables.state == "problem":
        return findings
    try:
        snapshot, keys = await _snapshot(settings)
    except XRouterError as error:
        return [*findings, Finding("catalog", "problem", error.message, error.hint)]
    findings.append(catalog(snapshot, keys))
    endpoints = [each for group in snapshot.endpoints.values() for each in group]
    client, tokens = Client(), TokenBook()
    try:
        found = await asyncio.gather(*(endpoint(each, client, tokens) for each in endpoints))
    finally:
        await tokens.close()
        await client.close()
    return [*findings, *found]


def disk(folder: Path) -> Finding:
    """The data folder: there, writable, with room."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return Finding("disk", "problem", f"{folder}: {error.strerror}", "Set XROUTER_DATA_DIR.")
    if not os.access(folder, os.W_OK):
        return Finding("disk", "problem", f"{folder} is not writable", "Change its owner.")
    free = shutil.disk_usage(folder).free
    text = f"{folder}, {free / 2**30:.1f} GiB free"
    if free < NO_DISK:
        return Finding("disk", "problem", text, "Usage events cannot be kept. Make room now.")
    if free < LOW_DISK:
        return Finding("disk", "warning", text, "Make room soon.")
    return Finding("disk", "ok", text)


def server(settings: Settings) -> Finding:
    """Whether a server runs on this data folder."""
    running = presence.find(settings.data_dir)
    if running is None:
        return Finding("server", "ok", "not running here")
    return Finding("server", "ok", f"process {running.pid} at {running.url}")


def sqlite(settings: Settings) -> Finding:
    """The library's version matters only where it is used."""
    if not settings.database.startswith("sqlite"):
        return Finding("sqlite", "ok", "not used")
    text = f"version {sqlite3.sqlite_version}"
    if sqlite3.sqlite_version_info < SAFE_SQLITE:
        advice = (
            "Versions before 3.51.3 can damage a database that two processes write to; XRouter "
            "writes from one only. Do not let other programs write to it."
        )
        return Finding("sqlite", "warning", text, advice)
    return Finding("sqlite", "ok", text)


async def database(settings: Settings) -> Finding:
    """Reachable, and its tables up to date."""
    try:
        current = await schema.current(settings.database)
    except XRouterError as error:
        return Finding("database", "problem", error.message, error.hint)
    if current is None:
        return Finding("database", "problem", "no tables yet", "xrouter db upgrade")
    if current != schema.HEAD:
        text = f"tables at {current}, this version needs {schema.HEAD}"
        return Finding("database", "problem", text, "xrouter db upgrade")
    return Finding("database", "ok", f"tables at {current}")


def catalog(snapshot: Snapshot, keys: int) -> Finding:
    """Something to answer with, someone to ask."""
    models = sum(model.is_available for model in snapshot.models.values())
    text = f"{models} models available, {keys} keys"
    if not models:
        return Finding("catalog", "warning", text, "xrouter providers add, xrouter models sync")
    if not keys:
        return Finding("catalog", "warning", text, "xrouter keys create")
    return Finding("catalog", "ok", text)


async def endpoint(each: Endpoint, client: Client, tokens: TokenBook) -> Finding:
    """Reached, TLS verified, the credential accepted, the clocks in step."""
    name = f"{each.provider}/{each.name}"
    began = time.perf_counter()
    try:
        upstream = Upstream(each, factory.build(each), Means(client, tokens, Lanes()))
        async with asyncio.timeout(PROBE_S):
            exchange = await upstream.open(upstream.adapter.probe())
            exchange.close()
    except TimeoutError:
        return Finding(name, "problem", f"no answer within {PROBE_S:g} s", "Is it reachable?")
    except XRouterError as error:
        return Finding(name, "problem", error.message, error.hint)
    took = f"{(time.perf_counter() - began) * 1000:.0f} ms"
    if exchange.status >= _FIRST_ERROR:
        advice = "Check the credential." if exchange.status in (401, 403) else None
        return Finding(name, "problem", f"answers {exchange.status} ({took})", advice)
    skew = _skew(exchange.headers.get("date"))
    if skew is not None and abs(skew) > MAX_SKEW_S:
        text = f"its clock and ours differ by {skew:.0f} s"
        return Finding(
            name, "warning", text, "Set this machine's clock (NTP): tokens depend on it."
        )
    return Finding(name, "ok", f"answers ({took})")


def _skew(date: str | None) -> float | None:
    try:
        return (parsedate_to_datetime(date or "") - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):
        return None


async def _snapshot(settings: Settings) -> tuple[Snapshot, int]:
    """With some of the keys, and how many there are."""
    vault = vault_of(settings)
    db = Database(settings.database)
    try:
        some = KeyStock(vault.pepper_id, SOME_KEYS)
        snapshot = await build_snapshot(db, vault, supported(), stock=some)
        async with db.read() as session:
            return snapshot, await identity.count(session)
    finally:
        await db.close()
