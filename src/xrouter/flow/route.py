"""Stop 6: the strategy orders the endpoints that could answer into a plan."""

from __future__ import annotations

from xrouter.domain.errors import ModelUnavailable
from xrouter.domain.plan import Plan, Target
from xrouter.domain.snapshot import Snapshot
from xrouter.flow.resolve import Wanted
from xrouter.flow.strategies import priority


def route(wanted: Wanted, snapshot: Snapshot) -> Plan:
    """The plan for a model. Raises ModelUnavailable when its provider has no endpoint."""
    endpoints = snapshot.endpoints.get(wanted.model.provider, ())
    if not endpoints:
        raise ModelUnavailable(
            f"The model '{wanted.model.model_id}' has no endpoint that could answer.",
            param="model",
            hint=f"The operator can add one to the provider '{wanted.model.provider}'.",
        )
    targets = tuple(Target(e, wanted.model, wanted.version) for e in endpoints)
    return Plan(priority.order(targets), priority.REASON)
