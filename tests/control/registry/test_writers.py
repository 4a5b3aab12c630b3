"""Imports and ways back among others who write: each gets through, and nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from tests.control.registry.conftest import RegistryApi, whole

ROUNDS = 5
Writer = Coroutine[Any, Any, None]


def numbered(number: int) -> dict[str, Any]:
    """The catalog with one thing changed in each of its parts."""
    given = whole()
    given["providers"][0]["display_name"] = f"Acme {number}"
    given["providers"][0]["endpoints"][0]["max_running"] = number + 1
    for model in given["models"]:
        model["context_length"] = number + 1
    given["prices"][0]["prices"][0]["output"] = number
    for route in reversed(given["routes"]):
        route["display_name"] = f"Route {number}"
    return given


async def test_importers_and_others_do_not_stand_in_each_others_way(api: RegistryApi) -> None:
    await api.put(whole())

    async def write(method: str, path: str, **body: Any) -> None:
        reply = await api.http.request(method, "/control/v1" + path, json=body)
        assert reply.status_code < 300, (method, path, reply.text)

    price = {"model": "acme/two", "input": "1", "output": "1", "source": "s"}
    writers: list[Writer] = []
    for number in range(ROUNDS):
        targets = [{"model": "acme/two", "weight": number}, {"model": "auto"}]
        writers += [
            write("PUT", "/registry", **numbered(number)),
            write("PATCH", "/routes/outer", targets=targets),
            write("PATCH", "/models/acme/two", policy={"fallbacks": ["auto"]}),
            write("PATCH", "/models/acme/one", display_name=f"One {number}"),
            write("PATCH", "/providers/acme", country="KZ"),
            write("PATCH", "/providers/acme/endpoints/primary", priority=number),
            write("POST", "/models/sync", provider="acme"),
            write("POST", "/models", model_id=f"acme/m{number}", provider="acme"),
            write("POST", "/routes", name=f"r{number}", targets=targets[:1]),
            write("POST", "/prices", **price, effective_from=f"2036-01-0{number + 1}T00:00:00Z"),
        ]
    await asyncio.gather(*writers)
    found = await api.export()
    assert len(found["models"]) == ROUNDS + 2
    assert len(found["routes"]) == ROUNDS + 2


async def test_of_two_ways_back_the_second_finds_nothing_to_do(api: RegistryApi) -> None:
    await api.put(whole())
    before = await api.export()
    for number in range(ROUNDS):
        revision = await api.revision()
        await api.put(numbered(number))
        done = await asyncio.gather(*(api.restore(revision) for _ in range(3)))
        assert sorted(bool(each["changed"]) for each in done) == [False, False, True]
        assert await api.export() == before


async def test_an_import_sees_what_another_has_just_written(api: RegistryApi) -> None:
    """Both change the one object, each a part of it: neither is lost, both are written down."""
    await api.put(whole())
    for number in range(ROUNDS):
        route = {"name": "bot", "targets": [{"model": "acme/one", "weight": number + 10}]}
        shown = {"display_name": f"Bot {number}"}
        await asyncio.gather(
            api.put({"routes": [route]}), api.ask("PATCH", "/routes/bot", json=shown)
        )
        found = await api.ask("GET", "/routes/bot")
        assert found["display_name"] == f"Bot {number}"
        assert found["targets"][0]["weight"] == number + 10
        page = await api.ask("GET", "/changes?limit=2&kind=route&object=bot")
        second, first = page["data"]
        assert {first["action"], second["action"]} == {"import", "update"}
        paths = {first["action"]: first["diff"], second["action"]: second["diff"]}
        assert [each["path"] for each in paths["update"]] == ["display_name"]


async def test_of_a_model_and_its_release_that_go_at_once_both_go(api: RegistryApi) -> None:
    await api.put(whole())
    for number in range(ROUNDS):
        model = f"acme/m{number}"
        versions = [{"label": label, "upstream": label} for label in ("a", "b")]
        given = {"model_id": model, "provider": "acme", "versions": versions}
        await api.ask("POST", "/models", json=given, status=201)
        release = {"model_id": model, "label": "b", "at": "2099-01-01T00:00:00Z"}
        made = await api.ask("POST", "/releases", json=release, status=201)
        gone, ended, put = await asyncio.gather(
            api.http.delete(f"/control/v1/models/{model}"),
            api.http.post(f"/control/v1/releases/{made['id']}/cancel"),
            api.http.put("/control/v1/registry", json=numbered(number)),
        )
        assert (gone.status_code, put.status_code) == (200, 200)
        assert ended.status_code in (200, 404), ended.text
