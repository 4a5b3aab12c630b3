"""A project's own accounts: its targets go out on them, the router's account comes after.

A target on a project's account is one of its own: it has its own standing at the board, its own
token and its own lane, so that what fails there fails for nobody else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct
from msgspec.structs import replace

from xrouter.domain.catalog import OWN, Endpoint
from xrouter.domain.errors import (
    ContextLengthExceeded,
    OperatorError,
    ProjectCredentialRefused,
    UpstreamError,
    UpstreamOverloaded,
    UpstreamQuotaExhausted,
    UpstreamRateLimited,
    XRouterError,
)
from xrouter.domain.plan import Plan, Target
from xrouter.flow.costs import is_priced

Accounts = Mapping[int, Endpoint]
"""By the id of the router's endpoint: the same on the project's account."""


class Ours(Struct, frozen=True):
    """The router's accounts that stand behind a project's. endpoints: by the ids of the project's.

    rates: to know what has a price. is_strict: only that may be asked.
    """

    endpoints: Mapping[int, Endpoint]
    rates: Mapping[str, int]
    is_strict: bool

    def behind(self, targets: Iterable[Target]) -> list[Target]:
        """The same targets, the router's account behind each project's account that allows it."""
        found: list[Target] = []
        for target in targets:
            found.append(target)
            own = target.endpoint
            if own.owner is not None and not own.is_only:
                ours = replace(target, endpoint=self.endpoints[own.id])
                if may_be_asked(ours, self.rates, is_strict=self.is_strict):
                    found.append(ours)
        return found


def ours_of(
    targets: Iterable[Target], accounts: Accounts, rates: Mapping[str, int], *, is_strict: bool
) -> Ours | None:
    """What stands behind the accounts; None where none of them matters to the targets."""
    found = (target.endpoint for target in targets)
    endpoints = {accounts[each.id].id: each for each in found if each.id in accounts}
    return Ours(endpoints, rates, is_strict) if endpoints else None


def on_them(targets: Iterable[Target], accounts: Accounts) -> list[Target]:
    """The same targets on the project's accounts, where it has one."""
    found: list[Target] = []
    for target in targets:
        endpoint = accounts.get(target.endpoint.id)
        found.append(target if endpoint is None else replace(target, endpoint=endpoint))
    return found


def cost_nothing(plan: Plan) -> bool:
    """Whether the request goes out on the project's accounts alone, whatever becomes of it."""
    if plan.targets[0].endpoint.owner is None:
        return False
    targets = (*plan.targets, *plan.overflow, *plan.refusal)
    return all(target.endpoint.owner is not None for target in targets)


def may_be_asked(target: Target, rates: Mapping[str, int], *, is_strict: bool) -> bool:
    """Whether its price is known, or nothing is paid for it here, or nobody on the way to it asks.

    is_strict: whether the policy that was asked for does.
    """
    if not is_strict and (target.guards is None or not target.guards.require_price):
        return True
    return target.endpoint.owner is not None or is_priced(target, rates)


def reason_of(reason: str, targets: Iterable[Target]) -> str:
    """Why this target and no other, where the first one is on the project's account."""
    first = next(iter(targets)).endpoint
    if first.owner is None:
        return reason
    return f"{reason}, own account {'only' if first.is_only else 'first'}"


def told(error: XRouterError, target: Target) -> XRouterError:
    """What a failure means where the target is on a project's account."""
    owner = target.endpoint.owner
    if owner is None or not isinstance(error, OperatorError):
        return error
    provider = target.endpoint.provider
    what = "is used up" if isinstance(error, UpstreamQuotaExhausted) else "was refused"
    return ProjectCredentialRefused(
        f"The project's own account at the provider '{provider}' {what}.",
        hint=f"An admin of the project can set its credential for '{provider}' anew.",
        upstream_status=error.upstream_status,
        upstream_request_id=error.upstream_request_id,
    )


def worth_asking(ahead: Iterable[Target], failed: Target, error: XRouterError) -> Iterator[Target]:
    """Of the targets ahead, those that make sense after a failure on a project's account: not the
    router's account at the same place, where the provider itself has failed, or the prompt is
    too long.
    """
    theirs = isinstance(error, UpstreamError | ContextLengthExceeded) and not isinstance(
        error, UpstreamRateLimited | UpstreamOverloaded
    )
    name = failed.endpoint.name
    for target in ahead:
        endpoint = target.endpoint
        is_there = endpoint.owner is None and endpoint.name + OWN == name
        is_same = target.version is failed.version or error.reach == "endpoint"
        if not (theirs and is_there and is_same and endpoint.provider == failed.endpoint.provider):
            yield target
