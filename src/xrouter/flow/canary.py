"""A new version tried by a share of the callers: always the same ones, so that each sees one."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from random import random

from msgspec.structs import replace

from xrouter.domain.plan import Target
from xrouter.domain.routes import Canary, Policy
from xrouter.domain.snapshot import Snapshot
from xrouter.flow.accounts import may_be_asked
from xrouter.flow.ask import Ask
from xrouter.flow.conditions import is_affordable

CHANNEL = "latest"
_WHOLE = 1 << 64


def concerns(targets: Sequence[Target], snapshot: Snapshot) -> bool:
    """Whether a canary stands before one of the targets."""
    return bool(snapshot.canaries) and any(t.model.model_id in snapshot.canaries for t in targets)


def first(
    targets: list[Target], ask: Ask, snapshot: Snapshot, policy: Policy, *, is_strict: bool = False
) -> tuple[list[Target], str | None]:
    """With the canary before the version it is to replace, for those of its share; and why.

    policy: of the name that was asked for; a canary that costs more than is allowed stays out.
    is_strict: so does one of unknown price.
    """
    if not snapshot.canaries:
        return targets, None
    found: list[Target] = []
    reason: str | None = None
    for target in targets:
        trial = snapshot.canaries.get(target.model.model_id)
        if trial is not None and _may_stand_for(target) and _is_in(trial, target, ask):
            tried = _on_trial(trial, target)
            if (
                tried is not None
                and may_be_asked(tried, ask.rates, is_strict=is_strict)
                and is_affordable(tried, ask, policy)
            ):
                reason = f"canary {trial.label}"
                found.append(tried)
        found.append(target)
    return found, reason


def _may_stand_for(target: Target) -> bool:
    return target.version.channel == CHANNEL and not target.pinned


def _is_in(trial: Canary, target: Target, ask: Ask) -> bool:
    return _position(trial, target, ask) < trial.share


def _position(trial: Canary, target: Target, ask: Ask) -> float:
    """Where a caller stands between 0 and 1, the same for a model's every trial of a label."""
    if trial.by == "request":
        return random()  # noqa: S311 - a share, no secret
    who = ask.principal.key_id
    if trial.by == "user" and ask.request is not None and ask.request.user:
        who = ask.request.user
    name = f"{target.model.model_id}\0{trial.label}\0{who}".encode("utf-8", "replace")
    return int.from_bytes(blake2b(name, digest_size=8).digest(), "big") / _WHOLE


def _on_trial(trial: Canary, target: Target) -> Target | None:
    """The target with the canary's version, where its model has it."""
    for version in target.model.versions:
        if version.label == trial.label:
            return replace(target, version=version)
    return None
