"""What the providers that ship with us take as a project's own credential."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace as changed
from tests.control.conftest import ADMIN, Api

from xrouter.control.catalog.adapters import supported
from xrouter.control.server import Services, create_app
from xrouter.domain.secret import Secret

PATH = "/projects/default/credentials/"
FOLDER = "b1gtenant00000000000"
PROVIDERS: tuple[dict[str, Any], ...] = (
    {
        "name": "yandex",
        "credential": {"api_key": "AQVN-ours"},
        "options": {"folder_id": "b1gours0000000000000", "concurrency": "3"},
    },
    {
        "name": "gigachat",
        "credential": {"credentials": "b3Vyczpz"},
        "options": {"scope": "GIGACHAT_API_CORP"},
    },
    {"name": "llamacpp", "base_url": "http://here.test"},
)
CASES: tuple[tuple[str, dict[str, str], str | None], ...] = (
    ("yandex", {"api_key": "AQVN-theirs", "folder_id": FOLDER}, None),
    ("yandex", {"api_key": "AQVN-theirs"}, "credential.folder_id"),
    ("yandex", {"api_key": "k", "iam_token": "t", "folder_id": FOLDER}, "credential"),
    ("yandex", {"folder_id": FOLDER, "auth": "metadata"}, "credential.auth"),
    ("yandex", {"api_key": "k", "folder_id": FOLDER, "iam_url": "http://x"}, "credential.iam_url"),
    ("gigachat", {"credentials": "dGhlaXJzOnM="}, None),
    ("gigachat", {"credentials": "dGhlaXJzOnM=", "scope": "GIGACHAT_API_B2B"}, None),
    ("gigachat", {"credentials": "dGhlaXJzOnM=", "scope": "ALL"}, "credential.scope"),
    ("gigachat", {"credentials": "k", "auth_url": "http://evil.test"}, "credential.auth_url"),
    ("gigachat", {"scope": "GIGACHAT_API_B2B"}, "credential"),
    ("llamacpp", {"api_key": "anything"}, "provider"),
)


@pytest.fixture
async def app(services: Services) -> Any:
    return create_app(changed(services, adapters=supported()), admin_token=Secret(ADMIN))


async def test_each_takes_what_its_account_needs_and_nothing_else(admin: Api) -> None:
    for given in PROVIDERS:
        await admin.ask("POST", "/providers", json=given, status=201)
    for provider, credential, param in CASES:
        body = {"credential": credential}
        if param is None:
            made = await admin.ask("PUT", PATH + provider, json=body)
            assert made["fields"] == sorted(credential)
        else:
            error = await admin.error("PUT", PATH + provider, json=body, status=400)
            assert error["param"] == param, error
