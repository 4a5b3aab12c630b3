"""What a name means on one snapshot: all targets that may answer for it, worked out once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from msgspec import Struct
from msgspec.structs import replace

from xrouter.domain.catalog import Kind
from xrouter.domain.errors import ModelUnavailable, XRouterError
from xrouter.domain.guards import guards_of
from xrouter.domain.plan import Plan, Target
from xrouter.domain.routes import Policy, Route
from xrouter.domain.snapshot import Snapshot
from xrouter.flow import accounts, canary
from xrouter.flow.able import does_all
from xrouter.flow.accounts import Accounts, Ours
from xrouter.flow.resolve import Choice, Wanted, held, resolve
from xrouter.flow.strategies import Order, strategies

PRIORITY = "priority"

Kinds = tuple[Kind, ...]


class Ways(Struct, frozen=True):
    """targets: by tier, at least one. guarded: not for every caller. mixed: of several models.

    simple: the one plan, where nothing about the request or the targets' health matters.
    ours: what stands behind a project's own accounts; None where it has none here. chain: the tier
    from which on targets are the policy's fallbacks. is_strict: whether prices must be known.
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
    ours: Ours | None = None
    chain: int = 0
    is_strict: bool = False


def work_out(
    name: str,
    kinds: Kinds,
    snapshot: Snapshot,
    own: Accounts | None = None,
    *,
    require_price: bool = False,
) -> Ways:
    """Find the targets. Raises what `resolve` raises, ModelUnavailable.

    own: accounts of the project that asks. require_price: whether what nobody knows the price of
    is left out where no policy says it.
    """
    wanted = resolve(name, snapshot, kinds)
    policy = wanted.policy
    targets = _crossed(wanted.choices, snapshot, 0)
    chain = targets[-1].tier + 1 if targets else 0
    for fallback in policy.fallbacks:
        targets += _chain((fallback,), kinds, snapshot, targets[-1].tier + 1 if targets else 0)
    if not targets:
        raise ModelUnavailable(
            f"The model '{wanted.model.model_id}' has no endpoint that could answer.",
            param="model",
            hint=f"The operator can add one to the provider '{wanted.model.provider}'.",
        )
    overflow = _chain(policy.on_overflow, kinds, snapshot, 0)
    refusal = _chain(policy.on_refusal, kinds, snapshot, 0)
    strict = require_price if policy.require_price is None else policy.require_price
    rates, ours = snapshot.rates, None
    if own is not None:
        everything = (*targets, *overflow, *refusal)
        ours = accounts.ours_of(everything, own, rates, is_strict=strict)
        targets = accounts.on_them(targets, own)
        overflow, refusal = (accounts.on_them(found, own) for found in (overflow, refusal))
    targets, overflow, refusal = (
        [target for target in found if accounts.may_be_asked(target, rates, is_strict=strict)]
        for found in (targets, overflow, refusal)
    )
    if not targets:
        raise price_unknown(wanted.model.model_id)
    known = strategies()
    strategy = known.get(policy.strategy) or known[PRIORITY]
    models = {target.model.model_id: target.model for target in targets}
    ways = Ways(
        targets=tuple(targets),
        policy=policy,
        route=wanted.route,
        order=strategy.order,
        guarded=any(map(_is_gated, (*targets, *overflow, *refusal)))
        or (wanted.route is not None and wanted.route.access_group is not None),
        mixed=len(models) > 1,
        simple=None,
        overflow=tuple(overflow if ours is None else ours.behind(overflow)),
        refusal=tuple(refusal if ours is None else ours.behind(refusal)),
        ours=ours,
        chain=chain,
        is_strict=strict,
    )
    return _simplified(ways, wanted, snapshot)


def price_unknown(model: str) -> ModelUnavailable:
    """Nothing is asked of which nobody knows what it costs."""
    return ModelUnavailable(
        f"It is not known what the model '{model}' costs, and this router asks for nothing else.",
        code="price_unknown",
        param="model",
        hint="For the operator: POST /control/v1/prices writes a price down, PUT /control/v1/rates"
        " the exchange rate of its currency; XROUTER_REQUIRE_PRICE=allow lets such models answer.",
    )


def _simplified(ways: Ways, wanted: Wanted, snapshot: Snapshot) -> Ways:
    """With its one plan, where no request can have another one while all targets are well."""
    policy = ways.policy
    alone = policy.strategy == PRIORITY or all(len(g) == 1 for g in tiers(list(ways.targets)))
    free = (
        guards_of(replace(policy, require_price=None)) is None
        and all(target.guards is None for target in (*ways.targets, *ways.overflow, *ways.refusal))
        and all(does_all(target.model) for target in (*ways.overflow, *ways.refusal))
    )
    targets = ways.targets if ways.ours is None else tuple(ways.ours.behind(ways.targets))
    up = all(target.endpoint.state != "down" for target in targets)
    if ways.mixed or not (alone and free and up) or canary.concerns(ways.targets, snapshot):
        return ways
    route = None if wanted.route is None else wanted.route.name
    reason = accounts.reason_of(policy.strategy, targets)
    plan = Plan(targets, reason, policy, route, ways.overflow, ways.refusal)
    return replace(ways, simple=plan)


def _is_gated(target: Target) -> bool:
    """Whether it is not there for every caller."""
    gates = target.guards is not None and target.guards.groups
    return bool(gates) or target.model.access_group is not None


def _crossed(choices: Sequence[Choice], snapshot: Snapshot, base: int) -> list[Target]:
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
                    guards=choice.guards,
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
            wanted = resolve(name, snapshot, kinds)
        except XRouterError:
            continue
        choices = held(wanted.choices, wanted.policy, wanted.route)
        found += _crossed(choices, snapshot, found[-1].tier + 1 if found else base)
    return found


def tiers(targets: list[Target]) -> list[list[Target]]:
    """Targets that stand together, first those that are tried first."""
    return [list(group) for _tier, group in groupby(targets, key=_tier_of)]


def _tier_of(target: Target) -> int:
    return target.tier
