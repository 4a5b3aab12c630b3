"""Operations: work that the provider does later, asked for until it is done."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from xrouter.domain.errors import (
    InvalidRequest,
    NotFound,
    UpstreamError,
    UpstreamMalformed,
    UpstreamTimeout,
)
from xrouter.providers.yandexgpt.door import Door
from xrouter.providers.yandexgpt.payload import as_dict, as_text, read_object
from xrouter.wire.types import Errand, WireReply, WireRequest

_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")
_PATIENCE = 5
"""How many failures in a row of the asking itself are overlooked."""


def growing(first: float, factor: float, most: float, count: int) -> Iterator[float]:
    """Pauses in seconds, `count` of them, each longer than the one before, up to `most`."""
    pause = first
    for _ in range(count):
        yield pause
        pause = min(pause * factor, most)


def begun(door: Door, wire: WireRequest) -> Errand[str]:
    """Start an operation; its id. Raises the provider's refusal."""
    reply = yield wire
    if reply.status >= 300:  # noqa: PLR2004 - HTTP
        raise door.refusal(reply)
    body = read_object(reply.body)
    if body.get("error"):
        raise door.errors.from_object(body)
    operation_id = as_text(body.get("id"))
    if operation_id is None or not _ID.fullmatch(operation_id):
        raise UpstreamMalformed("The provider began an operation without an id.")
    return operation_id


def ended(door: Door, operation_id: str, pauses: Iterable[float]) -> Errand[dict[str, Any]]:
    """Ask until it is done; its response. Raises what it failed with.

    An error counts though the operation is not `done` yet: that is documented.
    """
    if not _ID.fullmatch(operation_id):
        raise InvalidRequest("This is no reference to a deferred answer.", code="invalid_value")
    failures = 0
    for pause in pauses:
        try:
            body = _state(door, (yield door.operation(operation_id, pause)))
        except UpstreamError:
            failures += 1
            if failures > _PATIENCE:
                raise
            continue
        failures = 0
        if body.get("error"):
            raise door.errors.from_object(body)
        if body.get("done") is True:
            response = as_dict(body.get("response"))
            if not response:
                raise UpstreamMalformed("The provider's operation ended without a response.")
            return response
    raise UpstreamTimeout("The provider did not end its operation in time.")


def _state(door: Door, reply: WireReply) -> dict[str, Any]:
    if reply.status == 404:  # noqa: PLR2004 - HTTP
        raise NotFound(
            "The provider does not have this operation.",
            hint="Results are kept for three days.",
        )
    if reply.status >= 300:  # noqa: PLR2004 - HTTP
        raise door.refusal(reply)
    return read_object(reply.body)
