"""Whether this process has the master key with which the database was filled.

Asked before anything is written: else a second server with a key of its own would seal credentials
that the first one cannot open.
"""

from __future__ import annotations

from sqlalchemy import select

from xrouter.control.db.engine import Database
from xrouter.control.db.tables.catalog import EndpointRow
from xrouter.control.db.tables.identity import KeyRow
from xrouter.stores.vault import Vault, WrongMasterKey, sealed_with


async def prove(db: Database, vault: Vault) -> None:
    """Raises WrongMasterKey when there are secrets and none is of this vault; DatabaseError."""
    async with db.read() as session:
        blobs = (await session.scalars(select(EndpointRow.credential))).all()
        owners = set((await session.scalars(select(KeyRow.pepper_id).distinct())).all())
    owners |= {sealed_with(blob) for blob in blobs if blob is not None}
    if owners and vault.pepper_id not in owners:
        raise WrongMasterKey(
            "The database was filled with another master key than this data folder's.",
            hint="Copy master.key from the data folder of the server that filled it, or from your "
            "backup; to begin anew, use another database.",
        )
