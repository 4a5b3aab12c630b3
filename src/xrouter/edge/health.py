"""Whether this process should be sent requests."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from xrouter.domain.ports import SnapshotSource


class Readiness(Struct, omit_defaults=True):
    """What `/health/ready` shows. snapshot_age_s: since the catalog was built, in seconds.

    facts: what else the process knows of itself; shown, but it decides nothing.
    """

    status: str
    revision: int | None = None
    snapshot_age_s: float | None = None
    stale: bool = False
    facts: dict[str, Any] = {}

    @property
    def ready(self) -> bool:
        """Whether requests are welcome."""
        return self.status == "ready"


class Health:
    """The door's own view: ready means that there is a catalog and the process is not leaving.

    draining: set when the process was told to stop; requests that come all the same are answered.
    """

    def __init__(
        self, snapshots: SnapshotSource, facts: Callable[[], dict[str, Any]] | None = None
    ) -> None:
        self._snapshots = snapshots
        self._facts = facts
        self.draining = False

    def readiness(self) -> Readiness:
        """Look now; never waits."""
        snapshot = self._snapshots.current
        facts = self._facts() if self._facts is not None else {}
        if snapshot.revision < 0:
            return Readiness("draining" if self.draining else "starting", facts=facts)
        return Readiness(
            "draining" if self.draining else "ready",
            revision=snapshot.revision,
            snapshot_age_s=round(max(0.0, time.time() - snapshot.built_at), 1),
            stale=snapshot.stale,
            facts=facts,
        )
