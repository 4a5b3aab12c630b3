"""Every page that a browser shows: framed by nobody, kept by nobody, nothing of others in it."""

from __future__ import annotations

from tests.control.oauth.conftest import Browser, World
from tests.security.harness import control_routes, filled, oauth_routes

from xrouter.control.kit.access import Access

XSS = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>"


async def test_o13_o17_every_page_has_every_defence(world: World, person: Browser) -> None:
    client = await world.client()
    asked = {"/oauth/authorize": world.request(client), "/auth": {"code_challenge": "A" * 43}}
    asked["/auth"]["code_challenge_method"] = "S256"
    paths = [p for m, p, who in control_routes() if m == "GET" and who is Access.PUBLIC]
    paths += [path for method, path in oauth_routes(world) if method == "GET"]
    pages = 0
    for path in paths:
        for http in (person.http, world.http):
            for params in ({}, asked.get(path, {}), {"x": XSS}):
                reply = await http.get(filled(path, name="people.css"), params=params)
                assert reply.status_code < 500, path
                if not reply.headers.get("content-type", "").startswith("text/html"):
                    continue
                pages += 1
                policy = reply.headers["content-security-policy"]
                assert "default-src 'none'" in policy, path
                assert "frame-ancestors 'none'" in policy, path
                assert "base-uri 'none'" in policy, path
                assert "unsafe" not in policy, path
                assert reply.headers["x-frame-options"] == "DENY", path
                assert reply.headers["referrer-policy"] == "no-referrer", path
                assert reply.headers["cache-control"] == "no-store", path
                assert reply.headers["x-content-type-options"] == "nosniff", path
                assert "access-control-allow-origin" not in reply.headers, path
                assert "alert(1)" not in reply.text, path
    assert pages > 30


async def test_what_people_call_things_runs_nowhere(world: World, person: Browser) -> None:
    client = await world.client(name=XSS)
    page = await person.get("/oauth/authorize", params=world.request(client))
    label = {"key_label": XSS, "code_challenge": "A" * 43, "code_challenge_method": "S256"}
    other = await person.get("/auth", params=label)
    for shown in (page, other):
        assert shown.status_code == 200
        assert "<script" not in shown.text
        assert "<img" not in shown.text
        assert "&lt;script&gt;" in shown.text
    body = {"name": XSS, "email": "x@a.test", "role": "viewer"}
    reply = await world.admin.post("/control/v1/organizations/default/invites", json=body)
    assert reply.headers["content-type"].startswith("application/json")
    assert reply.headers["x-content-type-options"] == "nosniff"
