"""Redis behind TLS, with a password and, where it asks for one, our certificate."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest
import trustme
from msgspec import Struct
from tests.services.process import Service
from tests.services.redis import Redis, tool
from tests.stores.redis.conftest import until
from tests.stores.redis.test_meters import LEASE_S, taken, want

from xrouter.stores.redis.hearing import Hearing
from xrouter.stores.redis.link import FAILURES, Link, RedisAway
from xrouter.stores.redis.meters import RedisMeters
from xrouter.telemetry.logs import log

PASSWORD = "p:w/@d"
LinkTo = Callable[..., Link]
UrlOf = Callable[..., str]


class Files(Struct, frozen=True):
    """ca: who signed both certificates. ours: key and certificate of a client, in one file."""

    ca: Path
    server: Path
    ours: Path
    stranger: Path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("certificates")
    ca, stranger = trustme.CA(), trustme.CA()
    found = Files(*(folder / f"{name}.pem" for name in ("ca", "server", "ours", "stranger")))
    ca.cert_pem.write_to_path(found.ca)
    stranger.cert_pem.write_to_path(found.stranger)
    for each, name in ((found.server, "127.0.0.1"), (found.ours, "xrouter.test")):
        ca.issue_cert(name).private_key_and_cert_chain_pem.write_to_path(each)
    return found


@pytest.fixture(scope="module", params=["no", "yes"], ids=["server", "both"])
def url_of(request: pytest.FixtureRequest, redis: Redis, files: Files) -> Iterator[UrlOf]:
    """The URL with the given query. Whose certificates are asked for is the test's name."""
    assert redis.url
    program = tool()
    assert program is not None
    service = Service("redis-tls")

    def is_there() -> bool:
        with socket.socket() as line:
            return line.connect_ex((service.host, service.port)) == 0

    def url(ca: Path = files.ca, host: str = service.host, **query: str | Path) -> str:
        told = {"ssl_ca_certs": ca} | query
        if request.param == "yes":
            told |= {"ssl_certfile": files.ours, "ssl_keyfile": files.ours}
        return f"rediss://:{quote(PASSWORD, '')}@{host}:{service.port}/0?{urlencode(told)}"

    try:
        service.start(
            lambda port: [
                *(program, "--bind", service.host, "--port", "0", "--tls-port", str(port)),
                *("--tls-cert-file", files.server, "--tls-key-file", files.server),
                *("--tls-ca-cert-file", files.ca, "--tls-auth-clients", request.param),
                *("--requirepass", PASSWORD, "--dir", service.folder, "--save", ""),
            ],
            is_there,
        )
        yield url
    finally:
        service.remove()


async def why_not(link: Link) -> str:
    """What is logged when it gives up; the password is not in it."""
    with log.captured() as events:
        for _ in range(FAILURES):
            link._alone_until = 0.0
            with pytest.raises(RedisAway):
                await link.call(lambda redis: redis.ping())
    (said,) = [str(each["error"]) for each in events if each["event"] == "redis_away"]
    assert PASSWORD not in said
    return said


async def test_limits_and_what_others_say(url_of: UrlOf, link_to: LinkTo) -> None:
    link = link_to(url_of())
    assert await link.call(lambda redis: redis.set("xr:{limits}:known", 1))
    meters = RedisMeters(link)
    await meters.turn()
    budget = want(10, 4)
    hold = taken(await meters.take([budget], LEASE_S))
    meters.settle(hold, [3])
    await until(lambda: not link._later)
    assert (await meters.look([budget]))[0].remaining == 7
    assert meters.knows
    heard: list[bytes] = []
    hearing = Hearing(link)
    hearing.on(b"xr:here", heard.append, lambda: None)
    link.later(hearing.run())
    await until(lambda: hearing.live)
    await link.call(lambda redis: redis.publish("xr:here", b"word"))
    await until(lambda: heard == [b"word"])
    await meters.close()


async def test_a_server_that_somebody_else_vouches_for(
    url_of: UrlOf, link_to: LinkTo, files: Files
) -> None:
    said = await why_not(link_to(url_of(files.stranger)))
    assert "certificate verify failed" in said


async def test_a_server_of_another_name(url_of: UrlOf, link_to: LinkTo) -> None:
    """Its certificate is for the address."""
    said = await why_not(link_to(url_of(host="localhost")))
    assert "certificate" in said


async def test_unencrypted(url_of: UrlOf, link_to: LinkTo) -> None:
    plain = url_of().partition("?")[0].replace("rediss://", "redis://")
    assert await why_not(link_to(plain))


@pytest.mark.parametrize("url_of", ["yes"], indirect=True)
async def test_without_a_certificate_of_ours(url_of: UrlOf, link_to: LinkTo) -> None:
    parts = url_of().split("&")
    bare = "&".join(part for part in parts if "ssl_certfile" not in part and "keyfile" not in part)
    assert await why_not(link_to(bare))
