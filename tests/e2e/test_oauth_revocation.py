"""Tokens of a year, three processes: what one revokes, all refuse; keys change and nobody notices.

Two servers share a database; a gateway follows the second one's snapshot and knows no database.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from tests.e2e.fleet import Fleet
from tests.e2e.harness import PATIENCE, Answer, SandboxProcess, Server, until
from tests.services.postgres import Postgres

ISSUER = "https://router.test"
PROMISED_S = 1.0
SOON_S = 3.0
"""Seconds. A second is the promise; the machine has much to do, and not each try can be quick."""
YEAR_S = 365 * 86400


class Trio:
    """Two servers and a gateway. client: one that acts for itself."""

    def __init__(self, fleet: Fleet, gateway: Server) -> None:
        self.fleet = fleet
        self.gateway = gateway
        self.first, self.second = fleet.servers[:2]
        self.client = self.make_client()

    @property
    def every(self) -> list[Server]:
        return [self.first, self.second, self.gateway]

    def make_client(self) -> Any:
        given = {"grant_types": ["client_credentials"], "project": "default", "scopes": ["models"]}
        return self.first.control("POST", "/oauth/clients", {"name": "Robot", **given})

    def post(self, server: Server, path: str, client: Any = None, **fields: str) -> Answer:
        """As a client, with Basic."""
        client = client or self.client
        pair = f"{client['client_id']}:{client['client_secret']}".encode()
        headers = {
            "authorization": f"Basic {base64.b64encode(pair).decode()}",
            "content-type": "application/x-www-form-urlencoded",
        }
        where = urlsplit(server.url)
        connection = HTTPConnection(where.hostname or "", where.port, timeout=PATIENCE)
        try:
            connection.request("POST", path, urlencode(fields), headers)
            reply = connection.getresponse()
            return Answer(reply.status, {}, reply.read())
        finally:
            connection.close()

    def token(self, client: Any = None) -> str:
        """A new one, once every process takes it."""
        answer = self.post(self.first, "/oauth/token", client, grant_type="client_credentials")
        assert answer.status == 200, answer.body
        assert answer.json["expires_in"] == YEAR_S
        made = str(answer.json["access_token"])
        until(lambda: self.say(made, 200), "it is taken everywhere")
        return made

    def say(self, token: str, status: int) -> bool:
        return all(each.ask("GET", "/v1/models", key=token).status == status for each in self.every)

    def time_until_refused(self, token: str) -> float:
        return until(lambda: self.say(token, 401), "it is refused everywhere", SOON_S)


@pytest.fixture(scope="module")
def trio(
    _sandbox_process: SandboxProcess, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Trio]:
    folder, name = tmp_path_factory.mktemp("trio"), "xrouter_revocation"
    postgres.sql(f"CREATE DATABASE {name}")
    fleet = Fleet(folder, _sandbox_process, postgres, name)
    try:
        fleet.start(*(fleet.add(XROUTER_PUBLIC_URL=ISSUER) for _ in range(2)))
        fleet.wait_agreed()
        gateway = Server(fleet.servers[1].folder, name="gateway")
        gateway.start("--role", "gateway")
        fleet.servers.append(gateway)  # to be closed with the others
        yield Trio(fleet, gateway)
    finally:
        fleet.close()
        postgres.sql(f"DROP DATABASE {name} WITH (FORCE)")


def test_a_revoked_token_is_refused_by_every_process_within_a_second(trio: Trio) -> None:
    took = []
    kept = trio.token()
    for number in range(3):
        token = trio.token()
        by = (trio.first, trio.second)[number % 2]
        assert trio.post(by, "/oauth/revoke", token=token).status == 200
        took.append(trio.time_until_refused(token))
        told = trio.post(trio.second, "/oauth/introspect", token=token).json
        assert told == {"active": False}
    assert min(took) < PROMISED_S, took
    assert trio.say(kept, 200)


def test_it_stays_so_when_a_gateway_starts_again_without_a_database(trio: Trio) -> None:
    token = trio.token()
    trio.post(trio.first, "/oauth/revoke", token=token)
    trio.time_until_refused(token)
    assert trio.gateway.stop() == 0
    trio.gateway.start("--role", "gateway")
    assert trio.gateway.ask("GET", "/v1/models", key=token).status == 401


def test_a_client_that_is_switched_off_is_out_everywhere(trio: Trio) -> None:
    client = trio.make_client()
    token = trio.token(client)
    trio.first.control("PATCH", f"/oauth/clients/{client['client_id']}", {"is_active": False})
    trio.time_until_refused(token)
    answer = trio.post(trio.second, "/oauth/token", client, grant_type="client_credentials")
    assert answer.status == 401


def test_a_new_key_is_published_everywhere_and_the_old_tokens_stay_good(trio: Trio) -> None:
    token = trio.token()
    before = keys(trio.first)
    made = trio.first.control("POST", "/oauth/keys")["kid"]
    assert keys(trio.first) == keys(trio.second) == before | {made}
    assert trio.say(token, 200)
    assert header(trio.token())["kid"] in before  # it signs only when all have seen it


def test_with_a_leaked_key_all_that_it_signed_ends(trio: Trio) -> None:
    """Last: the tokens of the other tests end with it."""
    token = trio.token()
    leaked = header(token)["kid"]
    trio.second.control("DELETE", f"/oauth/keys/{leaked}")
    trio.time_until_refused(token)
    assert leaked not in keys(trio.first)
    fresh = trio.token()
    assert header(fresh)["kid"] != leaked
    assert trio.say(token, 401)


def keys(server: Server) -> set[str]:
    return {key["kid"] for key in server.ask("GET", "/oauth/jwks.json").json["keys"]}


def header(token: str) -> Any:
    part = token.split(".", maxsplit=1)[0]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
