"""Which limits a request meets: found once for each caller, target and snapshot."""

from __future__ import annotations

from msgspec import Struct

from xrouter.domain.identity import Principal
from xrouter.domain.limits import ALL, Limit, Tenant, counter_of
from xrouter.domain.plan import Target
from xrouter.domain.snapshot import EMPTY, Snapshot

_MAX_READY = 20_000


class Rule(Struct, frozen=True, cache_hash=True):
    """A limit that counts for a request, and the counter behind it.

    model, version: it counts only what these answer, None for all.
    """

    limit: Limit
    counter: str
    model: str | None = None
    version: str | None = None


Rules = tuple[Rule, ...]


class RuleBook:
    """On the newest snapshot. by_target: whether any limit depends on who answers. of_streams:
    whether any counts streams alone.
    """

    def __init__(self) -> None:
        self._snapshot = EMPTY
        self._common: dict[tuple[str, ...], Rules] = {}
        self._own: dict[tuple[str, ...], Rules] = {}
        self._asks_user = False
        self.by_target = False
        self.of_streams = False

    def common(self, principal: Principal, user: str | None, snapshot: Snapshot) -> Rules:
        """Those of the key, its project and organisation and the end user, whoever answers.

        user: of the request, as the caller says.
        """
        if snapshot is not self._snapshot:
            self._begin(snapshot)
        who = (user,) if user is not None and self._asks_user else ()
        found = self._common.get((principal.key_id, *who))
        if found is None:
            found = _common(principal, _subjects(principal, who, snapshot), snapshot)
            _keep(self._common, (principal.key_id, *who), found)
        return found

    def own(
        self, principal: Principal, target: Target, user: str | None, snapshot: Snapshot
    ) -> Rules:
        """Those that count only what this target's model, or its version, answers."""
        if snapshot is not self._snapshot:
            self._begin(snapshot)
        who = (user,) if user is not None and self._asks_user else ()
        key = (principal.key_id, target.model.model_id, target.version.label, *who)
        found = self._own.get(key)
        if found is None:
            found = _own(principal, target, _subjects(principal, who, snapshot), snapshot)
            _keep(self._own, key, found)
        return found

    def _begin(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._common, self._own = {}, {}
        self._asks_user = any(subject.startswith("user:") for subject in snapshot.limits)
        self.by_target = any(
            subject.startswith(("model:", "version:"))
            or any(limit.model is not None for limit in limits)
            for subject, limits in snapshot.limits.items()
        )
        self.of_streams = any(
            limit.meter == "streams" for limits in snapshot.limits.values() for limit in limits
        )


def _keep(ready: dict[tuple[str, ...], Rules], key: tuple[str, ...], found: Rules) -> None:
    if len(ready) >= _MAX_READY:
        ready.clear()
    ready[key] = found


def _subjects(principal: Principal, users: tuple[str, ...], snapshot: Snapshot) -> list[str]:
    tenant = snapshot.tenants.get(principal.project)
    subjects = [f"key:{principal.key_id}", f"project:{principal.project}"]
    if tenant is not None:
        subjects.append(f"organization:{tenant.organization}")
    return subjects + [f"user:{user}" for user in users]


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
