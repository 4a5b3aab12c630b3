"""Operations of the simulated Yandex Cloud: answers that are ready a moment later."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from msgspec import Struct

from xrouter.sandbox.yandex.errors import NOT_FOUND, Refusal, plain

MOMENT = 0.2
"""Seconds until an operation is done."""
OPERATIONS_KEPT = 1000
_CANCELLED = 1


class _Operation(Struct):
    account: str
    about: str
    created: float
    outcome: dict[str, Any] | Refusal
    ended: float
    cancelled: bool = False


class Operations:
    """The last OPERATIONS_KEPT operations. clock: seconds since 1970."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._all: dict[str, _Operation] = {}

    def start(self, account: str, about: str, outcome: dict[str, Any] | Refusal) -> dict[str, Any]:
        """Begin one that will answer this, or fail so; shows it as it is now."""
        operation_id = f"d7q{uuid4().hex[:17]}"
        now = self._clock()
        self._all[operation_id] = _Operation(account, about, now, outcome, now + MOMENT)
        if len(self._all) > OPERATIONS_KEPT:
            del self._all[next(iter(self._all))]
        return self.show(operation_id)

    def show(self, operation_id: str) -> dict[str, Any]:
        """The operation as JSON data. Raises Refusal when there is none of this id."""
        operation = self._found(operation_id)
        done = operation.cancelled or self._clock() >= operation.ended
        shown: dict[str, Any] = {
            "id": operation_id,
            "description": operation.about,
            "createdAt": _time(operation.created),
            "createdBy": operation.account,
            "modifiedAt": _time(operation.ended if done else operation.created),
            "done": done,
            "metadata": None,
        }
        if operation.cancelled:
            shown["error"] = plain(Refusal(_CANCELLED))
        elif done and isinstance(operation.outcome, Refusal):
            shown["error"] = plain(operation.outcome)
        elif done:
            shown["response"] = operation.outcome
        return shown

    def cancel(self, operation_id: str) -> dict[str, Any]:
        """End one that is not done yet."""
        operation = self._found(operation_id)
        if self._clock() < operation.ended:
            operation.cancelled = True
            operation.ended = self._clock()
        return self.show(operation_id)

    def _found(self, operation_id: str) -> _Operation:
        operation = self._all.get(operation_id)
        if operation is None:
            raise Refusal(NOT_FOUND, f"Operation {operation_id} not found")
        return operation


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
