"""The sandbox's own API: what is here, the bill, the faults, what was seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from xrouter.sandbox.bill import Bill
from xrouter.sandbox.faults import KINDS, FaultBook, FaultError, described
from xrouter.sandbox.kit import SandboxRequest, SandboxResponse, Simulator, json_response
from xrouter.sandbox.seen import SeenLog

ROUTES = {
    "GET /": "this",
    "GET /_sandbox/bill": "what was charged: lines, and totals by provider and model;"
    " with ?provider=<name>: that one's statement by call, as CSV",
    "DELETE /_sandbox/bill": "begin a new bill",
    "GET /_sandbox/faults": "the faults in waiting",
    "POST /_sandbox/faults": "add one: {provider, kind, times, after, delay_s, status,"
    " retry_after, match: {path, model}}; answers its id",
    "DELETE /_sandbox/faults": "remove all of them; with /{id}: one",
    "GET /_sandbox/seen": "the last requests, and what became of them",
    "DELETE /_sandbox/seen": "forget them",
    "GET /_sandbox/open": "how many requests are being served now",
}
_FAULTS = "/_sandbox/faults"


class Control:
    """Answers every path that is no simulator's."""

    def __init__(
        self, simulators: Mapping[str, Simulator], bill: Bill, faults: FaultBook, seen: SeenLog
    ) -> None:
        self._simulators = simulators
        self._bill = bill
        self._faults = faults
        self._seen = seen
        self._routes: dict[str, dict[str, Callable[[SandboxRequest], SandboxResponse]]] = {
            "/": {"GET": self._index},
            "/_sandbox/bill": {"GET": self._show_bill, "DELETE": self._clear_bill},
            "/_sandbox/seen": {"GET": self._show_seen, "DELETE": self._clear_seen},
            "/_sandbox/open": {"GET": self._show_open},
            _FAULTS: {
                "GET": self._show_faults,
                "POST": self._add_fault,
                "DELETE": self._clear_faults,
            },
        }

    def handle(self, request: SandboxRequest) -> SandboxResponse:
        """One request; 404 and 405 are answered with what there is."""
        path = request.path if request.path == "/" else request.path.rstrip("/")
        if path.startswith(f"{_FAULTS}/") and request.method == "DELETE":
            return self._remove_fault(path.removeprefix(f"{_FAULTS}/"))
        methods = self._routes.get(path)
        if methods is None:
            known = ", ".join(f"/{name}/" for name in self._simulators)
            return _refused(404, f"There is no {request.path} here; simulators are {known}.")
        method = "GET" if request.method == "HEAD" else request.method
        if method not in methods:
            return _refused(405, f"{path} knows {', '.join(methods)}, not {request.method}.")
        return methods[method](request)

    def _index(self, request: SandboxRequest) -> SandboxResponse:
        simulators = [
            {
                "name": name,
                "url": f"{request.origin}/{name}",
                "about": (simulator.__doc__ or "").partition("\n")[0],
            }
            for name, simulator in self._simulators.items()
        ]
        index = {
            "name": "XRouter sandbox",
            "simulators": simulators,
            "control": ROUTES,
            "faults": KINDS,
        }
        return json_response(index)

    def _show_bill(self, request: SandboxRequest) -> SandboxResponse:
        provider = request.query.get("provider")
        if provider is None:
            return json_response(self._bill.report())
        text = self._bill.statement(provider)
        return SandboxResponse(headers={"content-type": "text/csv"}, body=text.encode())

    def _clear_bill(self, _: SandboxRequest) -> SandboxResponse:
        self._bill.clear()
        return _done()

    def _show_seen(self, _: SandboxRequest) -> SandboxResponse:
        return json_response({"requests": self._seen.report()})

    def _clear_seen(self, _: SandboxRequest) -> SandboxResponse:
        self._seen.clear()
        return _done()

    def _show_open(self, _: SandboxRequest) -> SandboxResponse:
        return json_response({"open": self._seen.open})

    def _show_faults(self, _: SandboxRequest) -> SandboxResponse:
        return json_response({"faults": self._faults.report()})

    def _add_fault(self, request: SandboxRequest) -> SandboxResponse:
        try:
            fault_id, fault = self._faults.add(request.body)
        except FaultError as error:
            return _refused(400, error.message, error.param)
        return json_response(described(fault_id, fault), 201)

    def _clear_faults(self, _: SandboxRequest) -> SandboxResponse:
        self._faults.clear()
        return _done()

    def _remove_fault(self, fault_id: str) -> SandboxResponse:
        if not self._faults.remove(fault_id):
            return _refused(404, f"There is no fault `{fault_id}`; it may be used up.")
        return _done()


def _done() -> SandboxResponse:
    return json_response({"done": True})


def _refused(status: int, message: str, param: str | None = None) -> SandboxResponse:
    error: dict[str, Any] = {"message": message, "param": param, "hint": "GET / lists what is here"}
    return json_response({"error": error}, status)
