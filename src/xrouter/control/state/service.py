"""What the control plane is at the moment."""

from __future__ import annotations

from collections.abc import Mapping

from xrouter.control.catalog import repository as catalog
from xrouter.control.db.engine import Database
from xrouter.control.identity import repository as identity
from xrouter.control.state import repository
from xrouter.control.state.schemas import Counts, StateOut


class StateService:
    """versions: of what runs, by name."""

    def __init__(self, db: Database, versions: Mapping[str, str]) -> None:
        self._db = db
        self._versions = versions

    async def get(self) -> StateOut:
        """The state, all of one moment."""
        async with self._db.read() as session:
            found = {
                "database": await repository.database_version(session),
                "schema": await repository.schema(session),
            }
            return StateOut(
                revision=await catalog.revision(session),
                versions={**self._versions, **found},
                counts=Counts(**await catalog.counts(session), keys=await identity.count(session)),
            )
