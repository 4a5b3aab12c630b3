"""Lists read from the database what they show, however much there is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event
from tests.control.conftest import Api
from tests.control.fakes import ACME

from xrouter.control.db.engine import Database
from xrouter.control.db.tables.base import Base
from xrouter.control.db.tables.releases import BuildRow

MANY = 3
_MAIN = {
    "/providers": "ProviderRow",
    "/models": "ModelRow",
    "/prices": "PriceRow",
    "/routes": "RouteRow",
    "/releases": "ReleaseRow",
    "/keys": "KeyRow",
    "/limits": "LimitRow",
    "/changes": "ChangeRow",
    "/builds": "BuildRow",
    "/projects": "ProjectRow",
    "/organizations": "OrganizationRow",
    "/users": "UserRow",
    "/oauth/clients": "ClientRow",
    "/audit": "AuditRow",
}


@contextmanager
def loaded() -> Iterator[Counter[str]]:
    """How many rows become objects, by class."""
    found: Counter[str] = Counter()

    def count(target: object, _: object) -> None:
        found[type(target).__name__] += 1

    event.listen(Base, "load", count, propagate=True)
    try:
        yield found
    finally:
        event.remove(Base, "load", count)


@pytest.fixture
async def full(api: Api, db: Database) -> Api:
    """A registry with some of everything."""
    price = {"currency": "RUB", "input": "1", "output": "2", "source": "the list"}
    client = {"grant_types": ["client_credentials"], "project": "default"}
    for n in range(MANY):
        await api.acme(name=f"acme{n}", adapter_class=ACME)
        labels = [{"label": "v1", "upstream": "1", "channel": "latest"}]
        model = {"model_id": f"acme{n}/one", "provider": f"acme{n}"}
        labels.append({"label": "v2", "upstream": "2"})
        await _make(api, "models", model | {"versions": labels})
        begins = {"effective_from": "2026-01-01T00:00:00Z"}
        await _make(api, "prices", price | begins | {"model": model["model_id"]})
        target = {"model": model["model_id"]}
        await _make(api, "routes", {"name": f"bot{n}", "targets": [target]})
        release = {"model_id": model["model_id"], "label": "v2", "at": "2099-01-01T00:00:00Z"}
        await _make(api, "releases", release)
        await _make(api, "keys", {"name": f"key {n}"})
        limit = {"meter": "requests", "window": "minute", "amount": 5}
        await _make(api, "limits", limit | {"subject": f"project:p{n}"})
        await api.project(f"p{n}")
        await _make(api, "organizations", {"slug": f"o{n}", "name": "O"})
        await _make(api, "users", {"email": f"u{n}@acme.test", "name": "U"})
        await _make(api, "oauth/clients", client | {"name": f"app {n}"})
    async with db.write() as session:
        place = {"model_id": "acme0/one", "version": "v1", "provider": "acme0", "endpoint": "e"}
        times = {"first_seen": 1.0, "last_seen": 2.0}
        session.add_all(BuildRow(**place, **times, build=str(n)) for n in range(MANY))
    return api


async def _make(api: Api, what: str, given: dict[str, Any]) -> None:
    await api.ask("POST", f"/{what}", json=given, status=201)


async def test_a_page_reads_one_row_more_than_it_shows(full: Api) -> None:
    for path, row in _MAIN.items():
        with loaded() as found:
            page = await full.ask("GET", f"{path}?limit=1")
        assert len(page["data"]) == 1, path
        assert page["next"] is not None, path
        assert found[row] == 2, (path, found)
        with loaded() as found:
            await full.ask("GET", f"{path}?limit=1&after={page['next']}")
        assert found[row] == 2, (path, found)
        assert max(found.values()) <= 2 * 2, (path, found)
