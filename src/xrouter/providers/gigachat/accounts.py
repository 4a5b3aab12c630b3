"""The account behind an endpoint: what it may do at a time, what it has left."""

from __future__ import annotations

import hashlib
import re
from http import HTTPStatus
from typing import Any

import msgspec
from msgspec import Struct

from xrouter.domain.catalog import Endpoint
from xrouter.domain.errors import InvalidRequest
from xrouter.providers.base import Lane
from xrouter.providers.gigachat.auth import DEFAULT_SCOPE
from xrouter.providers.gigachat.errors import error_of, malformed
from xrouter.wire.types import Errand, WireRequest

_OF_A_PERSON = 1
_OF_A_COMPANY = 10
_MAX_CONCURRENCY = 1000
_MAX_ENTRIES = 1000
_NUMBER = re.compile(r"[0-9]{1,4}")


class Balance(Struct, frozen=True):
    """What is left of a package. usage: what it is for (a model's name); tokens: how many."""

    usage: str
    tokens: int


def lane_of(endpoint: Endpoint) -> Lane | None:
    """How many calls the account takes at a time; None where neither option nor scope tells."""
    chosen = concurrency_of(endpoint)
    scope = endpoint.options.get("scope")
    if scope is None and endpoint.credential.get("credentials"):
        scope = DEFAULT_SCOPE
    if chosen is not None:
        width = chosen
    elif scope is not None:
        width = _OF_A_PERSON if scope == DEFAULT_SCOPE else _OF_A_COMPANY
    else:
        return None
    return Lane(_identity(endpoint), width)


def concurrency_of(endpoint: Endpoint) -> int | None:
    """The option `concurrency`, None when it is not set. Raises InvalidRequest."""
    given = endpoint.options.get("concurrency")
    if given is None:
        return None
    width = int(given) if _NUMBER.fullmatch(given) else 0
    if not 1 <= width <= _MAX_CONCURRENCY:
        raise InvalidRequest(
            f"'concurrency' must be a number from 1 to {_MAX_CONCURRENCY}.",
            code="invalid_value",
            param="options.concurrency",
        )
    return width


def balance(base_url: str) -> Errand[tuple[Balance, ...] | None]:
    """What is left of the prepaid packages; None for an account that pays afterwards."""
    reply = yield WireRequest("GET", f"{base_url}/balance", {"accept": "application/json"})
    if reply.status == HTTPStatus.FORBIDDEN:
        return None
    if reply.status >= HTTPStatus.MULTIPLE_CHOICES:
        raise error_of(reply)
    try:
        data: Any = msgspec.json.decode(reply.body)
    except (ValueError, RecursionError):
        raise malformed("the balance is not JSON") from None
    entries = data.get("balance") if isinstance(data, dict) else None
    if not isinstance(entries, list):
        raise malformed("there is no balance in it")
    return tuple(
        Balance(entry["usage"], int(entry["value"]))
        for entry in entries[:_MAX_ENTRIES]
        if isinstance(entry, dict)
        and isinstance(entry.get("usage"), str)
        and isinstance(entry.get("value"), int | float)
    )


def _identity(endpoint: Endpoint) -> str:
    """Names the account by a hash of what it proves itself with, which cannot be read from it."""
    given = endpoint.credential
    for name in ("access_token", "credentials", "user"):
        if given.get(name):
            proof = f"{name}\0{given[name].reveal()}"
            break
    else:
        proof = f"certificate\0{endpoint.client_cert}\0{endpoint.base_url}"
    return "gigachat-" + hashlib.sha256(proof.encode()).hexdigest()[:24]
