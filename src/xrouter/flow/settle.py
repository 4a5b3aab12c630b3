"""Stop 10: what happened, written down before the last byte goes out. Nothing here waits."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from xrouter.domain.answer import Usage
from xrouter.domain.errors import XRouterError
from xrouter.domain.money import FREE, Charge, charge_of
from xrouter.domain.ports import CallInfo, Journal, SnapshotSource
from xrouter.domain.snapshot import Snapshot
from xrouter.domain.usage import UsageEvent
from xrouter.flow.costs import charge_of_attempts
from xrouter.flow.limits.keeper import Keeper
from xrouter.flow.savings import Savings
from xrouter.flow.tally import Tally, notice_of
from xrouter.telemetry.access import AccessLog
from xrouter.telemetry.logs import log
from xrouter.telemetry.metrics import Meters

CLIENT_GONE_STATUS = 499
WARN_EVERY_S = 3600.0
_MAX_WARNED = 10_000
_OK = 200
USER_LENGTH = 256
"""What is kept of an end user's name."""

_NONE = Usage()

COUNT = "count"
"""The operation that no provider charges for."""

MODERATIONS = "moderations"
"""Free where nobody has given them a price."""


class Settler:
    """Writes the usage event, the metrics and the log line of each request."""

    def __init__(
        self,
        journal: Journal,
        meters: Meters,
        access: AccessLog,
        savings: Savings | None = None,
        snapshots: SnapshotSource | None = None,
        *,
        limits: Keeper | None = None,
    ) -> None:
        self._journal = journal
        self._savings = savings
        self._limits = limits
        self._snapshots = snapshots
        self._meters = meters
        self._access = access
        self._warned: dict[tuple[str, str], float] = {}

    def settle(self, call: CallInfo, tally: Tally, error: XRouterError | None) -> None:
        """Exactly once for each request; `error` is what the caller is told, None if answered."""
        event = _event(call, tally, error)
        if self._snapshots is not None:
            event.charge = _charge(tally, error, self._snapshots.current)
        if tally.held is not None and self._limits is not None:
            self._limits.settle(tally, event.charge)
        try:
            written = self._journal.append(event)
        except ValueError:  # a text that is no text, from a provider or a caller
            event = _readable(event)
            written = self._journal.append(event)
        tally.settled()
        self._warn(tally)
        self._meters.settled(event)
        if tally.plan is not None and tally.cached is None:
            self._meters.planned(tally.plan.policy.strategy, _answered(tally, error))
            if error is None and self._savings is not None:
                self._savings.chosen(tally.plan, tally.target, tally.usage)
        self._access.write(written, error)

    def _warn(self, tally: Tally) -> None:
        """Tell the operator, now and then, that a version which will go is still in use."""
        target = tally.target
        if target is None or (notice := notice_of(target)) is None:
            return
        model, version = target.model.model_id, target.version.label
        now = time.monotonic()
        if now - self._warned.get((model, version), -WARN_EVERY_S) < WARN_EVERY_S:
            return
        if len(self._warned) >= _MAX_WARNED:
            self._warned.clear()
        self._warned[model, version] = now
        log.warning(
            "deprecated_version_answers",
            model=model,
            version=version,
            retires_at=notice.until,
            successor=notice.successor,
            key_id=None if tally.principal is None else tally.principal.key_id,
        )


def _answered(tally: Tally, error: XRouterError | None) -> str:
    """Which target of the plan has: `first` is the strategy's own first choice."""
    plan = tally.plan
    if error is not None or plan is None:
        return "none"
    is_first = tally.target is plan.targets[0] and not plan.skipped
    return "first" if is_first else "other"


def _event(call: CallInfo, tally: Tally, error: XRouterError | None) -> UsageEvent:
    now = time.monotonic()
    usage, plan, who = tally.usage or _NONE, tally.plan, tally.principal
    passed = now - (started := tally.started_at)
    total_ms = _ms(passed)
    sent, spoken = tally.dispatched_at, tally.first_token_at
    model, version, provider, endpoint = _parties(tally)
    return UsageEvent(
        event_id=tally.event_id,
        request_id=call.request_id,
        at=time.time() - passed,
        operation=tally.operation,
        key_id=None if who is None else who.key_id,
        project=None if who is None else who.project,
        model_requested=tally.model,
        model_served=model,
        version=version,
        upstream_model=tally.upstream_model,
        provider=provider,
        endpoint=endpoint,
        attempts=tally.attempts,
        streamed=tally.streamed,
        status=_OK if error is None else error.status,
        outcome="ok" if error is None else _outcome(error),
        error_code=None if error is None else error.code,
        finish_reason=_first(tally.finish_reasons),
        tokens_in=usage.prompt_tokens,
        tokens_out=usage.completion_tokens,
        tokens_cached=usage.cached_tokens,
        tokens_reasoning=usage.reasoning_tokens,
        tokens_estimated=usage.estimated,
        queue_ms=total_ms if sent is None else _ms(sent - started),
        first_token_ms=None if spoken is None else _ms(spoken - started),
        total_ms=total_ms,
        upstream_request_id=tally.upstream_request_id,
        route=None if plan is None else plan.route,
        reason=None if plan is None else plan.reason,
        cached=tally.target is None and tally.cached is not None,
        build=tally.build,
        end_user=None if (user := tally.end_user) is None else user[:USER_LENGTH],
        tried=tuple(tally.tried) if tally.tried else (),
    )


def _outcome(error: XRouterError) -> str:
    return "cancelled" if error.status == CLIENT_GONE_STATUS else "error"


def _first(reasons: dict[int, str]) -> str | None:
    return next(iter(reasons.values())) if reasons else None


def _parties(tally: Tally) -> tuple[str | None, ...]:
    """Model, version, provider and endpoint: who was asked last, or whose kept answer it is."""
    target, cached = tally.target, tally.cached
    if target is not None:
        at = target.endpoint
        return target.model.model_id, target.version.label, at.provider, at.name
    if cached is not None:
        return cached.model, cached.version, cached.provider, cached.endpoint
    return None, None, None, None


def _readable(event: UsageEvent) -> UsageEvent:
    """The event with what cannot be written replaced."""
    values = msgspec.structs.asdict(event)
    clean: dict[str, Any] = {k: _text(v) if isinstance(v, str) else v for k, v in values.items()}
    return UsageEvent(**clean)


def _text(value: str) -> str:
    return value.encode("utf-8", "replace").decode()


def _charge(tally: Tally, error: XRouterError | None, snapshot: Snapshot) -> Charge | None:
    """What the project pays; None where nobody has answered or may charge."""
    if tally.cached is not None:
        return FREE
    target, usage = tally.target, tally.usage
    if target is None or tally.operation == COUNT or (usage is None and error is not None):
        return None
    tenant = None if tally.principal is None else snapshot.tenants.get(tally.principal.project)
    if tally.paid:
        return charge_of_attempts(tally.paid, target, snapshot.rates, tenant)
    if target.endpoint.owner is not None:
        return FREE
    said = Usage(estimated=True) if usage is None else usage
    drawn, calls = tally.pictures, tally.calls
    version = target.version
    price = version.price_of(is_deferred=True) if tally.is_deferred else version.price
    if price is None and usage is None and tally.operation == MODERATIONS:
        return FREE
    charge = charge_of(said, price, snapshot.rates, tenant, images=drawn, requests=calls)
    if error is None or tally.finish_reasons or not charge.is_known:
        return charge
    return msgspec.structs.replace(charge, is_estimated=True)  # the provider may have gone on


def _ms(seconds: float) -> float:
    return int(seconds * 1_000_000 + 0.5) / 1000
