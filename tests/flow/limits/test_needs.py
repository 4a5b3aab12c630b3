"""What a plan needs of limits, and when it matters who answers."""

from __future__ import annotations

from typing import Any

from msgspec import structs
from tests.flow import catalog
from tests.flow.test_route import WHO, chat

from xrouter.domain.catalog import Price, Version
from xrouter.domain.limits import Limit, Tenant
from xrouter.domain.plan import Plan, Target
from xrouter.domain.snapshot import Snapshot
from xrouter.flow.ask import Ask
from xrouter.flow.limits.keeper import Keeper
from xrouter.flow.limits.needs import Needs, needs
from xrouter.flow.limits.rules import RuleBook
from xrouter.stores.memory.meters import MemoryMeters
from xrouter.telemetry.metrics import Meters

PRICE = Price(currency="RUB", input=0, output=0, request=5)
ONE, TWO = (Version(label=label, upstream=label, price=PRICE) for label in "12")
NORTH, WEST = catalog.model("north/m", ONE, TWO), catalog.model("west/w", ONE)
HERE, THERE = catalog.endpoint(1, "north"), catalog.endpoint(2, "west")
STANDBY = structs.replace(HERE, id=3, name="e3")
MINE = structs.replace(HERE, id=-1, name="e1@own", owner=WHO.project)
FIRST, SECOND = Target(HERE, NORTH, ONE), Target(HERE, NORTH, TWO)
OTHER = Target(THERE, WEST, ONE)


def limited(*limits: Limit) -> Snapshot:
    return catalog.snapshot(NORTH, WEST, limits={each.subject: (each,) for each in limits})


def limit(subject: str, meter: Any = "requests", **more: Any) -> Limit:
    fields: dict[str, Any] = {"window": "total", "amount": 10, "time_zone": "UTC"} | more
    return Limit(subject=subject, meter=meter, **fields)


def needed(state: Snapshot, *targets: Target, refusal: tuple[Target, ...] = ()) -> Needs:
    ask = Ask(WHO, chat(max_tokens=5), None, {})
    return needs(RuleBook(), ask, Plan(targets, "", refusal=refusal), state)


def wanted(found: Needs) -> dict[str, int]:
    return {want.counter.partition("|")[0]: want.amount for want in found.wants}


def test_where_nothing_depends_on_who_answers_there_is_no_choice() -> None:
    found = needed(limited(limit("key:*"), limit("project:*")), FIRST, SECOND, OTHER)
    assert (found.choices, len(found.wants)) == (None, 2)


def test_all_that_have_the_same_limits_are_no_choice() -> None:
    standby = Target(STANDBY, NORTH, ONE)
    of_model = needed(limited(limit("model:north/m")), FIRST, SECOND, standby)
    assert (of_model.choices, wanted(of_model)) == (None, {"model:north/m": 1})
    of_version = needed(limited(limit("version:*")), FIRST, standby)
    assert (of_version.choices, wanted(of_version)) == (None, {"version:north/m:1": 1})


def test_what_several_need_is_wanted_once() -> None:
    state = limited(limit("model:north/m"), limit("version:north/m:2"), limit("key:*"))
    found = needed(state, SECOND, OTHER, refusal=(FIRST,))
    assert found.choices is not None
    assert wanted(found) == {"key:k1": 1, "model:north/m": 1, "version:north/m:2": 1}
    assert (found.choices.ways, found.choices.main) == (((1, 2), (), (1,)), 2)


def test_each_needs_money_at_its_own_price() -> None:
    dear = structs.replace(TWO, price=structs.replace(PRICE, request=9))
    state = limited(limit("version:*", "money"), limit("model:*", "money"), limit("key:*", "money"))
    found = needed(state, FIRST, Target(HERE, NORTH, dear), OTHER)
    assert wanted(found) == {
        "key:k1": 9,
        "model:north/m": 9,
        "version:north/m:1": 5,
        "version:north/m:2": 9,
        "model:west/w": 5,
        "version:west/w:1": 5,
    }


def test_money_is_held_with_what_its_tenant_pays_on_top() -> None:
    tenant = Tenant(project=WHO.project, organization="o", margin=10_000, vat=5000)
    limits = limit("key:*", "money"), limit("model:*", "money")
    state = structs.replace(limited(*limits), tenants={WHO.project: tenant})
    assert wanted(needed(state, FIRST)) == {"key:k1": 15, "model:north/m": 15}
    several = {"key:k1": 15, "model:north/m": 15, "model:west/w": 15}
    assert wanted(needed(state, FIRST, OTHER)) == several


async def test_a_spent_budget_leaves_the_projects_own_account() -> None:
    """There nothing is paid here; the router's account behind it is not asked."""
    state = limited(limit("model:north/m", "money", amount=4), limit("model:west/w"))
    keeper = Keeper(MemoryMeters(), Meters())
    plan = Plan((Target(MINE, NORTH, ONE), FIRST, OTHER), "priority, own account first")
    ask = Ask(WHO, chat(max_tokens=5), None, {})
    hold, left = await keeper.take(ask, plan, state, None)
    assert hold is not None
    assert [target.endpoint.name for target in left.targets] == ["e1@own", "e2"]
    assert (left.reason, left.skipped) == (plan.reason, False)
