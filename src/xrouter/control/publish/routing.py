"""What says where requests go: policies, prices, routes, canaries, states of endpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, time
from typing import Any, get_args
from zoneinfo import ZoneInfo

import msgspec
from msgspec import ValidationError
from sqlalchemy import Row

from xrouter.control.db.tables.catalog import ProviderRow
from xrouter.control.db.tables.releases import ReleaseRow
from xrouter.control.db.tables.routing import RouteRow
from xrouter.control.kit.prices import price_of
from xrouter.control.publish.tables import SYNC, Tables
from xrouter.domain.catalog import Price, State
from xrouter.domain.routes import Canary, Policy, Route, RouteTarget

_BOUNDS = frozenset({"countries", "max_price", "require_price", "borders"})
"""Fields of a policy that forbid: without them requests could go where they must not."""
_STATES = frozenset(get_args(State))

_BANK = ZoneInfo("Europe/Moscow")
"""A rate holds from midnight there: the Bank of Russia tells tomorrow's in the afternoon."""

_Of = tuple[int, str]
"""A model and a mode."""

Skip = Callable[[str, str], None]
"""Told the reason and the name of each row that is left out."""


class Routing:
    """Made of all rows at one moment.

    later: the next moment (unix seconds) at which something of it begins, None if nothing will.
    """

    def __init__(self, tables: Tables, now: float, skip: Skip) -> None:
        self.later: float | None = None
        self._now = now
        self._skip = skip
        self._policies: dict[bytes, Policy] = {}
        self._given = {row.name: _given(row) for row in tables.providers}
        self._prices = self._current(tables.prices)
        self._states = {row.endpoint_id: row for row in tables.states}
        self._countries = {row.name: row.country for row in tables.providers}
        self.rates = self._rates(tables.rates)
        self.canaries = self._trials(tables.canaries, tables.models)

    def has_begun(self, moment: float | None) -> bool:
        """Whether a moment has come; one that will is remembered."""
        if moment is None or moment <= self._now:
            return moment is not None
        self.later = moment if self.later is None else min(self.later, moment)
        return False

    def price(self, model: int, version: str, mode: str = SYNC) -> Price | None:
        """What a version costs now: by its own row, else by that of all versions."""
        found = self._prices.get((model, mode))
        return None if found is None else found.get(version) or found.get(None)

    def state(self, endpoint: int) -> State:
        """How the prober found an endpoint.

        What callers alone find down is still tried now and then: only so it is seen to be well
        again. The breakers see to it that few pay for that.
        """
        row = self._states.get(endpoint)
        if row is None or row.state not in _STATES:
            return "healthy"
        state: State = row.state
        return "degraded" if state == "down" and not row.is_silent else state

    def country(self, provider: str, own: str | None) -> str | None:
        """Where an endpoint stands: its own word, else the provider's."""
        return own or self._countries.get(provider)

    def policy(self, name: str, provider: str | None, own: Any) -> Policy | None:
        """A model's or a route's policy over its provider's; None for the default one.

        Fields that make no sense are left out. Raises ValidationError when one of them forbids
        something: then nothing must be sent by this policy.
        """
        said = {**self._given.get(provider or "", {}), **(own if isinstance(own, dict) else {})}
        if not said:
            return None
        key = msgspec.json.encode(said)
        found = self._policies.get(key)
        if found is None:
            found = self._policies[key] = self._sound(name, said)
        return found

    def _sound(self, name: str, said: dict[str, Any]) -> Policy:
        try:
            return msgspec.convert(said, Policy)
        except ValidationError as error:
            kept = {field: value for field, value in said.items() if _fits(field, value)}
            if (said.keys() - kept.keys()) & _BOUNDS:
                raise
            self._skip(f"field of a policy that makes no sense: {error}", name)
            return msgspec.convert(kept, Policy)

    def routes(self, rows: Iterable[RouteRow], models: Iterable[str]) -> dict[str, Route]:
        """By every name that means one; ids of models and earlier routes keep their names."""
        found: dict[str, Route] = {}
        taken = set(models)
        for row in rows:
            try:
                route = self._route(row)
            except ValidationError as error:
                self._skip(f"route of no sense: {error}", row.name)
                continue
            for name in (route.model_id, *route.aliases):
                if name in taken:
                    self._skip("name of a route that means something else already", name)
                else:
                    found[name] = route
                    taken.add(name)
        return found

    def _route(self, row: RouteRow) -> Route:
        targets = tuple(
            RouteTarget(model=t.model, endpoint=t.endpoint, weight=t.weight, priority=t.priority)
            for t in row.targets
        )
        return Route(
            name=row.name,
            display_name=row.display_name,
            aliases=msgspec.convert(row.aliases, tuple[str, ...]),
            targets=targets,
            policy=self.policy(f"route/{row.name}", None, row.policy) or Policy(),
            access_group=row.access_group,
            is_enabled=row.is_enabled,
        )

    def _current(self, rows: Iterable[Row[Any]]) -> dict[_Of, dict[str | None, Price]]:
        """By model and mode, then by version."""
        found: dict[_Of, dict[str | None, Price]] = {}
        for row in rows:
            if self.has_begun(row.effective_from.timestamp()):
                found.setdefault((row.llm_model_id, row.mode), {})[row.version] = price_of(row)
        return found

    def _rates(self, rows: Iterable[Row[Any]]) -> dict[str, int]:
        """By currency, that of the last day that has begun; else the first one there will be."""
        today = datetime.fromtimestamp(self._now, _BANK).date()
        found: dict[str, int] = {}
        for row in rows:
            if row.day <= today:
                found[row.currency] = row.rubles
            else:
                self.has_begun(datetime.combine(row.day, time(), _BANK).timestamp())
                found.setdefault(row.currency, row.rubles)
        return found

    def _trials(self, rows: Iterable[ReleaseRow], models: list[Row[Any]]) -> dict[str, Canary]:
        names = {row.id: row.model_id for row in models} if rows else {}
        found: dict[str, Canary] = {}
        for row in rows:
            name = names.get(row.llm_model_id, str(row.llm_model_id))
            try:
                found[name] = msgspec.convert({**row.canary, "label": row.label}, Canary)
            except ValidationError as error:
                self._skip(f"canary of no sense: {error}", name)
        return found


def _fits(field: str, value: Any) -> bool:
    try:
        msgspec.convert({field: value}, Policy)
    except ValidationError:
        return False
    return True


def _given(row: ProviderRow) -> dict[str, Any]:
    """What a provider's settings say of its models' policies."""
    said = row.settings.get("policy") if isinstance(row.settings, dict) else None
    return said if isinstance(said, dict) else {}
