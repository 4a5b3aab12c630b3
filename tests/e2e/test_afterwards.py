"""A caller leaves in the middle: what that has cost is asked from the provider, and is exact."""

from __future__ import annotations

from typing import Any

from tests.e2e.fixtures import Servers
from tests.e2e.harness import SandboxProcess, Server, until

MODEL = "openrouter/openai/gpt-4o-mini"


def _left(server: Server) -> None:
    """Not heard to the end."""
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "[[words:40]] [[pause:0.05]]"}],
        "stream": True,
    }
    with server.open("POST", "/v1/chat/completions", body, server.key) as reply:
        assert reply.status == 200
        reply.read(400)


def test_what_nobody_heard_is_asked_for(servers: Servers, sandbox: SandboxProcess) -> None:
    """Also when the process dies in between."""
    server = servers(XROUTER_LEASE="2").start()
    dollar = {"currency": "USD", "day": "2026-01-01", "rubles": "81.234567891"}
    server.control("PUT", "/rates", {"rates": [dollar]})
    price = {"model": MODEL, "effective_from": "2026-01-01T00:00:00Z", "source": "a test"}
    amounts = {"currency": "USD", "input": "1", "output": "2"}
    server.control("POST", "/prices", price | amounts)

    def charges() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = server.control("GET", "/billing/charges")["data"]
        return found

    def is_priced() -> bool:
        return server.chat(MODEL).status == 200 and any(row["rate"] for row in charges())

    until(is_priced, "the price is known")
    sandbox.ask("DELETE", "/_sandbox/bill")
    _left(server)
    until(lambda: any(row["is_estimated"] for row in charges()), "the estimate is charged")
    server.kill()
    server.start()
    until(lambda: not any(row["is_estimated"] for row in charges()), "the provider has told")
    (row,) = [row for row in charges() if row["settled_at"] is not None]
    (line,) = sandbox.ask("GET", "/_sandbox/bill").json["charges"]
    dollars = line["tokens_in"] * 15 + line["tokens_out"] * 60  # hundredths of a millionth
    assert row["cost"]["billionths"] == -(-dollars * 81_234_567_891 // 10**8)
    account = server.control("GET", "/billing/accounts/provider:openrouter")
    total = sum(each["cost"]["billionths"] for each in charges())
    assert account["balance"]["billionths"] == total
