"""Which limits a request meets: found once for each caller, target and snapshot."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Literal

from msgspec import Struct

from xrouter.domain.identity import Principal
from xrouter.domain.limits import ALL, Limit, Meter, Tenant, counter_of
from xrouter.domain.plan import Target
from xrouter.domain.ports import Want
from xrouter.domain.snapshot import EMPTY, Snapshot
from xrouter.flow.ask import Ask

_MAX_READY = 5_000
_MOST_NAME = 300
"""Of an end user: no limit names a longer one."""

_SHOWN: tuple[Literal["requests", "tokens"], ...] = ("requests", "tokens")

Shown = tuple[tuple[Literal["requests", "tokens"], int, tuple[int, ...]], ...]
"""By meters that callers are told of: the place of its first want among others, and all of them
where it is not the only one.
"""


class Rule(Struct, frozen=True):
    """A limit that counts for a request, and the counter behind it.

    model, version: it counts only what these answer, None for all.
    """

    limit: Limit
    counter: str
    model: str | None = None
    version: str | None = None


Rules = tuple[Rule, ...]


class Sheet:
    """Rules that count for a request, and what is the same of them each time.

    tenant: who pays. wants: one of each. tokens, money: the places of those whose amounts depend on
    the request. shown: of those that callers are told of. is_watched: whether any is warned of.
    """

    __slots__ = ("_others", "is_watched", "money", "rules", "shown", "tenant", "tokens", "wants")

    def __init__(self, rules: Rules, tenant: Tenant | None = None) -> None:
        self.rules = rules
        self.tenant = tenant
        self.wants = tuple(_one(rule) for rule in rules)
        self.tokens = _places(self.wants, "tokens")
        self.money = _places(self.wants, "money")
        self.shown = shown(self.wants)
        self.is_watched = any(rule.limit.warn_at is not None for rule in rules)
        self._others: dict[Meter, Sheet] = {}

    def but(self, meter: Meter) -> Sheet:
        """Without the rules of a meter."""
        found = self._others.get(meter)
        if found is None:
            left = tuple(rule for rule in self.rules if rule.limit.meter != meter)
            found = self._others[meter] = Sheet(left, self.tenant)
        return found


_Sheets = dict[tuple[str | None, ...], Sheet]


class RuleBook:
    """On the newest snapshot. by_target: whether any limit depends on who answers. of_streams:
    whether any counts streams alone.
    """

    def __init__(self) -> None:
        self._snapshot = EMPTY
        self._common: _Sheets = {}
        self._own: _Sheets = {}
        self._whole: _Sheets = {}
        self._asks_user = False
        self.by_target = False
        self.of_streams = False

    def common(self, ask: Ask, snapshot: Snapshot) -> Sheet:
        """Those of the key, its project and organisation and the end user, whoever answers."""
        if snapshot is not self._snapshot:
            self._begin(snapshot)
        principal, user = ask.principal, self._user(ask)
        found = self._common.get((principal.key_id, user))
        if found is None:
            subjects, tenant = _subjects(principal, user, snapshot)
            found = Sheet(_common(principal, subjects, snapshot), tenant)
            _keep(self._common, (principal.key_id, user), found)
        return found

    def own(self, ask: Ask, target: Target, snapshot: Snapshot) -> Sheet:
        """Those that count only what this target's model, or its version, answers."""
        if snapshot is not self._snapshot:
            self._begin(snapshot)
        principal, user = ask.principal, self._user(ask)
        key = principal.key_id, user, target.model.model_id, target.version.label
        found = self._own.get(key)
        if found is None:
            subjects, tenant = _subjects(principal, user, snapshot)
            found = Sheet(_own(principal, target, subjects, snapshot), tenant)
            _keep(self._own, key, found)
        return found

    def whole(self, ask: Ask, target: Target, snapshot: Snapshot) -> Sheet:
        """Both."""
        common, user = self.common(ask, snapshot), self._user(ask)
        key = ask.principal.key_id, user, target.model.model_id, target.version.label
        found = self._whole.get(key)
        if found is None:
            own = self.own(ask, target, snapshot)
            found = Sheet(common.rules + own.rules, common.tenant)
            _keep(self._whole, key, found)
        return found

    def _user(self, ask: Ask) -> str | None:
        """The end user, where any limit is of one; known by a digest where the name is long."""
        user = ask.end_user if self._asks_user else None
        if user is None or len(user) <= _MOST_NAME:
            return user
        return blake2b(user.encode("utf-8", "replace"), digest_size=16).hexdigest()

    def _begin(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._common, self._own, self._whole = {}, {}, {}
        self._asks_user = any(subject.startswith("user:") for subject in snapshot.limits)
        self.by_target = any(
            subject.startswith(("model:", "version:"))
            or any(limit.model is not None for limit in limits)
            for subject, limits in snapshot.limits.items()
        )
        self.of_streams = any(
            limit.meter == "streams" for limits in snapshot.limits.values() for limit in limits
        )


def shown(wants: Sequence[Want]) -> Shown:
    """Of limits of requests, and of those of tokens."""
    found = ((meter, _places(wants, meter)) for meter in _SHOWN)
    return tuple((meter, at[0], at if len(at) > 1 else ()) for meter, at in found if at)


def _places(found: Sequence[Want], meter: Meter) -> tuple[int, ...]:
    return tuple(place for place, want in enumerate(found) if want.meter == meter)


def _one(rule: Rule) -> Want:
    limit = rule.limit
    return Want(
        rule.counter,
        limit.meter,
        limit.window,
        limit.amount,
        1,
        limit.time_zone,
        rule.model,
        rule.version,
    )


def _keep(ready: _Sheets, key: tuple[str | None, ...], found: Sheet) -> None:
    if len(ready) >= _MAX_READY:
        ready.clear()
    ready[key] = found


def _subjects(
    principal: Principal, user: str | None, snapshot: Snapshot
) -> tuple[list[str], Tenant | None]:
    """Whose limits count, and who pays."""
    tenant = snapshot.tenants.get(principal.project)
    subjects = [f"key:{principal.key_id}", f"project:{principal.project}"]
    if tenant is not None:
        subjects.append(f"organization:{tenant.organization}")
    if user is not None:
        subjects.append(f"user:{user}")
    return subjects, tenant


def _limits(subject: str, snapshot: Snapshot) -> tuple[Limit, ...]:
    """Its own come after those for all of its kind, and replace them."""
    every = snapshot.limits.get(f"{subject.partition(':')[0]}:{ALL}", ())
    return (*every, *snapshot.limits.get(subject, ()))


def _common(principal: Principal, subjects: list[str], snapshot: Snapshot) -> Rules:
    """A key's own requests a minute are one more limit, and the smaller counts."""
    found: dict[str, Rule] = {}
    for subject in subjects:
        for limit in _limits(subject, snapshot):
            if limit.model is None:
                counter = counter_of(subject, limit, principal.project)
                found[counter] = Rule(limit, counter)
    if principal.rpm is not None:
        tenant = snapshot.tenants.get(principal.project)
        _add_rpm(found, principal.key_id, principal.rpm, tenant)
    return tuple(found.values())


def _own(principal: Principal, target: Target, subjects: list[str], snapshot: Snapshot) -> Rules:
    model, label = target.model.model_id, target.version.label
    found: dict[str, Rule] = {}
    for subject in (*subjects, f"model:{model}", f"version:{model}:{label}"):
        kind = subject.partition(":")[0]
        version = label if kind == "version" else None
        for limit in _limits(subject, snapshot):
            if limit.model == model or (limit.model is None and kind in ("model", "version")):
                counter = counter_of(subject, limit, principal.project)
                found[counter] = Rule(limit, counter, model, version)
    return tuple(found.values())


def _add_rpm(found: dict[str, Rule], key_id: str, rpm: int, tenant: Tenant | None) -> None:
    zone = "Europe/Moscow" if tenant is None else tenant.time_zone
    limit = Limit(
        subject=f"key:{key_id}", meter="requests", window="minute", amount=rpm, time_zone=zone
    )
    counter = counter_of(limit.subject, limit, "")
    other = found.get(counter)
    if other is None or other.limit.amount > rpm:
        found[counter] = Rule(limit, counter)
