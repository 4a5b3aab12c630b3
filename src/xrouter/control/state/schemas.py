"""The shape of the state."""

from __future__ import annotations

from xrouter.control.kit.schemas import Out


class Counts(Out):
    """Rows there are; keys: those not revoked."""

    providers: int
    endpoints: int
    models: int
    models_available: int
    keys: int


class StateOut(Out):
    """revision: raised with every change of the catalog or the keys."""

    revision: int
    versions: dict[str, str]
    counts: Counts
