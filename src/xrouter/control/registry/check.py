"""Whether a whole catalog makes sense, before anything of it is written. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from xrouter.control.catalog import names
from xrouter.control.catalog.adapters import Adapters
from xrouter.control.catalog.objects import Document
from xrouter.control.registry.documents import Key
from xrouter.domain.errors import InvalidRequest
from xrouter.domain.routes import CHAIN, DEEPEST, ROUTE

_SHOWN = 10


class Problem(Struct, frozen=True):
    """place: as `routes[bot].targets[0].model`."""

    place: str
    what: str


Strategies = Mapping[str, Callable[[Mapping[str, Any]], None]]
"""The check of options by the strategy's name; {} where they are not known."""


def check(
    now: Mapping[Key, Document],
    world: Mapping[Key, Document],
    adapters: Adapters,
    strategies: Strategies | None = None,
) -> list[str]:
    """Look at the world that there will be, in place of the one that there is now.

    Raises InvalidRequest with the first problem that is new; its hint has the others. Problems that
    are there already are no fault of this change: they are returned as warnings.
    """
    known = set(_Checker(now, adapters, strategies or {}).problems())
    found = list(_Checker(world, adapters, strategies or {}).problems())
    fresh = [each for each in found if each not in known]
    if not fresh:
        return _warnings(found)
    others = "; ".join(f"{each.place}: {each.what}" for each in fresh[1:_SHOWN])
    raise InvalidRequest(
        f"Invalid value for '{fresh[0].place}': {fresh[0].what}.",
        param=fresh[0].place,
        code="invalid_registry",
        hint=f"{len(fresh) - 1} more: {others}." if others else None,
    )


def _warnings(problems: Sequence[Problem]) -> list[str]:
    told = [f"Wrong before already: {each.place}: {each.what}." for each in problems[:_SHOWN]]
    more = len(problems) - _SHOWN
    return [*told, f"Wrong before already: {more} more."] if more > 0 else told


class _Checker:
    def __init__(
        self, world: Mapping[Key, Document], adapters: Adapters, strategies: Strategies
    ) -> None:
        self._adapters = adapters
        self._strategies = strategies
        self._providers = {name: doc for (kind, name), doc in world.items() if kind == "provider"}
        self._models = {name: doc for (kind, name), doc in world.items() if kind == "model"}
        self._routes = {name: doc for (kind, name), doc in world.items() if kind == "route"}
        self._prices = {name: doc for (kind, name), doc in world.items() if kind == "prices"}
        self._channels = {
            *CHAIN,
            *(v.get("channel") for doc in self._models.values() for v in doc.get("versions", ())),
        }
        self._names: dict[str, str] = {}
        """Route names by each name that callers may write."""
        self._twice: dict[str, list[str]] = {}
        for name, doc in sorted(self._routes.items()):
            for alias in (ROUTE + name, *doc.get("aliases", ())):
                if alias in self._names or alias in self._models:
                    self._twice.setdefault(name, []).append(alias)
                self._names.setdefault(alias, name)

    def problems(self) -> Iterator[Problem]:
        for name, doc in self._providers.items():
            yield from self._provider(name, doc)
        for name, doc in self._models.items():
            yield from self._model(name, doc)
        for name in self._prices:
            if name not in self._models:
                yield Problem(f"prices[{name}].model_id", "there is no such model")
        for name, doc in self._routes.items():
            yield from self._route(name, doc)
        yield from self._depths()

    def _provider(self, name: str, doc: Document) -> Iterator[Problem]:
        yield from self._adapter(f"providers[{name}]", doc.get("adapter_class"))
        names = [endpoint["name"] for endpoint in doc.get("endpoints", ())]
        for endpoint in doc.get("endpoints", ()):
            place = f"providers[{name}].endpoints[{endpoint['name']}]"
            yield from self._adapter(place, endpoint.get("adapter_class"))
            if names.count(endpoint["name"]) > 1:
                yield Problem(place, "two endpoints have this name")
        settings = _dict(doc.get("settings"))
        yield from self._policy(f"providers[{name}].settings", settings, self._channels, {None})

    def _adapter(self, place: str, path: str | None) -> Iterator[Problem]:
        if path is not None and path not in self._adapters.classes:
            yield Problem(f"{place}.adapter_class", f"'{path}' is not a supported adapter class")

    def _model(self, name: str, doc: Document) -> Iterator[Problem]:
        place, owner = f"models[{name}]", doc.get("provider", "")
        if owner not in self._providers:
            yield Problem(f"{place}.provider", f"there is no provider '{owner}'")
        if not name.startswith(owner + "/") or name == owner + "/":
            yield Problem(f"{place}.model_id", f"it must be '{owner}/<name>'")
        yield from self._adapter(place, doc.get("adapter_class"))
        versions = doc.get("versions", ())
        for version in versions:
            said = version.get("successor")
            ours = version.get("origin", "operator") == "operator"
            if ours and said is not None and not self._known(said):
                where = f"{place}.versions[{version['label']}].successor"
                yield Problem(where, f"there is no '{said}'")
        channels = {*CHAIN, *(version.get("channel") for version in versions)}
        yield from self._policy(place, doc, channels, {doc.get("kind")})
        for where, given in self._chained(place, doc):
            if given == name:
                yield Problem(where, f"'{given}' is the model itself")

    def _route(self, name: str, doc: Document) -> Iterator[Problem]:
        place = f"routes[{name}]"
        for alias in self._twice.get(name, ()):
            yield Problem(f"{place}.aliases", f"'{alias}' means something else already")
        for number, target in enumerate(doc.get("targets", ())):
            yield from self._target(f"{place}.targets[{number}]", target)
        kinds = {self._kind(target["model"]) for target in doc.get("targets", ())}
        yield from self._policy(place, doc, self._channels, kinds)
        for where, given in self._chained(place, doc):
            inner = self._route_of(given)
            if inner is not None and name in self._below(inner):
                yield Problem(where, f"'{given}' leads back to '{ROUTE}{name}'")

    def _target(self, place: str, target: Mapping[str, Any]) -> Iterator[Problem]:
        name, endpoint = target["model"], target.get("endpoint")
        if not self._known(name):
            yield Problem(f"{place}.model", f"there is no '{name}'")
            return
        model = self._model_of(name)
        if endpoint is None or model is None:
            return
        owner = self._providers.get(model.get("provider", ""), {})
        if endpoint not in [each["name"] for each in owner.get("endpoints", ())]:
            yield Problem(f"{place}.endpoint", f"the provider has no endpoint '{endpoint}'")

    def _policy(
        self, place: str, doc: Document, channels: Collection[Any], kinds: Collection[Any]
    ) -> Iterator[Problem]:
        """kinds: of what is to be answered, None among them where that is open."""
        policy = _dict(doc.get("policy"))
        yield from self._strategy(place, policy)
        said = policy.get("versions")
        for number, channel in enumerate(said if isinstance(said, list) else ()):
            if isinstance(channel, str) and channel not in channels:
                where = f"{place}.policy.versions[{number}]"
                yield Problem(where, f"there is no channel '{channel}'")
        for where, name in self._chained(place, doc):
            kind = self._kind(name)
            if not self._known(name):
                yield Problem(where, f"there is no '{name}'")
            elif kind is not None and None not in kinds and kind not in kinds:
                asked = " or ".join(sorted(kinds))
                yield Problem(where, f"'{name}' is for {kind}, not for {asked}")

    def _chained(self, place: str, doc: Document) -> Iterator[tuple[str, str]]:
        yield from names.places(_dict(doc.get("policy")), f"{place}.policy")

    def _below(self, route: str) -> set[str]:
        """The route itself and all that its targets lead to."""
        found, ahead = {route}, [route]
        while ahead:
            for target in self._routes[ahead.pop()].get("targets", ()):
                inner = self._route_of(target["model"])
                if inner is not None and inner not in found:
                    found.add(inner)
                    ahead.append(inner)
        return found

    def _strategy(self, place: str, policy: Mapping[str, Any]) -> Iterator[Problem]:
        name = policy.get("strategy")
        if name is None or not self._strategies:
            return
        look = self._strategies.get(name)
        if look is None:
            there_are = ", ".join(sorted(self._strategies))
            yield Problem(
                f"{place}.policy.strategy", f"there is no '{name}'; there are {there_are}"
            )
            return
        try:
            look(_dict(policy.get("options")))
        except InvalidRequest as error:
            yield Problem(f"{place}.{error.param}", error.message)

    def _known(self, name: str) -> bool:
        return name in self._names or self._model_of(name) is not None

    def _route_of(self, name: str) -> str | None:
        """The route that a name means; a model's id means the model."""
        return None if name in self._models else self._names.get(name)

    def _kind(self, name: str) -> str | None:
        """What the model that a name means is for; None for routes."""
        model = None if self._route_of(name) is not None else self._model_of(name)
        return None if model is None else model.get("kind")

    def _model_of(self, name: str) -> Document | None:
        """The model that a name means, with one of its versions or a channel that may come."""
        if name in self._models:
            return self._models[name]
        base, _, suffix = name.rpartition(":")
        model = self._models.get(base)
        if model is None:
            return None
        versions = model.get("versions", ())
        said = {v["label"] for v in versions} | {v.get("channel") for v in versions} | set(CHAIN)
        return model if suffix in said else None

    def _depths(self) -> Iterator[Problem]:
        """Routes that lead to themselves, or more than DEEPEST of them into each other."""
        inner: dict[str, list[str]] = {}
        for name, doc in self._routes.items():
            found = (self._names.get(target["model"]) for target in doc.get("targets", ()))
            inner[name] = [each for each in found if each is not None]
        levels = [set(inner)]
        """Those that so many further routes, and more, can follow."""
        for _ in range(DEEPEST):
            levels.append({name for name in inner if not levels[-1].isdisjoint(inner[name])})
        for name in sorted(levels[-1]):
            way = [name]
            for level in reversed(levels[:-1]):
                following = next(each for each in inner[way[-1]] if each in level)
                way.append(following)
                if way.count(following) > 1:
                    break
            what = f"more than {DEEPEST} routes lead into each other"
            if way.count(way[-1]) > 1:
                what = "routes lead to themselves"
            yield Problem(f"routes[{name}].targets", f"{what}: {' -> '.join(way)}")


def _dict(value: Any) -> dict[str, Any]:
    """What other writers have made of a column may be anything."""
    return value if isinstance(value, dict) else {}
