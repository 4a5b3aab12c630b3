"""Whether this process has the master key with which the database was filled.

Asked before anything is written: else a second server with a key of its own would seal credentials
that the first one cannot open.
"""

from __future__ import annotations

from sqlalchemy import select

from xrouter.control.db.engine import Database
from xrouter.control.db.tables.catalog import EndpointRow
from xrouter.control.db.tables.identity import CredentialRow, KeyRow
from xrouter.control.db.tables.oauth import SigningKeyRow
from xrouter.stores.vault import Vault, WrongMasterKey, sealed_with

_SEALED = (EndpointRow.credential, CredentialRow.credential, SigningKeyRow.private)


async def prove(db: Database, vault: Vault) -> None:
    """Raises WrongMasterKey when there are secrets and none is of this vault; DatabaseError.

    A copy of the key file from before a rotation still has the pepper: what is sealed decides.
    """
    sealers: set[str] = set()
    async with db.read() as session:
        for column in _SEALED:
            blobs = (await session.scalars(select(column))).all()
            sealers |= {sealed_with(blob) for blob in blobs if blob is not None}
        peppers = set((await session.scalars(select(KeyRow.pepper_id).distinct())).all())
    is_ours = not sealers.isdisjoint(vault.key_ids) if sealers else vault.pepper_id in peppers
    if (sealers or peppers) and not is_ours:
        raise WrongMasterKey(
            "The database was filled with another master key than this data folder's.",
            hint="Copy master.key from the data folder of the server that filled it, or from your "
            "backup; to begin anew, use another database.",
        )
