"""The sandbox as an ASGI application: finds the simulator, applies a fault, delivers the answer."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Awaitable, Callable, MutableMapping
from importlib import import_module
from typing import Any
from urllib.parse import parse_qsl

from xrouter.sandbox.bill import Bill
from xrouter.sandbox.control import Control
from xrouter.sandbox.delivery import Connection, Delivery, Send
from xrouter.sandbox.faults import Fault, FaultBook, altered, instead, replaces, told
from xrouter.sandbox.kit import SandboxRequest, SandboxResponse, Simulator, json_response
from xrouter.sandbox.seen import SeenLog

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

CONNECTION = "xrouter.sandbox.connection"
"""Key of the Connection in `scope["extensions"]`."""

BODY_MAX = 64 << 20
_PACKAGE = "xrouter.sandbox"


def find_simulators() -> dict[str, type[Simulator]]:
    """All simulators in this package by name, in alphabetical order."""
    found: dict[str, type[Simulator]] = {}
    for info in pkgutil.walk_packages(import_module(_PACKAGE).__path__, f"{_PACKAGE}."):
        module = import_module(info.name)
        for _, kind in inspect.getmembers(module, inspect.isclass):
            if issubclass(kind, Simulator) and hasattr(kind, "name"):
                found[kind.name] = kind
    return dict(sorted(found.items()))


class Sandbox:
    """The application. One set of simulators, one bill, one book of faults, one log.

    Needs a server that puts a Connection into the scope: see `server`.
    """

    def __init__(self) -> None:
        self.bill = Bill()
        self.seen = SeenLog()
        self.simulators = {name: kind(self.bill) for name, kind in find_simulators().items()}
        self.faults = FaultBook(list(self.simulators))
        self._control = Control(self.simulators, self.bill, self.faults, self.seen)

    def environment(self, origin: str) -> dict[str, str]:
        """The variables that point a client at all simulators here."""
        return {
            name: value.replace("{origin}", origin)
            for simulator in self.simulators.values()
            for name, value in simulator.environment.items()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            raise ValueError(f"the sandbox speaks only HTTP, not {scope['type']}")
        connection: Connection = scope["extensions"][CONNECTION]
        body = await _read(receive)
        if body is None:
            return
        name, _, rest = scope["path"][1:].partition("/")
        request = _request(scope, f"/{rest}", body)
        simulator = self.simulators.get(name)
        if len(body) > BODY_MAX:
            await _plain(connection, send, _too_large())
        elif simulator is None:
            request.path = scope["path"]
            await _plain(connection, send, self._control.handle(request))
        else:
            await self._simulate(simulator, request, connection, send)

    async def _simulate(
        self, simulator: Simulator, request: SandboxRequest, connection: Connection, send: Send
    ) -> None:
        fault = self.faults.take(simulator.name, request)
        sighting = self.seen.begin(simulator.name, request)
        sighting.fault = None if fault is None else fault.kind
        try:
            delivery = Delivery(connection, send, sighting)
            await _answer(self.bill, simulator, request, fault, delivery)
        finally:
            self.seen.end()


async def _answer(
    bill: Bill,
    simulator: Simulator,
    request: SandboxRequest,
    fault: Fault | None,
    delivery: Delivery,
) -> None:
    connection = delivery.connection
    if fault is not None and fault.kind == "refuse":
        return await connection.close()
    if fault is not None and fault.kind == "reset" and fault.after is None:
        return await connection.reset()
    if fault is not None and fault.kind == "hang_before_headers":
        if await connection.pause(fault.delay_s):
            return delivery.left()
        fault = None
    headers: dict[str, str] = {}
    if fault is not None and replaces(fault, request):
        response = instead(fault, simulator, request)
    else:
        with bill.of(headers, simulator.call_headers):
            response = await simulator.handle(request)
            headers |= response.headers
        response = response if fault is None else altered(fault, simulator, response)
    try:
        return await delivery.deliver(response, fault)
    finally:
        delivery.note_frames()
        if response.on_close is not None:
            with bill.of(headers, simulator.call_headers):
                response.on_close(told(fault, delivery.sent))


async def _plain(connection: Connection, send: Send, response: SandboxResponse) -> None:
    await Delivery(connection, send, None).deliver(response, None)


async def _read(receive: Receive) -> bytes | None:
    """The body, at most a little more than BODY_MAX; None when the client has gone."""
    body = b""
    while len(body) <= BODY_MAX:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body = body + message["body"] if body else message["body"]
        if not message.get("more_body"):
            break
    return body


def _request(scope: Scope, path: str, body: bytes) -> SandboxRequest:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    host = headers.get("host") or "{}:{}".format(*scope["server"])
    query: bytes = scope["query_string"]
    return SandboxRequest(
        method=scope["method"],
        path=path,
        query=dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True)) if query else {},
        headers=headers,
        body=body,
        origin=f"{scope['scheme']}://{host}",
    )


def _too_large() -> SandboxResponse:
    message = f"The body is larger than {BODY_MAX} bytes."
    return json_response({"error": {"message": message}}, 413, {"connection": "close"})
