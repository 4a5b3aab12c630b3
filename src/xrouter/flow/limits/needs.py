"""What a request needs of limits: of those that count whoever answers, and of each target's own."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from xrouter.domain.choices import Choices
from xrouter.domain.plan import Plan, Target
from xrouter.domain.ports import Allowance, Level, Reply, Verdict, Want
from xrouter.domain.snapshot import Snapshot
from xrouter.domain.windows import FOREVER
from xrouter.flow import accounts
from xrouter.flow.ask import Ask
from xrouter.flow.limits.rules import Rule, RuleBook, Rules, Shown, shown
from xrouter.flow.limits.wants import Gauge, unknown, wants

_SEVERAL = 2

Who = tuple[str, str, bool]
"""A model, its version, and whether it is asked on the project's own account."""


class Needs(Struct):
    """One want for each rule. shown, is_watched: see Sheet. choices, whose: who the targets are,
    where their limits differ.
    """

    rules: Sequence[Rule]
    wants: list[Want]
    shown: Shown
    is_watched: bool
    choices: Choices | None = None
    whose: Sequence[Who] = ()

    def tell(self, reply: Reply, verdict: Verdict) -> None:
        """How the limit of requests stands, and the one of tokens, of which the least is left: of
        the common ones, and those of who is asked first, or of whom the refusal is about.
        """
        told, wants, levels = self.shown, self.wants, verdict.levels
        if self.choices is not None:
            ways = verdict.opened[:1] if verdict.hold is not None else self._about(verdict.refused)
            places = self.choices.held(len(wants), ways)
            wants, levels = [wants[at] for at in places], [levels[at] for at in places]
            told = shown(wants)
        for meter, at, several in told:
            if several:
                at = min(several, key=lambda place: levels[place].remaining)  # noqa: PLW2901
            level = levels[at]
            reset = 0.0 if level.reset_s == FOREVER else level.reset_s
            reply.allow(Allowance(wants[at].limit, level.remaining, reset, meter))

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
    sheet = book.common(ask, snapshot)
    everyone = plan.targets
    if plan.overflow or plan.refusal:
        everyone = (*plan.targets, *plan.overflow, *plan.refusal)
    who = _by_who(everyone) if book.by_target else {}
    if len(who) == 1:
        sheet = book.whole(ask, plan.targets[0], snapshot)
    if sheet.money and accounts.cost_nothing(plan):
        sheet = sheet.but("money")
    is_whole = book.of_streams and (ask.request is None or not ask.request.streaming)
    if is_whole:
        sheet = sheet.but("streams")
    wanted = wants(sheet, everyone, ask, gauge)
    found = Needs(sheet.rules, wanted, sheet.shown, sheet.is_watched)
    if len(who) < _SEVERAL:
        return found
    own: list[tuple[Rules, list[Want]]] = []
    for (_, _, is_theirs), targets in who.items():
        sheet = book.own(ask, targets[0], snapshot)
        sheet = sheet.but("money") if is_theirs else sheet
        sheet = sheet.but("streams") if is_whole else sheet
        own.append((sheet.rules, wants(sheet, targets, ask, gauge)))
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
    needed = Needs(rules, wanted, shown(wanted), is_watched=True)
    if len(set(ways)) > 1:  # not all the same, whoever answers
        needed.choices, needed.whose = Choices(tuple(ways), main), whose
    return needed


def _by_who(targets: Sequence[Target]) -> dict[Who, list[Target]]:
    found: dict[Who, list[Target]] = {}
    for target in targets:
        found.setdefault(_who(target), []).append(target)
    return found


def _who(target: Target) -> Who:
    return target.model.model_id, target.version.label, target.endpoint.owner is not None
