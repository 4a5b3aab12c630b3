"""What a killed process had under way becomes events."""

from __future__ import annotations

from msgspec.structs import replace
from tests.flow.catalog import endpoint, model, snapshot
from tests.flow.harness import Rig
from tests.stores.test_underway import sent
from typing_extensions import override

from xrouter.domain.catalog import Price, Version
from xrouter.domain.limits import Tenant
from xrouter.domain.money import FREE
from xrouter.domain.track import Sent, Track
from xrouter.flow.recover import recovered

PRICE = Price(id=3, currency="RUB", input=10**9, output=10**9, request=5)
STATE = snapshot(
    model("a/m", Version(label="1", upstream="m", price=PRICE)),
    endpoints=(endpoint(1, "a"),),
    tenants={"p": Tenant(project="p", organization="o", margin=1000, vat=2000)},
)


def test_the_prompt_of_each_call_is_charged_as_an_estimate() -> None:
    (event,) = recovered([replace(sent(400), calls=2)], STATE)
    assert (event.event_id, event.request_id, event.outcome) == ("event-400", "req-400", "error")
    assert (event.error_code, event.tokens_in, event.tokens_estimated) == (
        "process_killed",
        200,
        True,
    )
    charge = event.charge
    assert charge is not None
    assert charge.cost == 200 * 1000 + 2 * 5
    assert (charge.margin, charge.price_id, charge.is_estimated) == (20_001, 3, True)


def test_what_is_not_in_the_catalog_any_more_is_an_unknown_charge() -> None:
    (event,) = recovered([sent(400, model="a/gone")], STATE)
    assert event.charge is not None
    assert (event.charge.is_known, event.charge.total) == (False, 0)


def test_a_projects_own_account_costs_nothing_here() -> None:
    (event,) = recovered([replace(sent(400), endpoint="e@own")], STATE)
    assert event.charge == FREE


class Notes(Track):
    def __init__(self) -> None:
        self.kept: dict[int, Sent] = {}
        self.seen: list[Sent] = []

    @override
    def put(self, sent: Sent) -> int | None:
        self.seen.append(sent)
        self.kept[len(self.seen)] = sent
        return len(self.seen)

    @override
    def clear(self, slot: int) -> None:
        del self.kept[slot]


async def test_an_attempt_is_under_way_from_before_it_is_sent_until_it_is_settled(
    rig: Rig,
) -> None:
    notes = Notes()
    rig.pipeline._gear = replace(rig.pipeline._gear, track=notes)
    rig.fault("server_error", times=1)
    await rig.chat("openai/gpt-4o-mini", "x" * 12, user="u1", stream=True)
    assert [(each.endpoint, each.attempts) for each in notes.seen] == [("at-1", 1), ("at-2", 2)]
    assert notes.kept == {}
    first, last = notes.seen
    assert first.event_id == last.event_id == rig.event.event_id
    assert (last.request_id, last.end_user) == (rig.event.request_id, "u1")
    assert (last.characters, last.streamed, last.calls) == (12, True, 1)
    assert last.model == rig.event.model_served
