"""Keys that are held to operations, models and addresses."""

from __future__ import annotations

import pytest
from msgspec import structs
from tests.flow import harness
from tests.flow.catalog import endpoint, model, snapshot
from tests.flow.harness import KEY, PRINCIPAL, Rig

from xrouter.domain.bounds import Bounds, compact
from xrouter.domain.catalog import Kind
from xrouter.domain.chat import ChatRequest, Message
from xrouter.domain.errors import Forbidden, ModelNotFound, XRouterError
from xrouter.domain.identity import Principal
from xrouter.domain.plan import Plan
from xrouter.domain.routes import Policy, Route, RouteTarget
from xrouter.domain.snapshot import Snapshot
from xrouter.flow.admit import SCOPE_OF, hold
from xrouter.flow.ask import Ask
from xrouter.flow.board import Board
from xrouter.flow.listing import available, shown
from xrouter.flow.route import Router

FALLBACKS = Policy(fallbacks=("b/x",), on_overflow=("b/x", "a/y"), on_refusal=("b/x",))


def who(*models: str, groups: tuple[str, ...] = ()) -> Principal:
    return Principal(key_id="k", name="n", groups=groups, bounds=Bounds(models=frozenset(models)))


def catalog() -> Snapshot:
    both = Route(
        name="both",
        aliases=("fast",),
        targets=(RouteTarget(model="a/x"), RouteTarget(model="b/x")),
    )
    other = Route(name="other", targets=(RouteTarget(model="b/x"),))
    lab = Route(name="lab", targets=(RouteTarget(model="a/lab"),), access_group="lab")
    return snapshot(
        model("a/x", policy=FALLBACKS),
        model("a/y"),
        model("a/off", is_available=False),
        model("a/lab", access_group="lab"),
        model("a/vectors", kind="embeddings"),
        model("b/x"),
        model("b/off", is_available=False),
        endpoints=(endpoint(1, "a"), endpoint(2, "b")),
        routes={"route/both": both, "fast": both, "route/other": other, "route/lab": lab},
    )


def plan(name: str, principal: Principal, kinds: tuple[Kind, ...] = ("chat",)) -> Plan:
    state = catalog()
    return Router(Board()).plan(name, kinds, Ask(principal), state)


def models(made: Plan) -> list[str]:
    return [target.model.model_id for target in made.targets]


def refused(name: str, principal: Principal) -> XRouterError:
    with pytest.raises(XRouterError) as caught:
        plan(name, principal)
    with pytest.raises(ModelNotFound):
        shown(name, catalog(), principal)
    return caught.value


@pytest.mark.parametrize("listed", ["a/x", "a/*"])
@pytest.mark.parametrize("name", ["a/x", "a/x:default"])
def test_what_is_listed_is_answered(listed: str, name: str) -> None:
    assert "a/x" in models(plan(name, who(listed)))
    assert shown(name, catalog(), who(listed)).model_id == "a/x"


@pytest.mark.parametrize(
    "name",
    ["b/x", "b/x:default", "b/x:none", "b/off", "route/other", "none/none", "a/y", "a/vectors"],
)
def test_all_else_is_not_there_and_nothing_is_told_of_it(name: str) -> None:
    error = refused(name, who("a/x", "route/none"))
    missing = refused("no/such", who("a/x", "route/none"))
    assert type(error) is ModelNotFound
    assert error.message.replace(name, "no/such") == missing.message
    assert (error.code, error.param, error.hint) == (missing.code, missing.param, missing.hint)
    assert "b/" not in (error.hint or "")


def test_hints_name_no_models_of_others() -> None:
    with pytest.raises(XRouterError) as caught:
        plan("a/vectors", who("a/vectors"))
    assert caught.value.code == "unsupported_operation"
    assert "a/x" not in (caught.value.hint or "")
    with pytest.raises(XRouterError) as caught:
        plan("a/off", who("a/*"))
    assert caught.value.code == "model_unavailable"
    with pytest.raises(ModelNotFound) as unknown:
        plan("a/la", Principal(key_id="k", name="n"))
    assert "a/lab" not in (unknown.value.hint or ""), "of a group"


def test_fallbacks_outside_of_the_list_are_left_out() -> None:
    made = plan("a/x", who("a/*"))
    assert models(made) == ["a/x"]
    assert [target.model.model_id for target in made.overflow] == ["a/y"]
    assert made.refusal == ()
    assert models(plan("a/x", who("a/x", "b/x"))) == ["a/x", "b/x"]
    only_the_fallback = refused("a/x", who("b/x"))
    assert only_the_fallback.code == "model_not_found"


@pytest.mark.parametrize("name", ["route/both", "fast"])
def test_routes_lead_to_what_is_listed(name: str) -> None:
    assert models(plan(name, who("b/x"))) == ["b/x"]
    assert shown(name, catalog(), who("b/x")).is_available
    refused(name, who("a/y"))


@pytest.mark.parametrize("name", ["route/both", "fast"])
def test_a_route_that_is_listed_opens_all_it_leads_to(name: str) -> None:
    key = who("route/both")
    assert models(plan(name, key)) == ["a/x", "b/x"]
    for target in ("a/x", "b/x", "route/other"):
        refused(target, key)


def test_groups_hold_besides() -> None:
    refused("a/lab", who("a/*"))
    refused("route/lab", who("route/lab"))
    assert models(plan("a/lab", who("a/*", groups=("lab",)))) == ["a/lab"]
    assert models(plan("route/lab", who("route/lab", groups=("lab",)))) == ["a/lab"]


def test_an_overflow_into_a_group_is_left_out() -> None:
    policy = Policy(on_overflow=("a/lab",), on_refusal=("a/lab",))
    state = snapshot(
        model("a/x", policy=policy),
        model("a/lab", access_group="lab"),
        endpoints=(endpoint(1, "a"),),
    )
    for groups, count in (((), 0), (("lab",), 1)):
        ask = Ask(Principal(key_id="k", name="n", groups=groups))
        made = Router(Board()).plan("a/x", ("chat",), ask, state)
        assert (len(made.overflow), len(made.refusal)) == (count, count)


@pytest.mark.parametrize(
    "listed,seen",
    [
        (("a/x",), ["route/both", "a/x"]),
        (("route/other",), ["route/other"]),
        (("b/*",), ["route/both", "route/other", "b/x"]),
        (("none/*",), []),
        ((), ["route/both", "route/other", "a/x", "a/y", "a/vectors", "b/x"]),
    ],
)
def test_the_list_has_what_may_be_used(listed: tuple[str, ...], seen: list[str]) -> None:
    found = available(catalog(), who(*listed))
    assert [each.model_id for each in found] == seen


def test_a_key_that_is_held_to_addresses_alone_has_the_one_plan() -> None:
    state, router = catalog(), Router(Board())
    held = Principal(key_id="k", name="n", bounds=Bounds(networks=(compact("10.0.0.0/8"),)))
    free = Principal(key_id="k", name="n")
    request = ChatRequest(model="a/y", messages=[Message(role="user", content="hi")])
    plans = [router.plan("a/y", ("chat",), Ask(each, request), state) for each in (held, free)]
    assert plans[0] is plans[1]


OPERATIONS = {
    "chat": "chat",
    "completions": "chat",
    "messages": "chat",
    "responses": "chat",
    "embeddings": "embeddings",
    "images": "images",
    "count": "chat",
    "speech": "audio",
    "transcriptions": "audio",
    "translations": "audio",
    "moderations": "moderations",
    "defer": "chat",
}
"""What callers may ask for, by the scope that it takes."""


async def ask(rig: Rig, operation: str, client: str | None) -> XRouterError | None:
    """One request; how it was refused."""
    chat = ChatRequest(model="none/none", messages=[Message(role="user", content="hi")])
    call = structs.replace(rig.call(operation), client=client)
    if operation == "defer":
        try:
            await rig.pipeline.defer(chat, KEY, call)
        except XRouterError as error:
            return error
    rig_call = rig.call
    rig.call = lambda *_args: call  # type: ignore[method-assign]
    try:
        if operation == "embeddings":
            return (await rig.embed("none/none", ["x"])).error
        if operation == "images":
            return (await rig.draw("none/none")).error
        if operation == "count":
            return (await rig.count("none/none", input=["x"])).error
        if operation in ("speech", "transcriptions", "translations", "moderations"):
            return (await rig.pass_on("none/none", operation, {})).error
        return (await rig.chat("none/none")).error
    finally:
        rig.call = rig_call  # type: ignore[method-assign]


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_each_operation_takes_its_scope_and_an_allowed_address(
    rig: Rig, operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def use(scopes: tuple[str, ...]) -> None:
        bounds = Bounds(scopes=scopes, networks=(compact("10.0.0.0/8"),))
        monkeypatch.setattr(harness, "PRINCIPAL", structs.replace(PRINCIPAL, bounds=bounds))

    needed = OPERATIONS[operation]
    use((needed,))
    allowed = await ask(rig, operation, "10.0.0.1")
    assert allowed is not None
    assert allowed.code == "model_not_found"
    for client in ("11.0.0.1", None):
        error = await ask(rig, operation, client)
        assert isinstance(error, Forbidden)
        assert error.code == "ip_not_allowed"
    use(tuple({*SCOPE_OF.values(), "models"} - {needed}))
    error = await ask(rig, operation, "10.0.0.1")
    assert isinstance(error, Forbidden)
    assert error.code == "insufficient_scope"
    assert f"'{needed}'" in error.message


def test_what_no_scope_stands_for_is_closed_to_keys_with_scopes() -> None:
    everything = Bounds(scopes=(*SCOPE_OF.values(), "models"))
    with pytest.raises(Forbidden):
        hold(everything, "something new", None)
    hold(Bounds(), "something new", None)
