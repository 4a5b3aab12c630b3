"""Stop 5: from the name a caller wrote to the models and versions that it means.

    provider/model            the model's first version
    provider/model:channel    the version that the channel leads to (`latest`, `rc`, `deprecated`)
    provider/model:label      the version with this label, and no other; never for a channel's word
    route/name                a route; also each of its aliases as it stands

A name that is a model id, a route or an alias as a whole always wins, so ids may contain colons
and slashes; what is behind the last colon is a version only if the rest is a model id.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from msgspec import Struct
from msgspec.structs import replace

from xrouter.domain.bounds import Bounds
from xrouter.domain.catalog import Kind, Model, Version
from xrouter.domain.errors import (
    InvalidRequest,
    ModelNotFound,
    ModelUnavailable,
    NotReady,
    XRouterError,
)
from xrouter.domain.guards import Guards, guards_of, joined
from xrouter.domain.plan import Target
from xrouter.domain.ports import Deferred
from xrouter.domain.routes import CHAIN, DEEPEST, Policy, Route
from xrouter.domain.snapshot import Snapshot

_SHOWN = 80
_SEARCHED = 2000
_DEFAULT = Policy()
SEE_LIST = "GET /v1/models lists the models."


class Choice(Struct, frozen=True):
    """A version of a model that may answer. step: how far it is from the version asked for.

    endpoint: only this one, None for all. moving: whether the name leads to other versions in time.
    guards: what policies on the way to it forbid, but for that of the name itself.
    """

    model: Model
    version: Version
    endpoint: str | None = None
    weight: int = 1
    priority: int = 0
    step: int = 0
    moving: bool = True
    guards: Guards | None = None


class Wanted(Struct, frozen=True):
    """What was asked for: choices, at least one, the first of them the very one."""

    choices: tuple[Choice, ...]
    policy: Policy
    route: Route | None = None

    @property
    def model(self) -> Model:
        """The first choice's model."""
        return self.choices[0].model

    @property
    def version(self) -> Version:
        """The first choice's version."""
        return self.choices[0].version


def resolve(name: str, snapshot: Snapshot, kinds: tuple[Kind, ...]) -> Wanted:
    """Find what can be used. Raises ModelNotFound, ModelUnavailable or InvalidRequest.

    kinds: of models that will do; () for all. Choices that are switched off are left out.
    """
    wanted = find(name, snapshot)
    fitting = [c for c in wanted.choices if not kinds or c.model.kind in kinds]
    if not fitting:
        raise _other_kind(wanted.model, kinds, snapshot)
    usable = tuple(c for c in fitting if c.model.is_available)
    if not usable or (wanted.route is not None and not wanted.route.is_enabled):
        raise _switched_off(name, wanted)
    return Wanted(usable, wanted.policy, wanted.route)


def find(name: str, snapshot: Snapshot) -> Wanted:
    """Find what a name means, whatever its kind or state. Raises ModelNotFound, NotReady."""
    model = snapshot.models.get(name)
    if model is not None:
        return _versions(model, model.versions[0])
    route = snapshot.routes.get(name)
    if route is not None:
        return Wanted(tuple(_of_route(route, snapshot, ())), route.policy, route)
    if snapshot.revision < 0:
        raise NotReady("XRouter is starting: there is no catalog yet.", retry_after=1.0)
    base, colon, suffix = name.rpartition(":")
    model = snapshot.models.get(base) if colon else None
    if model is None:
        raise unknown(name, snapshot)
    return _version(model, suffix)


def left_with(deferred: Deferred, snapshot: Snapshot) -> Target:
    """Where a request was left to be answered later. Raises OperatorError when that is gone."""
    model = snapshot.models.get(deferred.model)
    endpoints = snapshot.endpoints.get(deferred.provider, ())
    own = snapshot.accounts.get(deferred.principal.project)
    if own is not None:
        endpoints += tuple(own[each.id] for each in endpoints if each.id in own)
    endpoint = next((each for each in endpoints if each.name == deferred.endpoint), None)
    if model is None or endpoint is None:
        raise ModelUnavailable("The endpoint or the model that was to answer is gone.")
    versions = model.versions
    version = next((each for each in versions if each.label == deferred.version), versions[0])
    return Target(endpoint, model, version)


def _version(model: Model, suffix: str) -> Wanted:
    """The version that a channel or a label names. A channel's word never means a label."""
    for version in model.versions:
        if version.channel == suffix:
            return _versions(model, version)
    policy = model.policy or _DEFAULT
    if suffix in CHAIN:
        for version in _behind(model, suffix, policy) if policy.missing == "next" else ():
            return _versions(model, version)
        raise _no_version(model, suffix)
    for version in model.versions:
        if version.label == suffix:
            return Wanted((Choice(model, version, moving=False),), policy)
    if suffix in model.variants:
        return Wanted((Choice(model, _variant(model.versions[0], suffix)),), policy)
    raise _no_version(model, suffix)


def _variant(version: Version, suffix: str) -> Version:
    """The same, as the provider is asked for it in another way."""
    upstream = f"{version.upstream}:{suffix}"
    return replace(version, label=f"{version.label}:{suffix}", upstream=upstream)


def _no_version(model: Model, suffix: str) -> ModelNotFound:
    """There is none of this name, or none any more."""
    if _is_retired(model):
        return _retired(model)
    if suffix in model.retired and suffix not in CHAIN:
        successor = model.retired[suffix]
        return ModelNotFound(
            f"The version `{suffix}` of the model `{model.model_id}` was retired.",
            param="model",
            hint=f"Use `{successor or model.model_id}` in its place.",
        )
    known = sorted({n for v in model.versions if (n := _word(v)) is not None})
    return ModelNotFound(
        f"The model `{model.model_id}` has no version or channel `{_short(suffix)}`.",
        param="model",
        hint=f"It has: {', '.join(known)}." if known else f"Use `{model.model_id}`.",
    )


def _word(version: Version) -> str | None:
    """What may be written to ask for it."""
    return version.channel or (version.label if version.label not in CHAIN else None)


def _versions(model: Model, first: Version) -> Wanted:
    """A version that a moving name leads to, and those that may take its place."""
    policy = model.policy or _DEFAULT
    if len(model.versions) == 1 or first.channel is None:
        return Wanted((Choice(model, first),), policy)
    others = [v for v in _behind(model, first.channel, policy) if v is not first]
    choices = (first, *others)
    return Wanted(tuple(Choice(model, v, step=n) for n, v in enumerate(choices)), policy)


def _behind(model: Model, channel: str, policy: Policy) -> list[Version]:
    """The versions that may answer in place of a channel, in order."""
    chain = policy.versions
    if chain is None:
        chain = CHAIN[CHAIN.index(channel) + 1 :] if channel in CHAIN else ()
    found = (next((v for v in model.versions if v.channel == c), None) for c in chain)
    return [version for version in found if version is not None]


def _of_route(route: Route, snapshot: Snapshot, above: tuple[str, ...]) -> list[Choice]:
    """All choices of a route; what its targets name and is not there is left out.

    A target of a route in a route has the priority of its place in the outer one.
    """
    found: list[Choice] = []
    if len(above) >= DEEPEST or route.name in above:
        return found
    for target in route.targets:
        inner = snapshot.routes.get(target.model)
        if inner is not None:
            choices = _of_route(inner, snapshot, (*above, route.name)) if inner.is_enabled else []
            reached = held(choices, inner.policy, inner)
        else:
            try:
                wanted = find(target.model, snapshot)
            except ModelNotFound:
                continue
            reached = held(wanted.choices, wanted.policy)
        found += [
            replace(
                choice,
                endpoint=target.endpoint or choice.endpoint,
                weight=target.weight * choice.weight,
                priority=target.priority,
            )
            for choice in reached
        ]
    if not found and not above:
        raise ModelUnavailable(
            f"The route '{route.model_id}' has no target that exists.",
            param="model",
            hint=f"For the operator: `xrouter routes show {route.name}` lists its targets.",
        )
    return found


def held(choices: Iterable[Choice], policy: Policy, route: Route | None = None) -> list[Choice]:
    """What a name means, reached by way of another one: what it forbids holds for its choices."""
    guards = guards_of(policy, None if route is None else route.access_group)
    return [replace(choice, guards=joined(guards, choice.guards)) for choice in choices]


def _switched_off(name: str, wanted: Wanted) -> XRouterError:
    model = wanted.model
    if wanted.route is None and _is_retired(model):
        return _retired(model)
    what = "route" if wanted.route is not None else "model"
    shown = name if wanted.route is not None else wanted.model.model_id
    return ModelUnavailable(
        f"The {what} '{shown}' is switched off at the moment.",
        param="model",
        hint="GET /v1/models lists the models that answer now.",
    )


def _is_retired(model: Model) -> bool:
    return all(version.status == "retired" for version in model.versions)


def _retired(model: Model) -> ModelNotFound:
    successor = model.versions[0].successor
    return ModelNotFound(
        f"The model `{model.model_id}` was retired.",
        param="model",
        hint=f"Use `{successor}` in its place." if successor is not None else None,
    )


def _other_kind(model: Model, kinds: tuple[Kind, ...], snapshot: Snapshot) -> InvalidRequest:
    able = [m.model_id for m in snapshot.models.values() if m.kind == kinds[0] and m.is_available]
    names = ", ".join(able[:3])
    return InvalidRequest(
        f"The model '{model.model_id}' is for {model.kind}, not for {kinds[0]}.",
        param="model",
        code="unsupported_operation",
        hint=f"For {kinds[0]} use for example {names}." if names else None,
    )


def unknown(name: str, snapshot: Snapshot) -> ModelNotFound:
    """There is no such model, or the caller may not see it."""
    shown = _short(name)
    public = [m.model_id for m in snapshot.models.values() if m.access_group is None]
    searched = public[:_SEARCHED]
    near = get_close_matches(name[:200], searched, n=3, cutoff=0.5)
    ends = [m for m in public if m.endswith("/" + name)][:3]
    names = ends or near
    return ModelNotFound(
        f"The model `{shown}` does not exist or you do not have access to it.",
        param="model",
        hint=f"Did you mean {' or '.join(names)}?" if names else SEE_LIST,
    )


def hidden(name: str) -> ModelNotFound:
    """For a caller who is held to a list: nothing is told of what is not in it."""
    return ModelNotFound(
        f"The model `{_short(name)}` does not exist or you do not have access to it.",
        param="model",
        hint=SEE_LIST,
    )


def is_listed(name: str, bounds: Bounds, snapshot: Snapshot) -> bool:
    """Whether a name, with a version or not, means a model or a route of the key's list."""
    if not bounds.models:
        return True
    model = snapshot.models.get(name)
    if model is None and name in snapshot.routes:
        return snapshot.routes[name].model_id in bounds.models
    model = model or snapshot.models.get(name.rpartition(":")[0])
    return model is not None and bounds.admits(model)


def _short(name: str) -> str:
    return name if len(name) <= _SHOWN else name[:_SHOWN] + "..."
