"""What `xrouter doctor` looks at. Each check says what it found and, if need be, what to do."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import time
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Literal

from msgspec import Struct
from sqlalchemy import func, select

from xrouter.app import presence
from xrouter.app.configured import vault_of
from xrouter.control.catalog.adapters import supported
from xrouter.control.db import schema
from xrouter.control.db.engine import Database
from xrouter.control.db.tables.routing import RateRow
from xrouter.control.identity import repository as identity
from xrouter.control.publish.build import build_snapshot
from xrouter.control.publish.stock import KeyStock
from xrouter.domain.catalog import Endpoint
from xrouter.domain.errors import XRouterError
from xrouter.domain.money import RUBLE
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
OLD_RATE = timedelta(days=14)
"""No holidays of the Bank of Russia are longer."""
_FIRST_ERROR = 400
_NAMED = 3


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
        snapshot, keys, days = await _snapshot(settings)
    except XRouterError as error:
        return [*findings, Finding("catalog", "problem", error.message, error.hint)]
    findings += [catalog(snapshot, keys), prices(snapshot), rates(snapshot, days)]
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


def prices(snapshot: Snapshot) -> Finding:
    """What money is counted by: once it is for some, it should be for all."""
    models = [model for model in snapshot.models.values() if model.is_available]
    bare = [
        model.model_id
        for model in models
        if any(version.price is None for version in model.versions)
    ]
    text = f"{len(models) - len(bare)} of {len(models)} models have one"
    limited = any(each.meter == "money" for group in snapshot.limits.values() for each in group)
    if not bare or (len(bare) == len(models) and not limited):
        return Finding("prices", "ok", text)
    named = ", ".join(bare[:_NAMED])
    advice = (
        f"Others cost nothing, and budgets do not hold them, like {named}: xrouter prices import, "
        "or XROUTER_REQUIRE_PRICE=refuse."
    )
    return Finding("prices", "warning", text, advice)


def rates(snapshot: Snapshot, days: Mapping[str, date]) -> Finding:
    """Those of the currencies in which there are prices. days: of the latest rates."""
    found = (version.price for model in snapshot.models.values() for version in model.versions)
    used = sorted({price.currency for price in found if price is not None} - {RUBLE})
    missing = [currency for currency in used if currency not in snapshot.rates]
    if missing:
        text = f"none of {', '.join(missing)}"
        advice = "What is priced in it costs nothing. xrouter rates import"
        return Finding("rates", "warning", text, advice)
    text = ", ".join(f"{currency} of {days[currency]}" for currency in used) or "none needed"
    oldest = min((days[currency] for currency in used), default=date.max)
    if oldest < datetime.now(UTC).date() - OLD_RATE:
        return Finding("rates", "warning", text, "xrouter rates import takes newer ones.")
    return Finding("rates", "ok", text)


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


async def _snapshot(settings: Settings) -> tuple[Snapshot, int, dict[str, date]]:
    """With some of the keys, and how many there are; the days of the latest rates."""
    vault = vault_of(settings)
    db = Database(settings.database)
    try:
        some = KeyStock(vault.pepper_id, SOME_KEYS)
        snapshot = await build_snapshot(db, vault, supported(), stock=some)
        async with db.read() as session:
            query = select(RateRow.currency, func.max(RateRow.day)).group_by(RateRow.currency)
            days = dict(list(await session.execute(query)))
            return snapshot, await identity.count(session), days
    finally:
        await db.close()
