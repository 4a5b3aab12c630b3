"""What any transport must keep: addresses, TLS and proxies."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme
from tests.wire.rawserver import (
    CHUNKED,
    Conn,
    RawServer,
    Request,
    assert_no_secret,
    head,
    piece,
)
from tests.wire.talk import ROUTE, fetch, patient, polite, post

from xrouter.domain.errors import NotReady, UpstreamDenied, UpstreamUnreachable
from xrouter.wire.client import Client
from xrouter.wire.tls import build_context
from xrouter.wire.types import Route, WireRequest

# --- addresses


@pytest.mark.parametrize(
    "url",
    ["", "nonsense", "ftp://host", "http://", "http://user:s3cret@host", "http://host:port"],
)
async def test_addresses_that_cannot_be_used(client: Client, url: str) -> None:
    with pytest.raises(UpstreamUnreachable, match="base_url") as caught:
        await client.open(WireRequest("GET", url), ROUTE)
    assert_no_secret(caught.value)


async def test_nobody_listens(client: Client, unused_tcp_port: int) -> None:
    with pytest.raises(UpstreamUnreachable, match="refused") as caught:
        await fetch(client, f"http://127.0.0.1:{unused_tcp_port}")
    assert str(unused_tcp_port) in (caught.value.hint or "")
    assert str(unused_tcp_port) not in caught.value.message
    assert_no_secret(caught.value)


async def test_a_host_nobody_knows(client: Client) -> None:
    with pytest.raises(UpstreamUnreachable, match="resolved") as caught:
        await fetch(client, "http://nobody.invalid")
    assert_no_secret(caught.value)


async def test_a_credential_with_a_line_break(client: Client, server: RawServer) -> None:
    request = post(server.url)
    request.headers["authorization"] = "Bearer s3cret\nx-evil: 1"
    with pytest.raises(UpstreamDenied, match="character") as caught:
        await client.open(request, ROUTE)
    assert_no_secret(caught.value)


async def test_a_closed_client_says_so(client: Client, server: RawServer) -> None:
    await client.close()
    with pytest.raises(NotReady):
        await fetch(client, server.url)


# --- TLS


class Trust:
    """A private authority, and its PEM files."""

    def __init__(self, folder: Path) -> None:
        self.ca = trustme.CA()
        self.bundle = str(folder / "ca.pem")
        self.ca.cert_pem.write_to_path(self.bundle)
        self.cert = str(folder / "client.pem")
        self.key = str(folder / "client.key")
        mine = self.ca.issue_cert("router@example.org")
        mine.private_key_pem.write_to_path(self.key)
        for pem in mine.cert_chain_pems:
            pem.write_to_path(self.cert, append=True)

    def serving(self, name: str = "127.0.0.1", *, mtls: bool = False) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.ca.issue_cert(name).configure_cert(context)
        if mtls:
            self.ca.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


@pytest.fixture
def trust(tmp_path: Path) -> Trust:
    return Trust(tmp_path)


async def test_a_private_authority_is_trusted_when_it_is_named(
    client: Client, trust: Trust
) -> None:
    async with RawServer(polite).listening(trust.serving()) as server:
        route = patient(ca_bundle=trust.bundle)
        assert (await fetch(client, server.url, route)).body == b"1"
        assert (await fetch(client, server.url, route)).body == b"2"  # kept alive
        with pytest.raises(UpstreamUnreachable):  # and not lent to those who do not trust it
            await fetch(client, server.url)


async def test_an_unknown_authority_is_refused_with_a_hint(client: Client, trust: Trust) -> None:
    async with RawServer(polite).listening(trust.serving()) as server:
        with pytest.raises(UpstreamUnreachable, match="certificate") as caught:
            await fetch(client, server.url)
    assert "ca_bundle" in (caught.value.hint or "")
    assert_no_secret(caught.value)


async def test_a_certificate_for_another_name_is_refused(client: Client, trust: Trust) -> None:
    async with RawServer(polite).listening(trust.serving("other.example")) as server:
        with pytest.raises(UpstreamUnreachable, match="certificate") as caught:
            await fetch(client, server.url, patient(ca_bundle=trust.bundle))
    assert "base_url" in (caught.value.hint or "")


async def test_a_client_certificate_is_shown(client: Client, trust: Trust) -> None:
    async with RawServer(polite).listening(trust.serving(mtls=True)) as server:
        route = patient(ca_bundle=trust.bundle, client_cert=trust.cert, client_key=trust.key)
        assert (await fetch(client, server.url, route)).body == b"1"


async def test_a_client_certificate_is_missing(client: Client, trust: Trust) -> None:
    async with RawServer(polite).listening(trust.serving(mtls=True)) as server:
        with pytest.raises(UpstreamUnreachable) as caught:
            await fetch(client, server.url, patient(ca_bundle=trust.bundle))
    assert_no_secret(caught.value)


def test_verification_is_on_and_old_versions_are_off(trust: Trust) -> None:
    context = build_context(trust.bundle, trust.cert, trust.key)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    alone = ssl.create_default_context().get_ca_certs(binary_form=True)
    both = context.get_ca_certs(binary_form=True)
    assert set(both) > set(alone)  # the system's authorities stay trusted


async def test_a_provider_that_hangs_up_in_the_handshake(client: Client) -> None:
    async def hang_up(conn: Conn) -> None:
        await conn.reader.readexactly(1)
        conn.finish()

    async with RawServer(hang_up).listening() as server:
        with pytest.raises(UpstreamUnreachable) as caught:
            await fetch(client, server.url.replace("http:", "https:"))
        assert_no_secret(caught.value)


async def test_https_to_a_plain_port(client: Client) -> None:
    async def banter(conn: Conn) -> None:
        await conn.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with RawServer(banter).listening() as server:
        with pytest.raises(UpstreamUnreachable, match="TLS") as caught:
            await fetch(client, server.url.replace("http:", "https:"))
        assert "http or https" in (caught.value.hint or "")


async def test_files_that_cannot_be_used(client: Client, trust: Trust, tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("s3cret")
    missing = str(tmp_path / "none.pem")
    wrong = [
        (Route(ca_bundle=missing), "ca_bundle"),
        (Route(ca_bundle=str(garbage)), "ca_bundle"),
        (Route(ca_bundle=str(tmp_path)), "ca_bundle"),
        (Route(client_cert=missing, client_key=missing), "client_cert"),
        (Route(client_cert=str(garbage), client_key=trust.key), "client_cert"),
        (Route(client_cert=trust.cert, client_key=trust.bundle), "client_key"),
        (Route(client_key=trust.key), "client_cert"),
    ]
    for route, setting in wrong:
        with pytest.raises(UpstreamUnreachable, match=setting) as caught:
            await fetch(client, "https://127.0.0.1:1", route)
        assert caught.value.hint
        assert str(tmp_path) not in f"{caught.value} {caught.value.hint}"
        assert_no_secret(caught.value)


async def test_tls_streams_and_closes(client: Client, trust: Trust) -> None:
    async with RawServer().listening(trust.serving()) as server:
        route = patient(ca_bundle=trust.bundle)
        task = asyncio.create_task(client.open(post(server.url), route))
        conn = await server.accept()
        await conn.request()
        await conn.send(head(CHUNKED), piece(b"a"))
        exchange = await task
        assert await exchange.chunk() == b"a"
        waiting = asyncio.create_task(exchange.chunk())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await conn.gone()
        exchange.close()


# --- proxies


class Proxy:
    """A forward proxy in a few lines: absolute-form requests and CONNECT tunnels."""

    def __init__(self, refuse: str | None = None) -> None:
        self.refuse = refuse
        self.seen: list[Request] = []
        self._server = RawServer(self._serve)
        self.listening = self._server.listening

    @property
    def url(self) -> str:
        return self._server.url

    async def _serve(self, conn: Conn) -> None:
        request = await conn.head()
        self.seen.append(request)
        if self.refuse is not None:
            await conn.reply(b"", status=self.refuse)
            return
        tunnel = request.method == "CONNECT"
        place = request.target if tunnel else request.target.split("/")[2]
        host, _, port = place.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        if tunnel:
            await conn.send(head(status="200 Connection established"))
        else:
            fields = [f"{k}: {v}" for k, v in request.headers.items()]
            path = "/" + request.target.split("/", 3)[3]
            first = f"{request.method} {path} HTTP/1.1"
            writer.write("\r\n".join((first, *fields, "", "")).encode())
        try:
            await asyncio.gather(_pump(conn.reader, writer), _pump(reader, conn.writer))
        finally:
            writer.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.transport.abort()


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    made = Proxy()
    async with made.listening():
        yield made


async def test_a_proxy_carries_plain_http(client: Client, proxy: Proxy) -> None:
    async with RawServer(polite).listening() as server:
        reply = await fetch(client, server.url, patient(proxy=proxy.url))
        assert reply.body == b"1"
        assert [(r.method, r.target) for r in proxy.seen] == [
            ("POST", f"{server.url}/v1/chat?key=s3cret")
        ]


async def test_a_proxy_tunnels_tls(client: Client, proxy: Proxy, trust: Trust) -> None:
    async with RawServer(polite).listening(trust.serving()) as server:
        route = patient(proxy=proxy.url, ca_bundle=trust.bundle)
        assert (await fetch(client, server.url, route)).body == b"1"
        assert [(r.method, r.target) for r in proxy.seen] == [
            ("CONNECT", f"127.0.0.1:{server.port}")
        ]
        assert "authorization" not in proxy.seen[0].headers


async def test_a_proxy_gets_its_own_credential(client: Client, proxy: Proxy, trust: Trust) -> None:
    with_user = proxy.url.replace("http://", "http://user:pass@")
    async with RawServer(polite).listening(trust.serving()) as server:
        route = patient(proxy=with_user, ca_bundle=trust.bundle)
        assert (await fetch(client, server.url, route)).body == b"1"
        assert proxy.seen[0].headers["proxy-authorization"] == "Basic dXNlcjpwYXNz"


async def test_a_proxy_gets_its_credential_for_plain_http_too(client: Client, proxy: Proxy) -> None:
    with_user = proxy.url.replace("http://", "http://user:p%40ss@")
    async with RawServer(polite).listening() as server:
        assert (await fetch(client, server.url, patient(proxy=with_user))).body == b"1"
    assert proxy.seen[0].headers["proxy-authorization"] == "Basic dXNlcjpwQHNz"
    assert proxy.seen[0].headers["host"] == f"127.0.0.1:{server.port}"


@pytest.mark.parametrize("inner", ["http", "https"])
async def test_a_proxy_may_speak_tls_itself(client: Client, trust: Trust, inner: str) -> None:
    proxy = Proxy()
    tls = trust.serving() if inner == "https" else None
    async with proxy.listening(trust.serving()), RawServer(polite).listening(tls) as server:
        route = patient(proxy=proxy.url, ca_bundle=trust.bundle)
        assert (await fetch(client, server.url, route)).body == b"1"
        assert (await fetch(client, server.url, route)).body == b"2"  # kept alive
    assert proxy.seen[0].method == ("CONNECT" if inner == "https" else "POST")


async def test_a_proxy_that_hangs_up(client: Client) -> None:
    async def hang_up(conn: Conn) -> None:
        await conn.head()
        conn.finish()

    async with RawServer(hang_up).listening() as proxy:
        with pytest.raises(UpstreamUnreachable, match="proxy"):
            await fetch(client, "https://provider.example", patient(proxy=proxy.url))


async def test_a_proxy_that_refuses(client: Client, trust: Trust) -> None:
    refusing = Proxy(refuse="407 Proxy Authentication Required")
    async with refusing.listening(), RawServer(polite).listening(trust.serving()) as server:
        route = patient(proxy=refusing.url, ca_bundle=trust.bundle)
        with pytest.raises(UpstreamUnreachable, match="407") as caught:
            await fetch(client, server.url, route)
        assert "proxy" in (caught.value.hint or "")
        assert_no_secret(caught.value)
        assert server.conns == []


async def test_a_proxy_that_is_not_there(client: Client, unused_tcp_port: int) -> None:
    route = Route(proxy=f"http://user:s3cret@127.0.0.1:{unused_tcp_port}")
    with pytest.raises(UpstreamUnreachable, match="proxy") as caught:
        await fetch(client, "http://127.0.0.1:1", route)
    assert_no_secret(caught.value)


async def test_a_proxy_address_that_cannot_be_used(client: Client) -> None:
    with pytest.raises(UpstreamUnreachable, match="proxy"):
        await fetch(client, "http://127.0.0.1:1", Route(proxy="socks5://127.0.0.1:1"))


async def test_cancelled_while_a_proxy_connects(client: Client) -> None:
    async with RawServer().listening() as silent:
        route = patient(proxy=silent.url)
        task = asyncio.create_task(client.open(post("https://provider.example"), route))
        conn = await silent.accept()
        assert (await conn.head()).method == "CONNECT"
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await conn.gone()


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
async def test_the_environment_names_no_proxy(
    client: Client, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, proxy.url)
    async with RawServer(polite).listening() as server:
        assert (await fetch(client, server.url)).body == b"1"
    assert proxy.seen == []
