"""A kept response and its input, as `GET` shows them: what the query asks for, or a refusal."""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import parse_qs

import msgspec
from msgspec import Struct

from xrouter.domain.errors import InvalidRequest
from xrouter.domain.history import StoredResponse
from xrouter.edge.dialects.responses.body import Item
from xrouter.edge.dialects.responses.request import INCLUDED
from xrouter.edge.dialects.responses.schema import InputItems
from xrouter.edge.mistakes import invalid_value
from xrouter.edge.voice import encode

_PAGE, _PAGE_MAX = 20, 100
_ORDERS = ("asc", "desc")
_SEALED = "reasoning.encrypted_content"
_INCLUDE = ("include", "include[]")


class Query(Struct):
    """What a query asks for. dropped: what of it nobody reads."""

    include: frozenset[str] = frozenset()
    limit: int = _PAGE
    order: Literal["asc", "desc"] = "desc"
    after: str | None = None
    dropped: tuple[str, ...] = ()


def read_query(raw: bytes, *, pages: bool) -> Query:
    """pages: it is about the input items. Raises InvalidRequest that names the parameter."""
    given = parse_qs(raw.decode("latin-1"), keep_blank_values=True)
    query = Query()
    include = [each for name in _INCLUDE for each in given.pop(name, ())]
    query.include = frozenset(include)
    dropped = [f"include.{what}" for what in include if what not in INCLUDED]
    if pages:
        _read_page(given, query)
    else:
        _check_whole(given)
    query.dropped = (*dropped, *given)
    return query


def body_of(kept: StoredResponse, query: Query) -> bytes:
    """The response object."""
    if _SEALED not in query.include:
        return kept.body
    body = msgspec.json.decode(kept.body, type=dict[str, Any])
    seals = {
        item["id"]: item["encrypted_content"]
        for item in msgspec.json.decode(kept.items, type=list[Item])
        if item.get("type") == "reasoning"
        and "encrypted_content" in item
        and isinstance(item.get("id"), str)
    }
    for item in body["output"]:
        if item["id"] in seals:
            item["encrypted_content"] = seals[item["id"]]
    return encode(body)


def page_of(kept: StoredResponse, query: Query) -> InputItems:
    """A page of the items that it was asked with."""
    items = msgspec.json.decode(kept.input, type=list[Item])
    for index, item in enumerate(items):  # of responses that were kept by an older version
        item.setdefault("id", f"item_{kept.id}_{index}")
    if query.order == "desc":
        items.reverse()
    ids = [item["id"] for item in items]
    start = 0
    if query.after is not None:
        if query.after not in ids:
            raise invalid_value("Invalid 'after': there is no such item.", param="after")
        start = ids.index(query.after) + 1
    end = start + query.limit
    page = [_in_parts(item) for item in items[start:end]]
    return InputItems(
        data=page,
        first_id=page[0]["id"] if page else None,
        last_id=page[-1]["id"] if page else None,
        has_more=end < len(items),
    )


def _in_parts(item: Item) -> Item:
    """A message has its content in parts, as clients read it."""
    text = item.get("content")
    if item.get("type") != "message" or not isinstance(text, str):
        return item
    part: dict[str, Any] = {"type": "input_text", "text": text}
    if item.get("role") == "assistant":
        part = {"type": "output_text", "text": text, "annotations": []}
    return item | {"content": [part]}


def _read_page(given: dict[str, list[str]], query: Query) -> None:
    raw = given.pop("limit", [str(_PAGE)])[-1]
    query.limit = int(raw) if raw.isdecimal() and len(raw) <= len(str(_PAGE_MAX)) else 0
    if not 1 <= query.limit <= _PAGE_MAX:
        raise invalid_value(
            f"Invalid 'limit': expected an integer from 1 to {_PAGE_MAX}.", param="limit"
        )
    order = given.pop("order", ["desc"])[-1]
    if order not in _ORDERS:
        raise invalid_value("Invalid 'order': expected 'asc' or 'desc'.", param="order")
    query.order = "asc" if order == "asc" else "desc"
    query.after = given.pop("after", [None])[-1]


def _check_whole(given: dict[str, list[str]]) -> None:
    """A response is given back as one object."""
    if given.pop("stream", ["false"])[-1].lower() not in ("false", "0", ""):
        raise InvalidRequest(
            "'stream' is not supported here: a kept response is given back as a whole.",
            code="unsupported_parameter",
            param="stream",
        )
    if "starting_after" in given:
        raise InvalidRequest(
            "'starting_after' is for streams; a kept response is given back as a whole.",
            code="unsupported_parameter",
            param="starting_after",
        )
