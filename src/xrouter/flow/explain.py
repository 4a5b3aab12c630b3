"""Stops 5 and 6 alone, told in full: `POST /control/v1/explain`."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from typing_extensions import override

from xrouter.domain.catalog import Kind
from xrouter.domain.chat import ChatRequest
from xrouter.domain.errors import InvalidRequest, XRouterError
from xrouter.domain.explained import Explained, ExplainedTarget
from xrouter.domain.identity import Principal
from xrouter.domain.plan import Plan, Target
from xrouter.domain.ports import Explainer, SnapshotSource
from xrouter.domain.snapshot import Snapshot
from xrouter.flow import conditions
from xrouter.flow.able import check_able
from xrouter.flow.ask import Ask, Look
from xrouter.flow.board import Board
from xrouter.flow.cache import rule
from xrouter.flow.route import Router

_MS = 1000


class FlowExplainer(Explainer):
    """Asks the router that requests go through, on the snapshot in use."""

    def __init__(self, snapshots: SnapshotSource, router: Router, board: Board) -> None:
        self._snapshots = snapshots
        self._router = router
        self._board = board

    @override
    def explain(
        self, name: str, body: bytes, key_id: str | None, headers: Mapping[str, str]
    ) -> Explained:
        snapshot = self._snapshots.current
        try:
            request = _request(name, body)
            who = _principal(key_id, snapshot)
            raw = {key.lower().encode(): value.encode() for key, value in headers.items()}
            ask = Look(who, request, raw, snapshot.rates)
            kinds: tuple[Kind, ...] = ("chat",) if request is not None else ()
            plan = self._router.plan(name, kinds, ask, snapshot)
            kept = rule(plan, raw)
        except XRouterError as error:
            told = {"message": error.message, "code": error.code, "hint": error.hint}
            return Explained(asked=name, revision=snapshot.revision, error=told)
        everything = self._router.targets(name, kinds, snapshot, who.project)
        left_out = [target for target in everything if not _is_in(target, plan)]
        return Explained(
            asked=name,
            revision=snapshot.revision,
            route=plan.route,
            strategy=plan.policy.strategy,
            reason=plan.reason,
            max_attempts=plan.policy.max_attempts,
            cached_s=None if kept is None else kept.ttl,
            targets=(
                *(self._told(t, ask, place) for place, t in enumerate(plan.targets, 1)),
                *(self._told(t, ask, None, _why(t, ask, plan, snapshot)) for t in left_out),
            ),
            overflow=tuple(map(_short, plan.overflow)),
            refusal=tuple(map(_short, plan.refusal)),
        )

    def _told(
        self, target: Target, ask: Ask, place: int | None, why: str | None = None
    ) -> ExplainedTarget:
        standing = self._board.standing(target)
        latency = standing.latency
        return ExplainedTarget(
            place=place,
            why=why,
            model=target.model.model_id,
            version=target.version.label,
            upstream=target.version.upstream,
            provider=target.endpoint.provider,
            endpoint=target.endpoint.name,
            country=target.endpoint.country,
            tier=target.tier,
            weight=target.weight,
            state=target.endpoint.state,
            breaker=self._board.state(target),
            running=standing.running,
            latency_ms=None if latency is None else round(latency * _MS, 3),
            price=conditions.price(target, ask),
        )


def _request(name: str, body: bytes) -> ChatRequest | None:
    """The request that is asked about, None when only its model is known."""
    if not body:
        return None
    try:
        return msgspec.json.decode(body, type=ChatRequest)
    except msgspec.MsgspecError as error:
        raise InvalidRequest(
            f"The request for '{name}' cannot be read: {error}.", param="request"
        ) from None


def _principal(key_id: str | None, snapshot: Snapshot) -> Principal:
    if key_id is None:
        return Principal(key_id="explain", name="explain", project="")
    found = snapshot.key_named(key_id)
    if found is None:
        raise InvalidRequest(f"There is no API key '{key_id}'.", param="key_id")
    tenant = snapshot.tenants.get(found.principal.project)
    return found.principal if tenant is None else tenant.entitle(found.principal)


def _is_in(target: Target, plan: Plan) -> bool:
    return any(
        each.endpoint is target.endpoint
        and each.model is target.model
        and each.version is target.version
        for each in plan.targets
    )


def _why(target: Target, ask: Ask, plan: Plan, snapshot: Snapshot) -> str:
    """Why a target is not in the plan."""
    group = target.model.access_group
    if group is not None and group not in ask.principal.groups:
        return f"the key is not in the group '{group}'"
    gates = frozenset() if target.guards is None else target.guards.groups
    if not gates.issubset(ask.principal.groups):
        return "the key may not use a route on the way to it"
    bounds = ask.principal.bounds
    if bounds is not None and not bounds.admits(target.model):
        return "the model is not in the key's list"
    try:
        if ask.request is not None:
            check_able(ask.request, target.model, snapshot)
        conditions.allowed([target], ask, plan.policy)
    except XRouterError as error:
        return error.message
    return "behind a border that a fallback may not cross"


def _short(target: Target) -> str:
    return f"{target.model.model_id}:{target.version.label} at {target.endpoint.name}"
