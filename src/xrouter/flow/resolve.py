"""Stop 5: from the name a caller wrote to a model and the version of it.

    provider/model            the model's first version
    provider/model:channel    the version that the channel leads to (`latest`, `rc`, `deprecated`)
    provider/model:label      the version with this label

A name that is a model id as a whole always wins, so ids may contain colons and slashes.
"""

from __future__ import annotations

from difflib import get_close_matches

from msgspec import Struct

from xrouter.domain.catalog import Kind, Model, Version
from xrouter.domain.errors import (
    InvalidRequest,
    ModelNotFound,
    ModelUnavailable,
    NotReady,
)
from xrouter.domain.plan import Target
from xrouter.domain.ports import Deferred
from xrouter.domain.snapshot import Snapshot

_SHOWN = 80


class Wanted(Struct, frozen=True):
    """What was asked for."""

    model: Model
    version: Version


def resolve(name: str, snapshot: Snapshot, kinds: tuple[Kind, ...]) -> Wanted:
    """Find the model and version. Raises ModelNotFound, ModelUnavailable or InvalidRequest.

    kinds: of models that will do; () for all.
    """
    wanted = find(name, snapshot)
    model = wanted.model
    if kinds and model.kind not in kinds:
        raise InvalidRequest(
            f"The model '{model.model_id}' is for {model.kind}, not for {kinds[0]}.",
            param="model",
            code="unsupported_operation",
            hint=_suggestion(kinds[0], snapshot),
        )
    if not model.is_available:
        raise ModelUnavailable(
            f"The model '{model.model_id}' is switched off at the moment.",
            param="model",
            hint="GET /v1/models lists the models that answer now.",
        )
    return wanted


def left_with(deferred: Deferred, snapshot: Snapshot) -> Target:
    """Where a request was left to be answered later. Raises OperatorError when that is gone."""
    model = snapshot.models.get(deferred.model)
    endpoints = snapshot.endpoints.get(deferred.provider, ())
    endpoint = next((each for each in endpoints if each.name == deferred.endpoint), None)
    if model is None or endpoint is None:
        raise ModelUnavailable("The endpoint or the model that was to answer is gone.")
    versions = model.versions
    version = next((each for each in versions if each.label == deferred.version), versions[0])
    return Target(endpoint, model, version)


def find(name: str, snapshot: Snapshot) -> Wanted:
    """Find the model and version, whatever its kind or state."""
    model = snapshot.models.get(name)
    if model is not None:
        return Wanted(model, model.versions[0])
    if snapshot.revision < 0:
        raise NotReady("XRouter is starting: there is no catalog yet.", retry_after=1.0)
    base, colon, suffix = name.rpartition(":")
    model = snapshot.models.get(base) if colon else None
    if model is None:
        raise _unknown(name, snapshot)
    for version in model.versions:
        if suffix in (version.channel, version.label):
            return Wanted(model, version)
    known = sorted({v.channel or v.label for v in model.versions})
    raise ModelNotFound(
        f"The model `{base}` has no version or channel `{suffix}`.",
        param="model",
        hint=f"It has: {', '.join(known)}.",
    )


def _unknown(name: str, snapshot: Snapshot) -> ModelNotFound:
    shown = name if len(name) <= _SHOWN else name[:_SHOWN] + "..."
    near = get_close_matches(name[:200], list(snapshot.models)[:5000], n=3, cutoff=0.5)
    ends = [m for m in snapshot.models if m.endswith("/" + name)][:3]
    names = ends or near
    return ModelNotFound(
        f"The model `{shown}` does not exist or you do not have access to it.",
        param="model",
        hint=f"Did you mean {' or '.join(names)}?" if names else "GET /v1/models lists the models.",
    )


def _suggestion(kind: Kind, snapshot: Snapshot) -> str | None:
    able = [m.model_id for m in snapshot.models.values() if m.kind == kind and m.is_available][:3]
    return f"For {kind} use for example {', '.join(able)}." if able else None
