"""What a provider is asked, where, how often; and what of its documents is believed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from msgspec.structs import replace
from starlette.responses import Response
from tests.control.people.oidc.conftest import providers
from tests.control.people.oidc.issuer import CLIENT, Issuer, Key, rsa

from xrouter.control.people.oidc import id_token
from xrouter.control.people.oidc.ask import MAX_ANSWER, Asker
from xrouter.control.people.oidc.config import PRESETS, ProviderConfig
from xrouter.control.people.oidc.flow import LIVES, Flow, FlowBook
from xrouter.control.people.oidc.provider import FRESH_S, KEYS_EVERY_S, QUIET_S, Identity, Provider
from xrouter.control.people.oidc.words import WORDS, SignInProblem
from xrouter.domain.secret import Secret
from xrouter.stores.vault import Vault
from xrouter.wire.client import Client
from xrouter.wire.types import WireRequest

pytestmark = pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")

BACK = "https://control.test/control/oidc/acme/callback"
DOCUMENT = "/.well-known/openid-configuration"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Ground:
    """A provider as the router has it, its issuer, and the time."""

    def __init__(self, issuer: Issuer, client: Client) -> None:
        self.issuer = issuer
        self.clock = Clock()
        self.config = providers(issuer.url)[0]
        self.client = client
        self.flows = FlowBook(Vault(bytes(32)), lambda: datetime.now(UTC), is_secure=True)

    def provider(self, **changes: Any) -> Provider:
        return Provider(self.client, replace(self.config, **changes), clock=self.clock)

    async def come_in(self, provider: Provider) -> Identity:
        flow = self.flows.new("acme", None)
        query = self.issuer.agrees(await provider.address(flow, BACK))
        await provider.require_issuer(query["iss"])
        return await provider.identity(query["code"], flow, BACK)


@pytest_asyncio.fixture
async def ground(wire_client: Client) -> AsyncIterator[Ground]:
    issuer = Issuer()
    await issuer.start()
    yield Ground(issuer, wire_client)
    await issuer.stop()


async def told(work: Any) -> str:
    """Why it was refused."""
    with pytest.raises(SignInProblem) as problem:
        await work
    return f"{problem.value.reason}: {problem.value.detail}"


@pytest.mark.parametrize(
    "document",
    [
        {"issuer": "https://evil.test"},
        {"issuer": None},
        {"authorization_endpoint": None},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"authorization_endpoint": "http://evil.test/authorize"},
        {"token_endpoint": "http://10.0.0.1/token"},
        {"token_endpoint": "https://user:pw@evil.test/token"},
        {"token_endpoint": "https://evil.test/token#a"},
        {"token_endpoint": "https://evil.test:x/token"},
        {"token_endpoint": "https:///token"},
        {"token_endpoint": "https://evil.test/a b"},
        {"token_endpoint": "https://evil.test/" + "a" * 2000},
        {"token_endpoint": 5},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": None},
        {"userinfo_endpoint": "ftp://evil.test/me"},
    ],
    ids=lambda document: str(document)[:50],
)
async def test_a_discovery_document_that_is_not_believed(
    ground: Ground, document: dict[str, Any]
) -> None:
    ground.issuer.document = document
    assert (await told(ground.come_in(ground.provider()))).startswith("failed: ")
    assert ground.issuer.asked["/token"] == 0


async def test_a_document_does_not_lead_into_our_network(ground: Ground) -> None:
    """SSRF: another service of this machine, named as the token endpoint, is not connected to."""
    inside = Issuer()
    await inside.start()
    try:
        ground.issuer.document = {"token_endpoint": f"{inside.url}/token"}
        assert "not on the public internet" in await told(ground.come_in(ground.provider()))
        assert inside.asked["/token"] == 0
        answer = await told(ground.come_in(ground.provider(allow_private=True)))
        assert "invalid_grant" in answer
        assert inside.asked["/token"] == 1
    finally:
        await inside.stop()


async def test_plain_http_is_for_this_machine(ground: Ground) -> None:
    def asker(issuer: str, **more: Any) -> Asker:
        return Asker(ground.client, replace(ground.config, issuer=issuer, **more))

    remote = asker("https://id.test")
    assert remote.checked("https://other.test/token") == "https://other.test/token"
    for url in ("http://id.test/token", "http://127.0.0.1/token"):
        with pytest.raises(SignInProblem):
            remote.checked(url)
    assert asker("http://id.test", allow_http=True).checked("http://id.test/token")


async def test_redirects_and_floods_are_refused(ground: Ground) -> None:
    async def elsewhere(_request: web.Request) -> web.Response:
        raise web.HTTPFound(f"{ground.issuer.url}/keys")

    async def flood(_request: web.Request) -> web.Response:
        return web.json_response({"a": "a" * MAX_ANSWER})

    async def hang(_request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    app = web.Application()
    for path, handler in (("/elsewhere", elsewhere), ("/flood", flood), ("/hang", hang)):
        app.router.add_get(path, handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    config = replace(ground.config, issuer=url)
    asker, hasty = (Asker(ground.client, config, answer_s=seconds) for seconds in (60.0, 0.2))
    try:
        assert "failed" in await told(asker.ask(WireRequest("GET", f"{url}/elsewhere")))
        assert "too large" in await told(asker.ask(WireRequest("GET", f"{url}/flood")))
        assert "away: no answer" in await told(hasty.ask(WireRequest("GET", f"{url}/hang")))
    finally:
        await runner.cleanup()
    assert ground.issuer.asked["/keys"] == 0


async def test_documents_and_keys_are_kept_for_an_hour(ground: Ground) -> None:
    provider = ground.provider()
    for _ in range(3):
        await ground.come_in(provider)
    assert (ground.issuer.asked[DOCUMENT], ground.issuer.asked["/keys"]) == (1, 1)
    ground.clock.now += FRESH_S
    await ground.come_in(provider)
    assert (ground.issuer.asked[DOCUMENT], ground.issuer.asked["/keys"]) == (2, 2)


async def test_a_new_key_is_found_and_made_up_ones_make_no_storm(ground: Ground) -> None:
    provider, issuer = ground.provider(), ground.issuer
    await ground.come_in(provider)
    issuer.keys = {"two": rsa("two")}
    issuer.header = {"kid": "two"}
    issuer.sign = lambda header, claims: jwt.encode(header, claims, issuer.keys["two"])
    await ground.come_in(provider)
    assert issuer.asked["/keys"] == 2
    for number in range(20):
        issuer.header = {"kid": f"made up {number}"}
        assert "none of the provider's keys" in await told(ground.come_in(provider))
    assert issuer.asked["/keys"] == 2
    ground.clock.now += KEYS_EVERY_S
    assert "none of the provider's keys" in await told(ground.come_in(provider))
    assert issuer.asked["/keys"] == 3


async def test_a_provider_that_is_away_is_not_asked_by_everybody(ground: Ground) -> None:
    provider, issuer = ground.provider(), ground.issuer
    issuer.down = {DOCUMENT}
    flow = ground.flows.new("acme", None)
    whys = await asyncio.gather(*(told(provider.address(flow, BACK)) for _ in range(10)))
    assert whys == ["away: status 503"] * 10
    assert issuer.asked[DOCUMENT] == 1
    issuer.down.clear()
    ground.clock.now += QUIET_S
    await ground.come_in(provider)


@pytest.mark.parametrize(
    "algorithm, key",
    [
        ("RS256", rsa("one")),
        ("PS256", rsa("one")),
        ("ES256", ECKey.generate_key("P-256")),
        ("ES384", ECKey.generate_key("P-384")),
        ("ES512", ECKey.generate_key("P-521")),
        ("EdDSA", OKPKey.generate_key("Ed25519")),
        ("Ed25519", OKPKey.generate_key("Ed25519")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_each_algorithm(ground: Ground, algorithm: str, key: Key) -> None:
    issuer = ground.issuer
    issuer.keys = {"k": key}
    issuer.header = {"alg": algorithm, "kid": "k"}
    issuer.claims = {"at_hash": id_token.at_hash("access code0", algorithm)}
    issuer.sign = lambda header, claims: jwt.encode(header, claims, key, algorithms=[algorithm])
    provider = ground.provider(algorithms=(algorithm,))
    assert (await ground.come_in(provider)).subject == issuer.user["sub"]
    assert "not allowed" in await told(ground.come_in(ground.provider(algorithms=("RS512",))))


@pytest.mark.parametrize("kind", ["short", "shared", "encrypts", "two", "curve"])
async def test_a_key_that_does_not_fit(ground: Ground, kind: str) -> None:
    issuer = ground.issuer
    own = issuer.keys["one"]
    public: dict[str, Any] = {**own.as_dict(private=False), "kid": "one"}
    header, key, shown = {"alg": "RS256", "kid": "one"}, own, [public]
    if kind == "short":
        key = RSAKey.generate_key(1024)
        shown = [{**key.as_dict(private=False), "kid": "one"}]
    elif kind == "shared":
        key = OctKey.generate_key(256)
        header["alg"] = "HS256"
        shown = [{**key.as_dict(private=True), "kid": "one"}]
    elif kind == "encrypts":
        shown = [public | {"use": "enc"}]
    elif kind == "two":
        shown = [public, {**rsa("two").as_dict(private=False), "kid": "one"}]
    else:
        key = ECKey.generate_key("P-384")
        header["alg"] = "ES384"
        shown = [{**key.as_dict(private=False), "kid": "one", "alg": "ES256"}]
    algorithm = header["alg"]
    issuer.claims = {"at_hash": None}
    issuer.sign = lambda _header, claims: jwt.encode(header, claims, key, algorithms=[algorithm])
    issuer.shown = shown
    provider = ground.provider(algorithms=("RS256", "ES256", "ES384"))
    assert (await told(ground.come_in(provider))).startswith("failed: ID token: ")


async def test_one_key_needs_no_name(ground: Ground) -> None:
    ground.issuer.header = {"kid": None}
    assert (await ground.come_in(ground.provider())).subject == ground.issuer.user["sub"]


async def test_audiences_that_the_operator_lists(ground: Ground) -> None:
    ground.issuer.claims = {"aud": [CLIENT, "account"], "azp": CLIENT}
    assert "listed in 'audiences'" in await told(ground.come_in(ground.provider()))
    identity = await ground.come_in(ground.provider(audiences=("account",)))
    assert identity.subject == ground.issuer.user["sub"]
    ground.issuer.claims = {"aud": "account"}
    assert "another client" in await told(ground.come_in(ground.provider(audiences=("account",))))
    ground.issuer.claims = {"aud": [CLIENT, "account"]}
    assert "another client" in await told(ground.come_in(ground.provider(audiences=("account",))))


@pytest.mark.parametrize(
    "auth, methods, secret, by_header",
    [
        (None, None, "s", True),
        (None, ["client_secret_basic", "client_secret_post"], "s", True),
        (None, ["client_secret_post"], "s", False),
        ("post", ["client_secret_basic"], "s", False),
        ("basic", ["client_secret_post"], "s", True),
        (None, None, None, False),
    ],
)
async def test_how_the_client_proves_itself(
    ground: Ground, auth: Any, methods: Any, secret: str | None, *, by_header: bool
) -> None:
    ground.issuer.document = {"token_endpoint_auth_methods_supported": methods}
    kept = None if secret is None else Secret("s & s")
    await ground.come_in(ground.provider(client_auth=auth, client_secret=kept))
    form = ground.issuer.forms[0]
    assert (form["authorization"] == "Basic eHJvdXRlcjpzKyUyNitz") is by_header
    assert form.get("client_id") == (None if by_header else CLIENT)
    assert form.get("client_secret") == (None if by_header or secret is None else "s & s")


@pytest.mark.parametrize(
    "email, hosted, verified",
    [
        ("ann@gmail.com", None, True),
        ("ann@example.com", "example.com", True),
        ("ann@example.com", None, False),
        ("ann@gmail.com.evil.test", None, False),
    ],
)
async def test_a_provider_that_vouches_for_its_own_hosts(
    ground: Ground, email: str, hosted: str | None, *, verified: bool
) -> None:
    ground.issuer.user |= {"email": email, "hd": hosted}
    assert PRESETS["google"].hosted_email
    provider = ground.provider(hosted_email=True)
    assert (await ground.come_in(provider)).is_verified is verified


def test_an_attempt_ends_in_ten_minutes() -> None:
    now = datetime.now(UTC)
    times: list[datetime] = [now]
    book = FlowBook(Vault(bytes(32)), lambda: times[0], is_secure=True)
    flow = book.new("acme", "/next")
    answer = Response()
    book.put(answer, flow)
    cookie = answer.headers["set-cookie"].partition(";")[0].encode()
    assert len(cookie) < 4000
    assert book.read([(b"cookie", b"a=b; " + cookie)]) == flow
    assert book.read([(b"cookie", cookie), (b"cookie", cookie)]) is None
    other = FlowBook(Vault(bytes(range(32))), lambda: now, is_secure=True)
    assert other.read([(b"cookie", cookie)]) is None
    times[0] = now + LIVES
    assert book.read([(b"cookie", cookie)]) is None


def test_the_longest_address_fits_into_a_cookie() -> None:
    book = FlowBook(Vault(bytes(32)), lambda: datetime.now(UTC), is_secure=True)
    answer = Response()
    book.put(answer, book.new("a" * 64, "/" + "&" * 1499, session_id=2**31, invite="i" * 100))
    cookie = answer.headers["set-cookie"].partition(";")[0].encode()
    found = book.read([(b"cookie", cookie)])
    assert isinstance(found, Flow)
    assert found.next == "/" + "&" * 1499
    assert len(cookie) < 4096


def test_both_languages_say_the_same() -> None:
    assert WORDS["en"].keys() == WORDS["ru"].keys()


def test_secrets_do_not_show() -> None:
    config = ProviderConfig(
        name="a", title="A", issuer="https://a.test", client_id="c", client_secret=Secret("hush")
    )
    assert "hush" not in repr(config)
