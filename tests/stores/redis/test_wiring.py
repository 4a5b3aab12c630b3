"""The parts joined as a server joins them, and two servers as two machines."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError
from tests.e2e.fixtures import Servers
from tests.e2e.harness import until as eventually
from tests.services.redis import Redis
from tests.stores.redis.conftest import PATIENT_S, until
from tests.stores.redis.test_link import frozen
from typing_extensions import override

from xrouter.app import control as module
from xrouter.app.control import LISTENING_S, SIGNALLED_S, ControlPlane
from xrouter.app.gateway import DataPlane, GatewayConfig
from xrouter.control.publish.publisher import EVERY_S, Publisher
from xrouter.domain.catalog import Endpoint
from xrouter.domain.ports import ChangeSignal
from xrouter.domain.secret import Secret
from xrouter.domain.snapshot import Snapshot
from xrouter.flow.lanes import JointLanes, Place
from xrouter.flow.upstreams import Upstreams
from xrouter.settings import Settings
from xrouter.stores.memory.answers import MemoryAnswers
from xrouter.stores.redis import state
from xrouter.stores.redis.answers import RedisAnswers
from xrouter.stores.redis.link import Link
from xrouter.stores.vault import Vault
from xrouter.telemetry.logs import LineWriter
from xrouter.wire.client import Client
from xrouter.wire.tokens import TokenBook

VAULT = Vault(b"k" * 32)
ADAPTER = "xrouter.providers.openai.OpenAIAdapter"


def endpoint(max_running: int | None) -> Endpoint:
    return Endpoint(
        id=1,
        provider="p",
        name="primary",
        adapter_class=ADAPTER,
        base_url="http://127.0.0.1:9/v1",
        credential={"api_key": Secret("k")},
        max_running=max_running,
    )


@asynccontextmanager
async def started(folder: Path, url: str | None) -> AsyncIterator[DataPlane]:
    config = GatewayConfig(folder, redis_url=None if url is None else Secret(url))
    plane = DataPlane(config, VAULT, LineWriter(io.StringIO()))
    plane.start()
    try:
        yield plane
    finally:
        await plane.stop()


def upstreams_of(plane: DataPlane) -> Upstreams:
    found = plane._janitor._upstreams
    assert isinstance(found, Upstreams)
    return found


def store_of(plane: DataPlane) -> object:
    return plane.flow._gear.cache._store


def metrics(plane: DataPlane) -> str:
    return plane.meters.render().decode()


async def turn(plane: DataPlane, max_running: int | None = 1) -> Place | None:
    return await upstreams_of(plane).get(endpoint(max_running)).turn()


async def test_two_data_planes_share_an_account(
    tmp_path: Path, redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "Link", partial(Link, deadline_s=PATIENT_S))
    async with started(tmp_path / "a", redis_url) as a, started(tmp_path / "b", redis_url) as b:
        place = await turn(a)
        assert place is not None
        second = asyncio.create_task(turn(b))
        await until(lambda: redis.ask("KEYS xr:lane:*") == "*2")
        assert not second.done()
        place.leave()
        other = await second
        assert other is not None
        other.leave()
        assert "xrouter_redis_up 1.0" in metrics(a)
    assert redis.ask("KEYS xr:lane:*") == "*0"  # what was begun is finished before it ends


async def test_an_account_without_a_limit_asks_redis_nothing(
    tmp_path: Path, redis: Redis, redis_url: str
) -> None:
    async with started(tmp_path, redis_url) as plane:
        assert await turn(plane, None) is None
        assert redis.ask("KEYS xr:lane:*") == "*0"
        assert isinstance(store_of(plane), RedisAnswers)


async def test_without_a_url_nothing_is_shared(tmp_path: Path) -> None:
    async with started(tmp_path, None) as plane:
        assert plane.shared is None
        assert not isinstance(upstreams_of(plane)._means.lanes, JointLanes)
        assert isinstance(store_of(plane), MemoryAnswers)
        assert "xrouter_redis_up" not in metrics(plane)


class Signal(ChangeSignal):
    def __init__(self) -> None:
        self.told = 0
        self.up = False
        self.changed: Callable[[], None] | None = None

    @property
    @override
    def live(self) -> bool:
        return self.up

    @override
    def tell(self) -> None:
        self.told += 1

    @override
    def listen(self, changed: Callable[[], None]) -> None:
        self.changed = changed


async def _nowhere(_snapshot: Snapshot) -> None:
    return


async def test_own_changes_are_told_and_those_of_others_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pokes = 0

    class Poked(Publisher):
        @override
        def poke(self) -> None:
            nonlocal pokes
            pokes += 1

    monkeypatch.setattr(module, "Publisher", Poked)
    signal, client, tokens = Signal(), Client(), TokenBook()
    nowhere = SecretStr("postgresql://nobody@127.0.0.1:9/nothing")
    settings = Settings(data_dir=tmp_path, database_url=nowhere)
    plane = ControlPlane(settings, VAULT, client, tokens, signal=signal)
    try:
        plane.publish_to(_nowhere, lambda _stale: None)
        plane._changed()
        assert (pokes, signal.told) == (1, 1)
        assert signal.changed is not None
        signal.changed()
        plane.listener._tell()
        assert (pokes, signal.told) == (3, 1)
        assert plane._every_s() == EVERY_S
        signal.up = True
        assert plane._every_s() == SIGNALLED_S
        plane.listener.live = True
        assert plane._every_s() == LISTENING_S
    finally:
        await plane.close()
        await tokens.close()
        await client.close()


@pytest.mark.parametrize("url", ["redis://h/0", "rediss://u:p@h:6380/1", "unix:///run/redis.sock"])
def test_urls_that_can_be_set(url: str) -> None:
    settings = Settings(redis_url=SecretStr(url))
    assert settings.redis == Secret(url)
    assert url not in f"{settings!r} {settings}"


@pytest.mark.parametrize("url", ["", "http://h", "localhost:6379", "hush://u:hush@h"])
def test_urls_that_cannot(url: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Settings(redis_url=SecretStr(url))
    assert [error["msg"] for error in caught.value.errors()] == [
        "Value error, must begin with redis://, rediss:// or unix://"
    ]


def test_nothing_is_shared_by_default() -> None:
    assert Settings().redis is None


def test_a_server_starts_without_its_redis_and_keeps_its_url_to_itself(
    servers: Servers, redis: Redis
) -> None:
    url = redis.url.replace("redis://", "redis://user:hush@")
    server = servers(XROUTER_REDIS_URL=url).start()
    assert server.chat("openai/gpt-4o-mini").status == 200
    eventually(lambda: "redis_not_heard" in server.err, "it says that Redis is away")
    eventually(
        lambda: b"xrouter_redis_up 0.0" in server.ask("GET", "/metrics").body, "and shows it"
    )
    assert server.stop() == 0
    assert "hush" not in server.out + server.err


async def scripts_called(url: str) -> int:
    link = Link(Secret(url), 5.0)
    stats = await link.call(lambda redis: redis.info("commandstats"))
    await link.close()
    count: int = stats.get("cmdstat_evalsha", {}).get("calls", 0)
    return count


def test_a_redis_that_freezes_is_no_error_to_anybody(
    servers: Servers, redis: Redis, redis_url: str
) -> None:
    server = servers(XROUTER_REDIS_URL=redis_url).start()
    assert server.chat("gigachat/GigaChat").status == 200
    eventually(lambda: redis.ask("KEYS xr:lane:*") == "*0", "its place is given back")
    assert asyncio.run(scripts_called(redis_url)) >= 2
    with frozen(redis):
        for _ in range(5):
            assert server.chat("gigachat/GigaChat").status == 200
    eventually(lambda: server.chat("gigachat/GigaChat").status == 200, "it goes on")
    assert server.stop() == 0
