"""What a request needs of limits: of those that count whoever answers, and of each target's own."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from xrouter.domain.choices import Choices
from xrouter.domain.limits import Meter
from xrouter.domain.plan import Plan, Target
from xrouter.domain.ports import Level, Verdict, Want
from xrouter.domain.snapshot import Snapshot
from xrouter.flow import accounts
from xrouter.flow.ask import Ask
from xrouter.flow.limits.rules import Rule, RuleBook, Rules
from xrouter.flow.limits.wants import Gauge, unknown, wants

_SEVERAL = 2

Who = tuple[str, str, bool]
"""A model, its version, and whether it is asked on the project's own account."""


class Needs(Struct):
    """One want for each rule. choices, whose: who the targets are, where their limits differ."""

    rules: Sequence[Rule]
    wants: list[Want]
    choices: Choices | None = None
    whose: Sequence[Who] = ()

    def told(self, verdict: Verdict) -> tuple[Sequence[Want], Sequence[Level]]:
        """What matters to the caller, and how it stands: the common ones, and those of who is asked
        first, or of whom the refusal is about.
        """
        if self.choices is None:
            return self.wants, verdict.levels
        ways = verdict.opened[:1] if verdict.hold is not None else self._about(verdict.refused)
        places = self.choices.held(len(self.wants), ways)
        return [self.wants[at] for at in places], [verdict.levels[at] for at in places]

    def granted(self, verdict: Verdict) -> tuple[Sequence[Rule], Sequence[Level]]:
        """The rules of what is held, in its order, and how they stand."""
        if self.choices is None:
            return self.rules, verdict.levels
        places = self.choices.held(len(self.wants), verdict.opened)
        return [self.rules[at] for at in places], [verdict.levels[at] for at in places]

    def left(self, plan: Plan, opened: Sequence[int]) -> Plan:
        """The plan without those whose own limits are used up."""
        if self.choices is None or len(opened) == len(self.whose):
            return plan
        able = {self.whose[way] for way in opened}
        targets = tuple(target for target in plan.targets if _who(target) in able)
        first, reason = plan.targets[0], plan.reason
        if targets[0] is not first:
            reason = f"{reason}, {first.model.model_id} at its limit"
        return replace(
            plan,
            targets=targets,
            reason=reason,
            overflow=tuple(target for target in plan.overflow if _who(target) in able),
            refusal=tuple(target for target in plan.refusal if _who(target) in able),
            skipped=plan.skipped or targets[0] is not first,
        )

    def _about(self, place: int) -> list[int]:
        """The first way that has this want."""
        ways = () if self.choices is None else self.choices.ways
        return [n for n, way in enumerate(ways) if place in way][:1]


def needs(
    book: RuleBook, ask: Ask, plan: Plan, snapshot: Snapshot, gauge: Gauge = unknown
) -> Needs:
    """Of the whole plan."""
    principal = ask.principal
    user = ask.end_user
    tenant = snapshot.tenants.get(principal.project)
    rules = book.common(principal, user, snapshot)
    everyone = plan.targets
    if plan.overflow or plan.refusal:
        everyone = (*plan.targets, *plan.overflow, *plan.refusal)
    who = _by_who(everyone) if book.by_target else {}
    is_whole = book.of_streams and (ask.request is None or not ask.request.streaming)
    if len(who) == 1:
        rules += book.own(principal, plan.targets[0], user, snapshot)
    if accounts.cost_nothing(plan):
        rules = _but("money", rules)
    if is_whole:
        rules = _but("streams", rules)
    found = Needs(rules, wants(rules, everyone, ask, tenant, gauge))
    if len(who) < _SEVERAL:
        return found
    own: list[tuple[Rules, list[Want]]] = []
    for (_, _, is_theirs), targets in who.items():
        rules = book.own(principal, targets[0], user, snapshot)
        rules = _but("money", rules) if is_theirs else rules
        rules = _but("streams", rules) if is_whole else rules
        own.append((rules, wants(rules, targets, ask, tenant, gauge) if rules else []))
    return _joined(found, own, list(who), len(_by_who(plan.targets)))


def _joined(
    common: Needs, own: Sequence[tuple[Rules, list[Want]]], whose: Sequence[Who], main: int
) -> Needs:
    """With what each needs of its own; what several need is wanted once, and the most of it."""
    rules, wanted = [*common.rules], [*common.wants]
    places: dict[str, int] = {}
    ways: list[tuple[int, ...]] = []
    for theirs in own:
        for rule, want in zip(*theirs, strict=True):
            at = places.setdefault(rule.counter, len(wanted))
            if at == len(wanted):
                rules.append(rule)
                wanted.append(want)
            elif want.amount > wanted[at].amount:
                wanted[at] = want
        ways.append(tuple(places[rule.counter] for rule in theirs[0]))
    if len(set(ways)) == 1:  # all the same, whoever answers
        return Needs(rules, wanted)
    return Needs(rules, wanted, Choices(tuple(ways), main), whose)


def _by_who(targets: Sequence[Target]) -> dict[Who, list[Target]]:
    found: dict[Who, list[Target]] = {}
    for target in targets:
        found.setdefault(_who(target), []).append(target)
    return found


def _who(target: Target) -> Who:
    return target.model.model_id, target.version.label, target.endpoint.owner is not None


def _but(meter: Meter, rules: Rules) -> Rules:
    return tuple(rule for rule in rules if rule.limit.meter != meter)
