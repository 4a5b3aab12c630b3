"""One question to one endpoint: is it there, or does it answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Literal

import msgspec
from msgspec import Raw, Struct

from xrouter.control.health.machine import UNKNOWN, Check
from xrouter.control.health.roster import Seat
from xrouter.domain.chat import ChatRequest
from xrouter.domain.errors import InternalError, UpstreamRateLimited, UpstreamTimeout, XRouterError
from xrouter.domain.plan import Target
from xrouter.providers.base import BaseAPIAdapter
from xrouter.providers.caller import Caller
from xrouter.telemetry.logs import log
from xrouter.wire.client import Client
from xrouter.wire.tokens import TokenBook
from xrouter.wire.types import Errand, WireReply, WireRequest

TIMEOUT_S = 10.0
_FIRST_ERROR = 300
_WAYS = 3

Kind = Literal["list", "token"]


class Checked(Struct, frozen=True):
    """What a check told. model: that was asked for an answer."""

    seat: Seat
    kind: Kind
    check: Check
    model: str | None = None


class Checker:
    """Sends; never raises for what an endpoint does. timer: seconds, of any beginning."""

    def __init__(
        self,
        client: Client,
        tokens: TokenBook,
        timeout_s: float = TIMEOUT_S,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._client = client
        self._tokens = tokens
        self._timeout_s = timeout_s
        self._timer = timer

    async def ask(self, seat: Seat, kind: Kind, limit_s: float | None = None) -> Checked:
        """One check. limit_s: where it may take less long than others."""
        began, code = self._timer(), None
        try:
            async with asyncio.timeout(min(self._timeout_s, limit_s or self._timeout_s)):
                if kind == "list":
                    await self._list(seat.adapter)
                elif seat.target is not None:
                    await self._token(seat.adapter, seat.target)
        except TimeoutError:
            code = UpstreamTimeout.default_code
        except XRouterError as error:
            code = None if _is_there(error) else error.code or type(error).__name__
        except Exception:  # noqa: BLE001 - an adapter's defect must not end the checks of the others
            log.exception("check_defect", provider=seat.provider, endpoint=seat.name)
            code = InternalError.default_code or UNKNOWN
        took_ms = round((self._timer() - began) * 1000, 3)
        check = Check(took_ms, code, token=kind == "token")
        asked = seat.target.model.model_id if kind == "token" and seat.target else None
        return Checked(seat, kind, check, asked)

    async def _list(self, adapter: BaseAPIAdapter) -> None:
        reply = await self._fetch(self._caller(adapter), adapter.probe())
        if reply.status >= _FIRST_ERROR:
            raise adapter.decode_error(reply)

    async def _token(self, adapter: BaseAPIAdapter, target: Target) -> None:
        """The shortest answer there is."""
        caller = self._caller(adapter)
        exchange = adapter.encode_chat(shortest(target.model.model_id), target)
        error: XRouterError = InternalError("There was no way to ask.")
        for _ in range(_WAYS):
            before = exchange.before()
            if before is not None:
                await self._run(caller, before)
            reply = await self._fetch(caller, exchange.wire)
            if reply.status < _FIRST_ERROR:
                exchange.answer(reply)
                return
            error = adapter.decode_error(reply)
            other = exchange.instead(error)
            if other is None:
                break
            exchange = other
        raise error

    async def _run(self, caller: Caller, errand: Errand[None]) -> None:
        try:
            wire = next(errand)
            while True:
                wire = errand.send(await self._fetch(caller, wire))
        except StopIteration:
            return
        finally:
            errand.close()

    async def _fetch(self, caller: Caller, wire: WireRequest) -> WireReply:
        exchange = await caller.open(wire)
        try:
            return WireReply(exchange.status, exchange.headers, await exchange.read())
        finally:
            exchange.close()

    def _caller(self, adapter: BaseAPIAdapter) -> Caller:
        return Caller(adapter, self._client, self._tokens)


def shortest(model_id: str) -> ChatRequest:
    """A request for one token."""
    body = msgspec.json.encode(
        {"model": model_id, "messages": [{"role": "user", "content": "1"}], "max_tokens": 1}
    )
    request = msgspec.json.decode(body, type=ChatRequest)
    request.fields = msgspec.json.decode(body, type=dict[str, Raw])
    return request


def _is_there(error: XRouterError) -> bool:
    """An endpoint that is busy, or finds fault with the question itself, is there."""
    return error.blame == "caller" or isinstance(error, UpstreamRateLimited)
