"""Whose answer a caller scores: for the strategy `quality`."""

from __future__ import annotations

from xrouter.domain.errors import InvalidRequest
from xrouter.domain.feedback import Feedback
from xrouter.domain.identity import Principal
from xrouter.domain.plan import Target
from xrouter.domain.snapshot import Snapshot
from xrouter.flow import listing


def targets(feedback: Feedback, principal: Principal, snapshot: Snapshot) -> list[Target]:
    """At least one. Raises ModelNotFound for what the caller may not use, InvalidRequest."""
    model = listing.shown(feedback.model, snapshot, principal)
    version = next((v for v in model.versions if v.label == feedback.version), None)
    if version is None:
        raise _nobody("version", feedback.version, feedback.model)
    endpoints = snapshot.endpoints.get(model.provider, ())
    own = snapshot.accounts.get(principal.project)
    if own is not None:
        endpoints += tuple(own[each.id] for each in endpoints if each.id in own)
    if feedback.provider != model.provider:
        raise _nobody("provider", feedback.provider, feedback.model)
    found = [e for e in endpoints if feedback.endpoint in (None, e.name)]
    if not found:
        raise _nobody("endpoint", feedback.endpoint or "", feedback.model)
    return [Target(endpoint, model, version) for endpoint in found]


def _nobody(what: str, name: str, model: str) -> InvalidRequest:
    return InvalidRequest(
        f"The model '{model}' has no {what} '{name[:80]}'.",
        code="invalid_value",
        param=what,
        hint=f"The header x-xrouter-{what} of the answer says it.",
    )
