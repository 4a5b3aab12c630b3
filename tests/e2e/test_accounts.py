"""Projects' own accounts in the real program: set and removed while it runs."""

from __future__ import annotations

from tests.e2e.fixtures import Servers
from tests.e2e.harness import SandboxProcess, until

MODEL = "openai/gpt-4o-mini"
OWN = "/projects/default/credentials/openai"
MINE = "sk-sandbox-of-the-tenant"


def test_a_project_brings_its_account_while_requests_come(
    servers: Servers, sandbox: SandboxProcess
) -> None:
    server = servers().start()

    def where() -> str:
        return server.chat(MODEL).headers["x-xrouter-endpoint"]

    assert where() == "primary"
    server.control("PUT", OWN, {"credential": {"api_key": MINE}})
    until(lambda: where() == "primary@own", "it goes out on the project's account")
    told = server.chat(MODEL, stream=True).headers["x-xrouter-route"]
    assert told == "priority, own account first"
    asked = [each for each in sandbox.seen if "chat" in each["path"]]
    keys = [each["headers"]["authorization"] for each in asked]
    assert keys[0] != keys[-1]
    assert keys[-1].endswith(MINE[-4:])

    wrong = {"credential": {"api_key": "nobody-knows-this-key"}, "is_only": True}
    server.control("PUT", OWN, wrong)
    until(lambda: server.chat(MODEL).status == 424, "it is refused, and the router's is not used")
    error = server.chat(MODEL).error
    assert error["code"] == "project_credential_refused"
    assert "nobody" not in str(error)
    assert "nobody-knows" not in server.err

    server.control("DELETE", OWN)
    until(lambda: server.chat(MODEL).status == 200, "the router's account again")
    assert where() == "primary"
    until(
        lambda: {"primary", "primary@own"} <= {event["endpoint"] for event in server.events()},
        "the events are in the database",
    )
