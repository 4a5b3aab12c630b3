"""A statement that names calls beside our books: call by call, and made one where that is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime

from msgspec import Struct, field
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.billing import beside, booked, settling
from xrouter.control.billing.amounts import money
from xrouter.control.billing.beside import Rest
from xrouter.control.billing.booked import Attempt
from xrouter.control.billing.months import day_of
from xrouter.control.billing.reconcile_schemas import CallOut, CallsOut, ReconcileIn
from xrouter.control.billing.settling import Exact, Settled
from xrouter.control.billing.statements import DAY_S, Billed, read_calls, span_of
from xrouter.control.billing.tariffs import Tariffs
from xrouter.control.db.engine import Database
from xrouter.domain.answer import Usage
from xrouter.domain.errors import InvalidRequest

MOST_SHOWN = 10_000
SOURCE = "statement"


class Matched(Struct):
    """An attempt of ours and the lines of its calls. exact: None where nobody knows the price."""

    attempt: Attempt
    lines: list[Billed]
    exact: Exact | None


class Compared(Struct):
    """Both sides. differ: what the bill says otherwise. unbilled: attempts that the bill should
    have and has not. unknown: lines that are none of ours. unnamed: attempts whose calls nobody
    has named, of which only the sum can be compared.
    """

    agreed: int = 0
    differ: list[Matched] = field(default_factory=list)
    unbilled: list[Attempt] = field(default_factory=list)
    unknown: list[Billed] = field(default_factory=list)
    unnamed: list[Attempt] = field(default_factory=list)


async def reconcile(db: Database, given: ReconcileIn, now: Callable[[], float]) -> CallsOut:
    """Compare, and settle where that is asked. Raises InvalidRequest."""
    lines = await asyncio.to_thread(read_calls, given.csv, given.time_zone)
    async with db.read() as session:
        tariffs = await Tariffs.read(session, given.provider)
        found = await _compare(session, given, lines, tariffs)
    unpriced = _price(found.unknown, given, tariffs)
    done, beside_ = Settled(), 0
    if given.settle:
        for exact in _batches(_exacts(found)):
            async with db.write() as session:
                done.add(await settling.settle(session, exact, source=SOURCE, now=now()))
        async with db.write() as session:
            rests = _rests(found, given, tariffs)
            beside_ = await beside.book(session, rests, source=SOURCE, now=now())
    return _told(found, done, beside_, unpriced)


async def _compare(
    session: AsyncSession, given: ReconcileIn, lines: Mapping[str, Billed], tariffs: Tariffs
) -> Compared:
    first, last = span = span_of(lines.values(), _seconds(given.since), _seconds(given.until))
    moments = [*span, *(line.at for line in lines.values())]
    begins, ends = min(moments) - DAY_S, max(moments) + DAY_S
    attempts = await booked.between(session, given.provider, given.endpoints, begins, ends)
    _require_account(given, attempts)
    found, ours = Compared(), set[str]()
    for attempt in attempts:
        names = [call for call in attempt.upstream_ids if call in lines and call not in ours]
        if not attempt.is_named:
            if first <= attempt.at <= last and not attempt.settled:
                found.unnamed.append(attempt)
            continue
        ours.update(names)
        if names:
            matched = _matched(attempt, [lines[call] for call in names], tariffs)
            if matched is None:
                found.agreed += 1
            else:
                found.differ.append(matched)
        elif first <= attempt.at <= last and (attempt.cost or attempt.is_estimated):
            found.unbilled.append(attempt)
    others = [call for call in lines if call not in ours]
    known = await beside.known(session, given.provider, others)
    found.agreed += len(known)
    found.unknown = [lines[call] for call in others if call not in known]
    return found


def _require_account(given: ReconcileIn, attempts: Sequence[Attempt]) -> None:
    """What is not on one account's bill may be on another's."""
    used = sorted({attempt.endpoint for attempt in attempts})
    if given.settle and not given.endpoints and len(used) > 1:
        raise InvalidRequest(
            f"'{given.provider}' was asked by {len(used)} endpoints: whose bill is it?",
            param="endpoints",
            code="missing_value",
            hint=f"Name those that it is for: {', '.join(used[:20])}.",
        )


def _matched(attempt: Attempt, lines: list[Billed], tariffs: Tariffs) -> Matched | None:
    """None where both sides say the same, and we have not guessed it."""
    tokens = _sum(line.tokens_in for line in lines), _sum(line.tokens_out for line in lines)
    told = _sum(line.cost for line in lines)
    same = (tokens[0] in (None, attempt.tokens_in)) and (tokens[1] in (None, attempt.tokens_out))
    cost: int | None
    if told is not None:
        cost = told
    elif same and not attempt.is_estimated:
        cost = attempt.cost
    else:
        cost = tariffs.again(attempt, [_usage(line) for line in lines])
    if same and cost == attempt.cost and not attempt.is_estimated:
        return None
    if cost is None:
        return Matched(attempt, lines, None)
    exact = Exact(
        attempt.event_id,
        attempt.number,
        attempt.tokens_in if tokens[0] is None else tokens[0],
        attempt.tokens_out if tokens[1] is None else tokens[1],
        cost,
    )
    return Matched(attempt, lines, exact)


def _exacts(found: Compared) -> list[Exact]:
    """What the bill makes exact; of estimates that it does not have, that they cost nothing."""
    exacts = [each.exact for each in found.differ if each.exact is not None]
    exacts += [
        Exact(each.event_id, each.number, 0, 0, 0) for each in found.unbilled if each.is_estimated
    ]
    return sorted(exacts, key=lambda exact: exact.event_id)


def _batches(exacts: Sequence[Exact]) -> Iterable[list[Exact]]:
    """All attempts of a request are in the same one."""
    batch: list[Exact] = []
    for exact in exacts:
        if len(batch) >= settling.BATCH and batch[-1].event_id != exact.event_id:
            yield batch
            batch = []
        batch.append(exact)
    if batch:
        yield batch


def _price(lines: Iterable[Billed], given: ReconcileIn, tariffs: Tariffs) -> int:
    """Fill in what the bill does not say; of how many calls nobody knows it."""
    unpriced = 0
    for line in lines:
        if line.cost is None:
            day = date.fromisoformat(day_of(line.at, given.time_zone))
            line.cost = tariffs.then(line.model, day, line.at, _usage(line))
            unpriced += line.cost is None
    return unpriced


def _rests(found: Compared, given: ReconcileIn, tariffs: Tariffs) -> list[Rest]:
    """What is on one side alone, by model and day, wherever all of it has a price."""
    rests: dict[tuple[str, str], Rest] = {}

    def rest(model: str, at: float) -> Rest:
        made = Rest(given.provider, ",".join(given.endpoints), model)
        return rests.setdefault((model, day_of(at, given.time_zone)), made)

    for line in found.unknown:
        rest(tariffs.model(line.model), line.at).lines.append(line)
    for attempt in found.unnamed:
        rest(attempt.model, attempt.at).attempts.append(attempt)
    return [each for each in rests.values() if all(line.cost is not None for line in each.lines)]


def _told(found: Compared, done: Settled, beside_: int, unpriced: int) -> CallsOut:
    rows = [
        *(_row("differs", each.attempt, each.lines, each.exact) for each in found.differ),
        *(_row("not_billed", each, (), None) for each in found.unbilled),
        *(_row("not_ours", None, [each], None) for each in found.unknown),
        *(_row("unnamed", each, (), None) for each in found.unnamed),
    ]
    return CallsOut(
        agreed=found.agreed,
        differ=len(found.differ),
        not_billed=len(found.unbilled),
        not_ours=len(found.unknown),
        unnamed=len(found.unnamed),
        unpriced=unpriced + sum(each.exact is None for each in found.differ),
        settled=done.attempts,
        in_packages=done.in_packages,
        adjusted=money(done.cost),
        unattributed=money(beside_),
        data=rows[:MOST_SHOWN],
    )


def _row(
    what: str, attempt: Attempt | None, lines: Sequence[Billed], exact: Exact | None
) -> CallOut:
    theirs = _sum(line.cost for line in lines) if exact is None else exact.cost
    return CallOut(
        what=what,
        call=" ".join(line.call for line in lines)
        or (None if attempt is None else " ".join(attempt.upstream_ids) or None),
        event_id=None if attempt is None else attempt.event_id,
        attempt=None if attempt is None else attempt.number,
        at=lines[0].at if attempt is None else attempt.at,
        model=lines[0].model if attempt is None else attempt.model,
        is_estimated=attempt is not None and attempt.is_estimated,
        our_tokens=None if attempt is None else attempt.tokens_in + attempt.tokens_out,
        their_tokens=_sum(_sum((line.tokens_in, line.tokens_out)) for line in lines),
        our_cost=None if attempt is None else money(attempt.cost),
        their_cost=None if theirs is None else money(theirs),
    )


def _seconds(at: datetime | None) -> float | None:
    return None if at is None else at.timestamp()


def _usage(line: Billed) -> Usage:
    return Usage(line.tokens_in or 0, line.tokens_out or 0, line.cached, line.reasoning)


def _sum(numbers: Iterable[int | None]) -> int | None:
    """None where one is not told, and of nothing."""
    found = list(numbers)
    known = [number for number in found if number is not None]
    return sum(known) if known and len(known) == len(found) else None
