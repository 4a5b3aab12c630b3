"""The whole door with people, applications and keys; what is attacked depends on no database."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.control.conftest import (
    acme_models,
    between_tries,
    db,
    patient_database,
    sqlite_file,
    sqlite_template,
    sqlite_url,
    vault,
    wire_client,
)
from tests.control.fakes import adapters
from tests.control.oauth.conftest import ISSUER, new_world, person, world
from tests.e2e.fixtures import _sandbox_process, sandbox, servers

from xrouter.control.db.engine import Database
from xrouter.control.oauth.config import OAuthConfig
from xrouter.control.people.oidc.config import OidcConfig
from xrouter.control.server import Services
from xrouter.stores.vault import Vault
from xrouter.wire.client import Client
from xrouter.wire.tokens import TokenBook

__all__ = [
    "_sandbox_process",
    "acme_models",
    "between_tries",
    "db",
    "new_world",
    "patient_database",
    "person",
    "sandbox",
    "servers",
    "sqlite_file",
    "sqlite_template",
    "sqlite_url",
    "vault",
    "wire_client",
    "world",
]


@pytest.fixture
def db_url(sqlite_url: str) -> str:
    return sqlite_url


@pytest.fixture
async def services(db: Database, vault: Vault, wire_client: Client) -> AsyncIterator[Services]:
    tokens = TokenBook()
    yield Services(
        db,
        vault,
        adapters(),
        wire_client,
        tokens,
        oauth=OAuthConfig(issuer=ISSUER),
        oidc=OidcConfig(public_url=ISSUER),
    )
    await tokens.close()
