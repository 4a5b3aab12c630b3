from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.control.conftest import ADMIN, Api

from xrouter.control.db.errors import DatabaseError
from xrouter.control.kit.guard import MAX_BODY, Guard
from xrouter.control.server import Services, create_app
from xrouter.domain.errors import ClientGone
from xrouter.domain.secret import Secret
from xrouter.telemetry.logs import log

OPEN: list[Any] = [None, "", "Bearer", "Bearer ", "Bearer x", f"Basic {ADMIN}", f"Bearer {ADMIN}x"]


@pytest.fixture
def db_url(sqlite_url: str) -> str:
    """What is tested here has to do with no database."""
    return sqlite_url


@pytest.mark.parametrize("given", OPEN)
@pytest.mark.parametrize(
    "path", ["/control/v1/providers", "/control/v1/openapi.json", "/control/v1/nothing", "/"]
)
async def test_nothing_is_told_without_the_admin_token(
    api: Api, path: str, given: str | None
) -> None:
    api.http.headers.pop("authorization")
    headers = {} if given is None else {"authorization": given}
    reply = await api.http.get(path, headers=headers)
    assert reply.status_code == 401
    assert reply.headers["www-authenticate"] == "Bearer"
    assert reply.json()["error"]["code"] == "invalid_api_key"
    assert ADMIN not in reply.text


async def test_a_token_that_is_not_ascii_is_just_wrong(api: Api) -> None:
    reply = await api.http.get(
        "/control/v1/providers", headers=[(b"authorization", "Bearer ключ".encode())]
    )
    assert reply.status_code == 401


async def test_there_is_no_application_without_a_token(services: Services) -> None:
    with pytest.raises(ValueError, match="admin token"):
        Guard(create_app(services, admin_token=Secret("x")), admin_token=Secret(""))


async def test_answers_have_an_id_and_are_not_kept(api: Api) -> None:
    reply = await api.http.get("/control/v1/providers")
    assert reply.headers["x-request-id"].startswith("req_")
    assert reply.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "method,path,status",
    [
        ("GET", "/nothing", 404),
        ("GET", "/providers/", 404),
        ("PUT", "/providers", 405),
        ("POST", "/state", 405),
    ],
)
async def test_unknown_places_and_methods(api: Api, method: str, path: str, status: int) -> None:
    error = await api.error(method, path, status=status)
    assert error["type"] == "invalid_request_error"


async def test_the_possible_methods_are_all_named(api: Api) -> None:
    reply = await api.http.put("/control/v1/models/acme/one")
    assert reply.headers["allow"] == "DELETE, GET, PATCH"
    reply = await api.http.put("/control/v1/keys")
    assert reply.headers["allow"] == "GET, POST"


@pytest.mark.parametrize(
    "body,kind,code",
    [
        (b"{", "application/json", "invalid_json"),
        (b"", "application/json", "invalid_body"),
        (b"[]", "application/json", "invalid_body"),
        (b'"x"', "application/json", "invalid_body"),
        (b"\xff\xfe\x00", "application/json", "invalid_body"),
        (b"[" * 100_000, "application/json", "invalid_body"),
        (b'{"name": "n"}', "text/plain", "invalid_body"),
    ],
)
async def test_bodies_that_are_no_objects(api: Api, body: bytes, kind: str, code: str) -> None:
    headers = {"content-type": kind}
    error = await api.error("POST", "/keys", content=body, headers=headers, status=400)
    assert error["code"] == code


async def test_a_body_too_large_is_refused(api: Api) -> None:
    error = await api.error("POST", "/keys", content=b" " * (MAX_BODY + 1), status=413)
    assert error["code"] == "request_too_large"


async def test_a_body_that_does_not_come_is_given_up(services: Services) -> None:
    app = create_app(services, admin_token=Secret("unused"))
    sent = await call(Guard(app, admin_token=Secret(ADMIN), body_s=0.01), asyncio.Event().wait)
    assert sent[0]["status"] == 408


async def test_a_caller_that_leaves_is_not_answered_with_a_defect(services: Services) -> None:
    async def gone() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    app = create_app(services, admin_token=Secret("unused"))
    sent = await call(Guard(app, admin_token=Secret(ADMIN)), gone)
    assert sent[0]["status"] == ClientGone.status


async def call(app: Guard, receive: Any) -> list[Any]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/control/v1/keys",
        "headers": [(b"authorization", f"Bearer {ADMIN}".encode())],
    }
    await app(scope, receive, send)
    return sent


async def test_a_defect_is_a_500_without_details(
    api: Api, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise RuntimeError("details of the defect")

    monkeypatch.setattr(services.db, "_read", broken)
    with log.captured() as logs:
        error = await api.error("GET", "/providers", status=500)
    assert error["code"] == "internal_error"
    assert "details" not in error["message"]
    assert logs[0]["event"] == "control_defect"


async def test_the_operator_sees_the_hints_for_operators(
    api: Api, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> None:
        raise DatabaseError("It is away.", hint="Start it.", retry_after=0.5)

    monkeypatch.setattr(services.db, "_read", away)
    with log.captured() as logs:
        reply = await api.http.get("/control/v1/providers")
    assert reply.status_code == 503
    assert reply.headers["retry-after"] == "1"
    assert reply.json()["error"]["hint"] == "Start it."
    assert [(entry["event"], entry["hint"]) for entry in logs] == [("control_failed", "Start it.")]


async def test_the_openapi_document_tells_the_truth_about_errors(api: Api) -> None:
    document = await api.ask("GET", "/openapi.json")
    assert all(path.startswith("/control/v1/") for path in document["paths"])
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            answers = operation["responses"]
            assert "422" not in answers, (method, path)
            assert "ErrorBody" in str(answers["4XX"]), (method, path)
    assert "HTTPValidationError" not in document["components"]["schemas"]
