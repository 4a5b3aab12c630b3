"""Stop 6: choices and endpoints become targets, and the strategy orders them into a plan."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from xrouter.domain.bounds import Bounds
from xrouter.domain.errors import Forbidden, InvalidRequest, XRouterError
from xrouter.domain.feedback import Feedback
from xrouter.domain.identity import Principal
from xrouter.domain.plan import Plan, Target
from xrouter.domain.snapshot import EMPTY, Snapshot
from xrouter.flow import accounts, canary, conditions, rating
from xrouter.flow.able import check_able
from xrouter.flow.ask import Ask
from xrouter.flow.board import Board
from xrouter.flow.resolve import SEE_LIST, hidden, is_listed, unknown
from xrouter.flow.ways import Kinds, Ways, tiers, work_out

_MAX_READY = 20_000


class Router:
    """Makes plans. Holds what names mean on the newest snapshot."""

    def __init__(self, board: Board, *, require_price: bool = False) -> None:
        """require_price: whether what nobody knows the price of is left out."""
        self._board = board
        self._require_price = require_price
        self._snapshot = EMPTY
        self._ready: dict[tuple[str, Kinds, str], Ways] = {}

    def plan(self, name: str, kinds: Kinds, ask: Ask, snapshot: Snapshot) -> Plan:
        """The plan for a name. Raises what `resolve` raises, Forbidden, InvalidRequest.

        kinds: of models that will do, () for all.
        """
        bounds = ask.principal.bounds
        if bounds is not None and bounds.models:
            ways = self._within(bounds, name, kinds, ask, snapshot)
        else:
            ways = self._ways(name, kinds, ask.principal.project, snapshot)
        if ways.guarded:
            ways = _entitled(ways, name, ask, snapshot)
        if ask.request is not None and not ways.mixed:
            check_able(ask.request, ways.targets[0].model, snapshot)
        simple = ways.simple
        if simple is None or not self._board.calm or ask.is_bound:
            return self._made(ways, ask, snapshot)
        if ways.ours is not None and any(map(self._board.holds, simple.targets)):
            return self._made(ways, ask, snapshot)
        return simple

    def targets(
        self, name: str, kinds: Kinds, snapshot: Snapshot, project: str = ""
    ) -> tuple[Target, ...]:
        """All that could answer for a name, whoever asks. Raises what `resolve` raises.

        project: on whose accounts, too.
        """
        ways = self._ways(name, kinds, project, snapshot)
        return ways.targets if ways.ours is None else tuple(ways.ours.behind(ways.targets))

    def rate(self, feedback: Feedback, principal: Principal, snapshot: Snapshot) -> None:
        """Keep what a caller thinks of an answer. Raises ModelNotFound, InvalidRequest."""
        for target in rating.targets(feedback, principal, snapshot):
            self._board.rated(target, feedback.score, principal.key_id)

    def _made(self, ways: Ways, ask: Ask, snapshot: Snapshot) -> Plan:
        targets = list(ways.targets)
        if ways.mixed:
            targets = _able(targets, ask, snapshot)
        targets = conditions.allowed(targets, ask, ways.policy)
        ordered = [t for group in tiers(targets) for t in self._ordered(group, ask, ways)]
        strict = ways.is_strict
        ordered, reason = canary.first(ordered, ask, snapshot, ways.policy, is_strict=strict)
        if ways.ours is not None:
            behind = ways.ours.behind(ordered)
            ordered = [t for t in behind if conditions.is_affordable(t, ask, ways.policy)]
        ordered = conditions.fitting_first(ordered, ask)
        ordered = conditions.inside_borders(ordered, ask, ways.policy, ways.chain)
        ready = _up_first(self._board.ready_first(ordered))
        if ready[0] is not ordered[0]:
            skipped = ordered[0].endpoint
            reason = (
                f"{reason or ways.policy.strategy}, {skipped.provider}/{skipped.name} held back"
            )
        return Plan(
            tuple(ready),
            accounts.reason_of(reason or ways.policy.strategy, ready),
            ways.policy,
            None if ways.route is None else ways.route.name,
            _chain(ways.overflow, ordered[0], ways, ask, snapshot),
            _chain(ways.refusal, ordered[0], ways, ask, snapshot),
            skipped=ready[0] is not ordered[0],
        )

    def _within(
        self, bounds: Bounds, name: str, kinds: Kinds, ask: Ask, snapshot: Snapshot
    ) -> Ways:
        """What the key's list leaves of the ways. Raises ModelNotFound: all else is not there."""
        listed = is_listed(name, bounds, snapshot)
        try:
            ways = self._ways(name, kinds, ask.principal.project, snapshot)
        except XRouterError as error:
            if not listed:
                raise hidden(name) from None
            error.hint = SEE_LIST
            raise
        if listed and ways.route is not None:
            return ways
        if not listed and ways.route is None:
            raise hidden(name)
        left = _filtered(ways, lambda target: bounds.admits(target.model))
        if not left.targets:
            raise hidden(name)
        return left

    def _ordered(self, group: list[Target], ask: Ask, ways: Ways) -> list[Target]:
        if len(group) == 1:
            return group
        return ways.order(group, ask, self._board, ways.policy.options)

    def _ways(self, name: str, kinds: Kinds, project: str, snapshot: Snapshot) -> Ways:
        if snapshot is not self._snapshot:
            self._snapshot = snapshot
            self._ready = {}
        own = snapshot.accounts.get(project)
        whose = "" if own is None else project
        found = self._ready.get((name, kinds, whose))
        if found is None:
            found = work_out(name, kinds, snapshot, own, require_price=self._require_price)
            if len(self._ready) >= _MAX_READY:
                self._ready.clear()
            self._ready[name, kinds, whose] = found
        return found


def _up_first(targets: list[Target]) -> list[Target]:
    """The same targets, those whose endpoint the prober found down behind the others."""
    up = [target for target in targets if target.endpoint.state != "down"]
    return up + [target for target in targets if target.endpoint.state == "down"]


def _entitled(ways: Ways, name: str, ask: Ask, snapshot: Snapshot) -> Ways:
    """What is left for this caller. Raises ModelNotFound: what one may not use is not there."""
    groups = ask.principal.groups
    gate = None if ways.route is None else ways.route.access_group

    def may(target: Target) -> bool:
        if target.guards is not None and not target.guards.groups.issubset(groups):
            return False
        return target.model.access_group is None or target.model.access_group in groups

    if (gate is not None and gate not in groups) or not any(map(may, ways.targets)):
        raise unknown(name, snapshot)
    return _filtered(ways, may)


def _filtered(ways: Ways, may: Callable[[Target], bool]) -> Ways:
    """The same with those targets alone that may be used."""
    if all(map(may, ways.targets + ways.overflow + ways.refusal)):
        return ways
    return replace(
        ways,
        targets=tuple(filter(may, ways.targets)),
        simple=None,
        overflow=tuple(filter(may, ways.overflow)),
        refusal=tuple(filter(may, ways.refusal)),
    )


def _chain(
    chain: tuple[Target, ...], first: Target, ways: Ways, ask: Ask, snapshot: Snapshot
) -> tuple[Target, ...]:
    """What the request's conditions leave of a chain. first: the first choice of its plan."""
    if not chain:
        return ()
    try:
        able = _able(list(chain), ask, snapshot)
        left = conditions.allowed(able, ask, ways.policy)
    except (Forbidden, InvalidRequest):
        return ()
    return tuple(conditions.inside_borders([first, *left], ask, ways.policy)[1:])


def _able(targets: list[Target], ask: Ask, snapshot: Snapshot) -> list[Target]:
    """The targets whose model can do what is asked. Raises the first one's InvalidRequest."""
    request = ask.request
    if request is None:
        return targets
    first: InvalidRequest | None = None
    left: list[Target] = []
    verdicts: dict[str, bool] = {}
    for target in targets:
        model = target.model
        if model.model_id not in verdicts:
            try:
                check_able(request, model, snapshot)
            except InvalidRequest as error:
                first = first or error
                verdicts[model.model_id] = False
            else:
                verdicts[model.model_id] = True
        if verdicts[model.model_id]:
            left.append(target)
    if not left and first is not None:
        raise first
    return left
