"""What an import is refused for, and what it is not to blame for."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text
from tests.control.registry.conftest import PROVIDER, RegistryApi, whole

from xrouter.control.db.engine import Database
from xrouter.domain.routes import DEEPEST

Json = dict[str, Any]


def chain(length: int) -> Json:
    """So many routes, one in the other."""
    inner = ["acme/one", *(f"route/r{n}" for n in range(length))]
    routes = [{"name": f"r{n}", "targets": [{"model": inner[n]}]} for n in range(length)]
    return {"routes": routes}


async def test_routes_lead_no_deeper_than_requests_can_go(api: RegistryApi) -> None:
    await api.put(whole())
    error = await api.refused(chain(DEEPEST + 1))
    assert error["param"] == f"routes[r{DEEPEST}].targets"
    assert f"more than {DEEPEST} routes" in error["message"]
    assert "r5 -> r4 -> r3 -> r2 -> r1 -> r0" in error["message"]
    await api.put(chain(DEEPEST))
    path = {"name": "over", "targets": [{"model": f"route/r{DEEPEST - 1}"}]}
    error = await api.error("POST", "/routes", json=path, status=400)
    assert f"more than {DEEPEST} routes" in error["message"]


async def test_each_circle_is_told(api: RegistryApi) -> None:
    await api.put(whole())
    routes = [
        {"name": name, "targets": [{"model": "acme/one"}, {"model": f"route/{inner}"}]}
        for name, inner in (("a", "b"), ("b", "a"), ("c", "c"), ("d", "a"))
    ]
    error = await api.refused({"routes": routes})
    assert "lead to themselves: a -> b -> a" in error["message"]
    assert "c -> c" in error["hint"]
    assert "d -> a -> b -> a" in error["hint"]


async def _break(db: Database) -> None:
    """As a stranger may, past all checks: a target that is gone, a circle, a chain too deep."""
    async with db.write() as session:
        await session.execute(text("UPDATE route_targets SET model = 'gone' WHERE model = 'auto'"))
        await session.execute(
            text("UPDATE route_targets SET model = 'route/r0' WHERE model = 'acme/one'")
        )


async def test_what_was_wrong_before_is_a_warning(api: RegistryApi, db: Database) -> None:
    await api.put(whole())
    await api.put(chain(2))
    await _break(db)
    done = await api.put({"models": [{"model_id": "acme/three", "provider": "acme"}]})
    assert [each["object"] for each in done["changed"]] == ["acme/three"]
    first, second, third = done["warnings"]
    assert "routes[outer].targets[0].model: there is no 'gone'" in first
    assert "routes[r0].targets: routes lead to themselves: r0 -> r0" in second
    assert "routes[r1].targets" in third
    found = await api.export()
    done = await api.put(found)
    assert done["changed"] == []
    assert len(done["warnings"]) == 3, "an export can be imported again as it is"

    route = {"name": "new", "targets": [{"model": "nowhere"}]}
    error = await api.refused({"routes": [route]})
    assert error["param"] == "routes[new].targets[0].model"
    assert error.get("hint") is None, "only what is new is told"
    route = {"name": "new", "targets": [{"model": "route/r1"}]}
    error = await api.refused({"routes": [route]})
    assert error["param"] == "routes[new].targets"

    mended = {"routes": [{"name": "r0", "targets": [{"model": "acme/two"}]}]}
    done = await api.put(mended)
    assert len(done["warnings"]) == 1


async def test_many_old_problems_make_few_warnings(api: RegistryApi, db: Database) -> None:
    await api.put(whole())
    targets = [{"model": "acme/two", "weight": number} for number in range(30)]
    await api.put({"routes": [{"name": "wide", "targets": targets}]})
    async with db.write() as session:
        await session.execute(text("UPDATE route_targets SET model = 'gone'"))
    warnings = (await api.put({"providers": [PROVIDER | {"country": "KZ"}]}))["warnings"]
    assert len(warnings) == 11
    assert warnings[-1] == "Wrong before already: 23 more."


@pytest.mark.parametrize("holder", ["model", "provider"])
async def test_pruning_must_not_leave_a_policy_dangling(api: RegistryApi, holder: str) -> None:
    given = whole()
    policy = {"fallbacks": ["route/outer"]}
    if holder == "model":
        given["models"][1]["policy"] = policy
    else:
        given["providers"][0]["settings"] = {"policy": policy}
    await api.put(given)
    error = await api.refused({"routes": given["routes"][:1]}, prune=True)
    place = "models[acme/two]" if holder == "model" else "providers[acme].settings"
    assert error["param"] == f"{place}.policy.fallbacks[0]"


@pytest.mark.parametrize(
    "settings,param",
    [
        ({"approve": True}, "approve"),
        ({"approve_new_models": "sometimes"}, "approve_new_models"),
        ({"sync_every": 5}, "sync_every"),
        ({"policy": {"speed": 1}}, "policy.speed"),
        ({"policy": {"max_attempts": 0}}, "policy.max_attempts"),
    ],
)
async def test_settings_of_a_provider_are_checked(
    api: RegistryApi, settings: Json, param: str
) -> None:
    error = await api.refused({"providers": [PROVIDER | {"settings": settings}]})
    assert error["param"] == f"providers[0].settings.{param}"
    assert (await api.export())["providers"] == []


async def test_settings_of_a_provider_are_kept_as_they_are_said(api: RegistryApi) -> None:
    settings = {"sync_every": 3600, "policy": {"countries": ["RU"]}, "approve_new_models": False}
    await api.put({"providers": [PROVIDER | {"settings": settings}]})
    found = await api.export()
    assert found["providers"][0]["settings"] == settings
    assert (await api.put(found))["changed"] == []
    error = await api.refused(
        {"providers": [PROVIDER | {"settings": {"policy": {"fallbacks": ["no/thing"]}}}]}
    )
    assert error["param"] == "providers[acme].settings.policy.fallbacks[0]"


async def test_policies_and_successors_lead_somewhere(api: RegistryApi) -> None:
    await api.put(whole())
    model = {"model_id": "acme/new", "provider": "acme"}
    version = {"label": "v", "upstream": "v"}
    cases: list[tuple[Json, str, str]] = [
        ({"policy": {"fallbacks": ["acme/new"]}}, "policy.fallbacks[0]", "is the model itself"),
        ({"policy": {"versions": ["rd"]}}, "policy.versions[0]", "there is no channel 'rd'"),
        (
            {"kind": "embeddings", "policy": {"on_overflow": ["acme/one"]}},
            "policy.on_overflow[0]",
            "'acme/one' is for chat, not for embeddings",
        ),
        (
            {"versions": [version | {"successor": "acme/gone"}]},
            "versions[v].successor",
            "there is no 'acme/gone'",
        ),
    ]
    for more, place, reason in cases:
        error = await api.refused({"models": [model | more]})
        assert error["param"] == f"models[acme/new].{place}"
        assert reason in error["message"]
    listed = version | {"successor": "acme/gone", "origin": "live"}
    await api.put({"models": [model | {"versions": [listed]}]})


async def test_a_route_does_not_fall_back_to_itself(api: RegistryApi) -> None:
    await api.put(whole())
    one = {"name": "r1", "targets": [{"model": "acme/one"}]}
    two = {"name": "r2", "targets": [{"model": "acme/one"}], "policy": {"fallbacks": ["route/r1"]}}
    fallback = {"policy": {"fallbacks": ["route/r2"]}}
    await api.put({"routes": [one | fallback, two]})
    led = {"name": "r2", "targets": [{"model": "route/r1"}]}
    error = await api.refused({"routes": [led]})
    assert error["param"] == "routes[r1].policy.fallbacks[0]"
    assert "'route/r2' leads back to 'route/r1'" in error["message"]
    error = await api.refused({"routes": [one | {"policy": {"fallbacks": ["route/r1"]}}]})
    assert "'route/r1' leads back to 'route/r1'" in error["message"]
