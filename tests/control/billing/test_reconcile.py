from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from tests.control.billing.conftest import NOON, Book, asked
from tests.control.billing.test_taker import Pages
from tests.control.conftest import Api

from xrouter.control.billing.taker import Charges
from xrouter.control.db.engine import Database
from xrouter.control.drain import Drain
from xrouter.domain.usage import UsageEvent

DAY = 86_400


async def kept(db: Database, events: Sequence[UsageEvent]) -> None:
    drain = Drain(db, Pages([events]), takers=(Charges(),))
    await drain.drain_once()


async def compared(api: Api, csv: str, *, status: int = 200, **more: Any) -> Any:
    given = {"provider": "acme", "csv": csv, **more}
    return await api.ask("POST", "/billing/reconciliations", json=given, status=status)


@pytest.fixture
async def events(book: Book) -> list[UsageEvent]:
    """15 tokens on the 15th by `one`, 30 on the 16th, of which 4 were cached, and 15 by `two`.

    And what is on the statement of the project's own account.
    """
    made = [
        asked(700, upstream_model="One-Pro:1.2"),
        asked(700, at=NOON + DAY, tokens_cached=4),
        asked(700, at=NOON + DAY),
        asked(900, at=NOON + DAY, model_served="acme/two"),
        asked(900, provider="other"),
        asked(0, endpoint="main@own"),
    ]
    await kept(book.db, made)
    return made


@pytest.mark.usefixtures("events")
@pytest.mark.parametrize("name", ["acme/one", "one", "One-Pro", "ONE-PRO:1.2"])
async def test_a_statement_that_agrees_has_no_differences(api: Api, name: str) -> None:
    csv = f"day;model;tokens;amount\n15.01.2026;{name};10;0,0000002\n15.01.2026;{name};5;0,0000005"
    csv += "\n2026-01-16;acme/one;26;0,0000014\n2026-01-16;two;15;0,0000009\n;;;\n"
    found = await compared(api, csv)
    assert (found["data"], found["agreed"], found["tokens"]) == ([], 3, 0)
    assert found["cost"]["billionths"] == 0


@pytest.mark.usefixtures("events")
async def test_differences_are_told_by_day_and_model(api: Api) -> None:
    csv = "\ufeffDay,Model,Tokens\r\n2026-01-15,one,20\r\n2026-01-16,three,7\r\n"
    found = await compared(api, csv, cached_tokens=True)
    rows = [
        (r["day"], r["model"], r["our_tokens"], r["their_tokens"], r["tokens"])
        for r in found["data"]
    ]
    assert rows == [
        ("2026-01-15", "acme/one", 15, 20, -5),
        ("2026-01-16", "acme/one", 30, 0, 30),
        ("2026-01-16", "acme/two", 15, 0, 15),
        ("2026-01-16", "three", 0, 7, -7),
    ]
    assert (found["agreed"], found["tokens"], found["cost"]) == (0, 33, None)


@pytest.mark.usefixtures("events")
async def test_only_the_statements_days_count(api: Api) -> None:
    found = await compared(api, "day\tmodel\tamount\n2026-01-15\tone\t0.0000007")
    assert (found["data"], found["agreed"], found["tokens"]) == ([], 1, None)


@pytest.mark.usefixtures("events")
async def test_days_are_the_providers(api: Api) -> None:
    csv = "day;model;tokens\n2026-01-16;one;15\n2026-01-17;one;26\n2026-01-17;two;15"
    assert (await compared(api, csv, time_zone="Pacific/Kiritimati"))["data"] == []


@pytest.mark.parametrize(
    "csv, reason",
    [
        ("x", "must name"),
        ("day;model\n2026-01-15;one", "must name"),
        ("day;model;tokens", "no lines"),
        ("day;model;tokens\n15/01/26;one;5", "line 2"),
        ("day;model;tokens\n2026-01-15;one;many", "line 2"),
        ("day;model;tokens\n2026-01-15;;5", "line 2"),
        ("day;model;amount\n2026-01-15;one;NaN", "line 2"),
        ("day;model;amount\n2026-01-15;one;1e30", "line 2"),
        ("day;model;tokens\n2026-01-15;one;" + "9" * 5000, "line 2"),
        ("day;model;tokens\n2020-01-15;one;1\n2026-01-15;one;1", "spans"),
    ],
)
async def test_what_cannot_be_read_is_refused(api: Api, csv: str, reason: str) -> None:
    error = (await compared(api, csv, status=400))["error"]
    assert error["param"] == "csv"
    assert reason in error["message"]
