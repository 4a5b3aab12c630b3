"""Exchange rates and limits in the registry's document."""

from __future__ import annotations

from typing import Any

import pytest
from tests.control.registry.conftest import RegistryApi, whole
from tests.control.registry.test_import import actions

Json = dict[str, Any]
RATES: list[Json] = [
    {"currency": "EUR", "day": "2026-11-20", "rubles": 95_000_000_000},
    {"currency": "USD", "day": "2026-11-20", "rubles": 81_250_000_000},
]
LIMITS: list[Json] = [
    {"subject": "key:*", "meter": "requests", "window": "minute", "amount": 60},
    {
        "subject": "project:default",
        "model": "acme/one",
        "meter": "money",
        "window": "month",
        "amount": 5_000_000_000_000,
        "warn_at": 80,
        "is_enabled": False,
    },
]


async def test_rates_and_limits_come_along(api: RegistryApi) -> None:
    done = await api.put(whole() | {"rates": RATES, "limits": LIMITS})
    assert actions(done)[-3:] == [
        ("create", "rates", "2026-11-20"),
        ("create", "limit", "1"),
        ("create", "limit", "2"),
    ]
    found = await api.export()
    assert found["format"] == "xrouter-registry-3"
    assert found["rates"] == RATES
    assert [each["amount"] for each in found["limits"]] == [60, 5_000_000_000_000]
    limits = (await api.ask("GET", "/limits"))["data"]
    assert [each["amount"] for each in limits] == [60, "5000"]
    rates = (await api.ask("GET", "/rates"))["data"]
    assert [each["rubles"] for each in rates] == ["95", "81.25"]
    assert (await api.put(found))["changed"] == []


async def test_an_empty_install_becomes_the_same(api: RegistryApi, fresh: RegistryApi) -> None:
    await api.put(whole() | {"rates": RATES, "limits": LIMITS})
    await fresh.put(await api.export("sealed"))
    assert _portable(await fresh.export()) == _portable(await api.export())


def _portable(document: Json) -> Json:
    return {name: part for name, part in document.items() if part}


async def test_pruned_are_limits_but_never_rates(api: RegistryApi) -> None:
    await api.put({"rates": RATES, "limits": LIMITS})
    done = await api.put({"rates": RATES[:1], "limits": LIMITS[:1]}, prune=True)
    assert actions(done) == [("delete", "limit", "2")]
    found = await api.export()
    assert (len(found["rates"]), len(found["limits"])) == (2, 1)
    changed = {**RATES[0], "rubles": 96_000_000_000}, {**LIMITS[0], "amount": 30}
    told = await api.put({"rates": [changed[0]], "limits": [changed[1]]}, dry_run=True)
    assert actions(told) == [("update", "rates", "2026-11-20"), ("update", "limit", "1")]
    assert (await api.export())["rates"] == RATES


async def test_a_document_of_the_first_format_is_read_as_it_was(api: RegistryApi) -> None:
    await api.put({"rates": RATES, "limits": LIMITS})
    done = await api.put(whole() | {"format": "xrouter-registry-1"}, prune=True)
    assert {each["kind"] for each in done["changed"]} == {"provider", "model", "prices", "route"}
    assert len((await api.export())["limits"]) == 2
    error = await api.refused(whole() | {"format": "xrouter-registry-4"})
    assert error["param"] == "format"


@pytest.mark.parametrize(
    "part, value, param",
    [
        ("limits", [LIMITS[0] | {"window": "now"}], "limits[0]"),
        ("limits", [LIMITS[0] | {"subject": "nobody:x"}], "limits[0]"),
        ("rates", [RATES[0] | {"rubles": 0}], "rates.0.rubles"),
    ],
)
async def test_rates_and_limits_of_no_sense(
    api: RegistryApi, part: str, value: Json, param: str
) -> None:
    error = await api.refused(whole() | {part: value})
    assert error["param"].replace("[0].", ".0.") in (param, param.replace("[0]", ".0"))
    assert (await api.export())["providers"] == []


async def test_twice_the_same_is_a_conflict(api: RegistryApi) -> None:
    for part, value in (("rates", RATES[0]), ("limits", LIMITS[0])):
        error = await api.error("PUT", "/registry", json={part: [value, value]}, status=409)
        assert error["param"] == part
