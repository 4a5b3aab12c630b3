"""Many who write to the catalog at once: each gets through, and nothing dangles."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.control.conftest import Api

ROUNDS = 6


@pytest.fixture(autouse=True)
async def catalog(api: Api) -> None:
    await api.acme()
    for name in ("one", "two", "three"):
        await api.acme_model(name)
    given = {"name": "bot", "targets": [{"model": "acme/one"}]}
    await api.ask("POST", "/routes", json=given, status=201)


async def test_writers_do_not_stand_in_each_others_way(api: Api) -> None:
    async def write(method: str, path: str, **body: Any) -> None:
        reply = await api.http.request(method, "/control/v1" + path, json=body)
        assert reply.status_code < 300, (method, path, reply.text)

    price = {"model": "acme/one", "input": "1", "output": "1", "source": "s"}
    standby = {"base_url": "https://s.test", "credential": {"api_key": "s"}}
    writers = []
    for number in range(ROUNDS):
        versions = [{"label": f"v{number}", "upstream": "one"}]
        targets = [{"model": "acme/one", "weight": number}]
        moment = f"2036-01-0{number + 1}T00:00:00Z"
        extra = {"model_id": f"acme/extra{number}", "provider": "acme"}
        writers += [
            write("PATCH", "/providers/acme", display_name=f"A{number}"),
            write("PATCH", "/providers/acme/endpoints/primary", priority=number),
            write("POST", "/providers/acme/endpoints", **standby, name=f"s{number}"),
            write("PATCH", "/models/acme/one", context_length=number + 1),
            write("PATCH", "/models/acme/two", versions=versions),
            write("PATCH", "/models/acme/three", policy={"fallbacks": ["route/bot"]}),
            write("POST", "/models", **extra),
            write("POST", "/models/sync", provider="acme"),
            write("PATCH", "/routes/bot", targets=targets),
            write("POST", "/routes", name=f"r{number}", targets=targets),
            write("POST", "/prices", **price, effective_from=moment),
            write("PUT", "/rates", rates=[{"currency": "USD", "day": "2026-01-01", "rubles": "8"}]),
        ]
    await asyncio.gather(*writers)


async def test_of_a_model_that_goes_and_a_route_to_it_one_wins(api: Api) -> None:
    for number in range(ROUNDS):
        await api.acme_model(f"m{number}")
        given = {"name": f"r{number}", "targets": [{"model": f"acme/m{number}"}]}
        made, gone = await asyncio.gather(
            api.http.post("/control/v1/routes", json=given),
            api.http.delete(f"/control/v1/models/acme/m{number}"),
        )
        assert (made.status_code, gone.status_code) in ((201, 409), (400, 200))


async def test_of_two_routes_that_would_make_a_circle_one_is_made(api: Api) -> None:
    for one, two in (("a", "b"), ("c", "d"), ("e", "f")):
        for name in (one, two):
            given = {"name": name, "targets": [{"model": "acme/one"}]}
            await api.ask("POST", "/routes", json=given, status=201)
        replies = await asyncio.gather(
            *(
                api.http.patch(f"/control/v1/routes/{name}", json={"targets": [{"model": other}]})
                for name, other in ((one, f"route/{two}"), (two, f"route/{one}"))
            )
        )
        assert sorted(reply.status_code for reply in replies) == [200, 400]
