"""Which limits a request meets: found once for each caller, target and snapshot."""

from __future__ import annotations

from msgspec import Struct

from xrouter.domain.identity import Principal
from xrouter.domain.limits import ALL, Limit, Tenant, counter_of
from xrouter.domain.plan import Target
from xrouter.domain.snapshot import EMPTY, Snapshot

_MAX_READY = 20_000


class Rule(Struct, frozen=True):
    """A limit that counts for a request, and the counter behind it."""

    limit: Limit
    counter: str


class Rules:
    """On the newest snapshot."""

    def __init__(self) -> None:
        self._snapshot = EMPTY
        self._ready: dict[tuple[str, ...], tuple[Rule, ...]] = {}
        self._asks_user = False

    def of(
        self, principal: Principal, target: Target, user: str | None, snapshot: Snapshot
    ) -> tuple[Rule, ...]:
        """Those of the key, its project and organisation, the end user, the model and version.

        user: of the request, as the caller says.
        """
        if snapshot is not self._snapshot:
            self._begin(snapshot)
        who = (user,) if user is not None and self._asks_user else ()
        key = (principal.key_id, target.model.model_id, target.version.label, *who)
        found = self._ready.get(key)
        if found is None:
            if len(self._ready) >= _MAX_READY:
                self._ready.clear()
            found = self._ready[key] = work_out(principal, target, who, snapshot)
        return found

    def _begin(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._ready = {}
        self._asks_user = any(subject.startswith("user:") for subject in snapshot.limits)


def work_out(
    principal: Principal, target: Target, users: tuple[str, ...], snapshot: Snapshot
) -> tuple[Rule, ...]:
    """A limit of the subject itself goes before one for all of its kind; a key's own requests a
    minute are one more limit, and the smaller counts.
    """
    model, label = target.model.model_id, target.version.label
    tenant = snapshot.tenants.get(principal.project)
    subjects = [f"key:{principal.key_id}", f"project:{principal.project}"]
    if tenant is not None:
        subjects.append(f"organization:{tenant.organization}")
    subjects += [f"user:{user}" for user in users]
    subjects += [f"model:{model}", f"version:{model}:{label}"]
    found: dict[str, Rule] = {}
    for subject in subjects:
        kind = subject.partition(":")[0]
        every = snapshot.limits.get(f"{kind}:{ALL}", ())
        for limit in (*every, *snapshot.limits.get(subject, ())):
            if limit.model is None or limit.model == model:
                counter = counter_of(subject, limit, principal.project)
                found[counter] = Rule(limit, counter)
    if principal.rpm is not None:
        _add_rpm(found, principal.key_id, principal.rpm, tenant)
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
