"""The first operator, by a browser that runs on the server's own machine."""

from __future__ import annotations

import json
import re
import urllib.request

from tests.e2e.fixtures import Servers
from tests.e2e.harness import Server


def _link(server: Server) -> tuple[str, str]:
    """The page that the server printed, and the secret behind it."""
    found = re.search(r"^(http://\S+/control/setup)#(\S+)$", server.out, re.MULTILINE)
    assert found is not None, server.out
    return found[1], found[2]


def test_the_printed_link_makes_the_first_operator_once(servers: Servers) -> None:
    server = servers(bare=True, XROUTER_SANDBOX="off")
    server.start()
    _, old = _link(server)
    assert server.stop() == 0
    server.start()
    page, secret = _link(server)
    assert secret != old
    with urllib.request.urlopen(page) as reply:
        assert b"<form" in reply.read()

    origin = page.removesuffix("/control/setup")
    person = {"email": "op@a.test", "name": "Op", "password": "correct horse battery"}
    request = urllib.request.Request(
        origin + "/control/v1/auth/setup",
        data=json.dumps(person | {"secret": secret}).encode(),
        headers={"origin": origin, "content-type": "application/json"},
    )
    with urllib.request.urlopen(request) as reply:
        assert reply.status == 201
        cookie = reply.headers["set-cookie"].partition(";")[0]
    request = urllib.request.Request(origin + "/control/v1/auth/me", headers={"cookie": cookie})
    with urllib.request.urlopen(request) as reply:
        assert json.load(reply)["user"]["is_operator"]

    log = server.err
    assert server.stop() == 0
    server.start()
    assert "/control/setup" not in server.out
    assert secret not in log + server.err
