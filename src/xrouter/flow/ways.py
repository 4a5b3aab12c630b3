"""What a name means on one snapshot: all targets that may answer for it, worked out once."""

from __future__ import annotations

from itertools import groupby

from msgspec import Struct
from msgspec.structs import replace

from xrouter.domain.catalog import Kind
from xrouter.domain.errors import ModelUnavailable, XRouterError
from xrouter.domain.plan import Plan, Target
from xrouter.domain.routes import Policy, Route
from xrouter.domain.snapshot import Snapshot
from xrouter.flow import canary
from xrouter.flow.resolve import Choice, Wanted, resolve
from xrouter.flow.strategies import Order, strategies

PRIORITY = "priority"

Kinds = tuple[Kind, ...]


class Ways(Struct, frozen=True):
    """targets: by tier, at least one. guarded: not for every caller. mixed: of several models.

    simple: the one plan, where nothing about the request or the targets' health matters.
    """

    targets: tuple[Target, ...]
    policy: Policy
    route: Route | None
    order: Order
    guarded: bool
    mixed: bool
    simple: Plan | None
    overflow: tuple[Target, ...]
    refusal: tuple[Target, ...]


def work_out(name: str, kinds: Kinds, snapshot: Snapshot) -> Ways:
    """Find the targets. Raises what `resolve` raises."""
    wanted = resolve(name, snapshot, kinds)
    policy = wanted.policy
    targets = _crossed(wanted.choices, snapshot, 0)
    for fallback in policy.fallbacks:
        targets += _chain((fallback,), kinds, snapshot, targets[-1].tier + 1 if targets else 0)
    if not targets:
        raise ModelUnavailable(
            f"The model '{wanted.model.model_id}' has no endpoint that could answer.",
            param="model",
            hint=f"The operator can add one to the provider '{wanted.model.provider}'.",
        )
    known = strategies()
    strategy = known.get(policy.strategy) or known[PRIORITY]
    models = {target.model.model_id: target.model for target in targets}
    overflow = tuple(_chain(policy.on_overflow, kinds, snapshot, 0))
    refusal = tuple(_chain(policy.on_refusal, kinds, snapshot, 0))
    ways = Ways(
        targets=tuple(targets),
        policy=policy,
        route=wanted.route,
        order=strategy.order,
        guarded=any(target.model.access_group for target in (*targets, *overflow, *refusal))
        or (wanted.route is not None and wanted.route.access_group is not None),
        mixed=len(models) > 1,
        simple=None,
        overflow=overflow,
        refusal=refusal,
    )
    return _simplified(ways, wanted, snapshot)


def _simplified(ways: Ways, wanted: Wanted, snapshot: Snapshot) -> Ways:
    """With its one plan, where no request can have another one while all targets are well."""
    policy = ways.policy
    alone = policy.strategy == PRIORITY or all(len(g) == 1 for g in tiers(list(ways.targets)))
    free = not policy.countries and policy.max_price is None and policy.borders == "open"
    up = all(target.endpoint.state != "down" for target in ways.targets)
    if ways.mixed or not (alone and free and up) or canary.concerns(ways.targets, snapshot):
        return ways
    route = None if wanted.route is None else wanted.route.name
    plan = Plan(ways.targets, policy.strategy, policy, route, ways.overflow, ways.refusal)
    return replace(ways, simple=plan)


def _crossed(choices: tuple[Choice, ...], snapshot: Snapshot, base: int) -> list[Target]:
    """Choices times endpoints, by tier: priority, then step, then the endpoint's priority."""
    found: list[tuple[tuple[int, int, int], Target]] = []
    for choice in choices:
        for endpoint in snapshot.endpoints.get(choice.model.provider, ()):
            if choice.endpoint in (None, endpoint.name):
                place = (choice.priority, choice.step, endpoint.priority)
                target = Target(
                    endpoint,
                    choice.model,
                    choice.version,
                    weight=choice.weight,
                    pinned=not choice.moving,
                )
                found.append((place, target))
    found.sort(key=_place)
    numbers: dict[tuple[int, int, int], int] = {}
    return [
        replace(target, tier=numbers.setdefault(place, base + len(numbers)))
        for place, target in found
    ]


def _place(found: tuple[tuple[int, int, int], Target]) -> tuple[int, int, int]:
    return found[0]


def _chain(names: tuple[str, ...], kinds: Kinds, snapshot: Snapshot, base: int) -> list[Target]:
    """The targets of other names, one after another; names that mean nothing are left out."""
    found: list[Target] = []
    for name in names:
        try:
            choices = resolve(name, snapshot, kinds).choices
        except XRouterError:
            continue
        found += _crossed(choices, snapshot, found[-1].tier + 1 if found else base)
    return found


def tiers(targets: list[Target]) -> list[list[Target]]:
    """Targets that stand together, first those that are tried first."""
    return [list(group) for _tier, group in groupby(targets, key=_tier_of)]


def _tier_of(target: Target) -> int:
    return target.tier
