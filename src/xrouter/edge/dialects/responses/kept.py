"""Kept responses: written down, gone on with, referred to item by item."""

from __future__ import annotations

import re
import time
from typing import Any

import msgspec

from xrouter.domain.errors import InvalidRequest, NotFound
from xrouter.domain.history import ResponseStore, StoredResponse
from xrouter.edge.dialects.responses.body import Item
from xrouter.edge.mistakes import invalid_value
from xrouter.edge.voice import encode

PREFIX = "resp_"
UNFINISHED = ("queued", "in_progress")
MAX_REFERRED = 1000
"""Responses that the items of one request may refer to."""

_ITEM_ID = re.compile(r"[a-z]+_([0-9A-Z]{26})[0-9a-f]{3,9}")
_SHOWN = 80
_BOUNDED = "Responses are kept for a bounded time, unless asked for with 'store': false."


def item_id(prefix: str, response_id: str, place: int) -> str:
    """The id of an item: it tells of which response it is."""
    return f"{prefix}{response_id.removeprefix(PREFIX)}{place:03x}"


def stored(
    project: str,
    body: dict[str, Any],
    *,
    before: list[Item],
    own: list[Item],
    output: list[Item],
    dropped: tuple[str, ...],
) -> StoredResponse:
    """What is kept of a response. own: the items of the request; each gets an id."""
    name = body["id"]
    own = [_named(item, item_id("item_", name, place)) for place, item in enumerate(own)]
    return StoredResponse(
        id=name,
        project=project,
        created_at=time.time(),
        body=encode(body),
        input=encode(own),
        items=encode([*before, *own, *output]),
        dropped=dropped,
    )


def status_of(kept: StoredResponse) -> str:
    """Of the response as it is kept."""
    status: str = msgspec.json.decode(kept.body)["status"]
    return status


class Kept:
    """The responses that are kept for one project."""

    def __init__(self, store: ResponseStore, project: str) -> None:
        self._store = store
        self._project = project

    async def find(self, response_id: str) -> StoredResponse:
        """Raises NotFound."""
        kept = await self._store.find(response_id, self._project)
        if kept is None:
            raise unknown(response_id)
        return kept

    async def before(self, previous: str | None) -> list[Item]:
        """The conversation that a request goes on with. Raises InvalidRequest."""
        if previous is None:
            return []
        kept = await self._store.find(previous, self._project)
        if kept is None:
            raise InvalidRequest(
                f"Previous response with id '{previous[:_SHOWN]}' not found.",
                code="previous_response_not_found",
                param="previous_response_id",
                hint=_BOUNDED,
            )
        if status_of(kept) in UNFINISHED:
            raise invalid_value(
                f"The response '{previous[:_SHOWN]}' is not finished yet: wait for it, or cancel "
                "it, before you go on from it.",
                param="previous_response_id",
            )
        return msgspec.json.decode(kept.items, type=list[Item])

    async def resolved(self, items: list[Item], before: list[Item]) -> list[Item]:
        """The items, with what is only referred to in its place.

        before: the conversation that they go on with. Raises NotFound, InvalidRequest.
        """
        if not any(map(_is_reference, items)):
            return items
        known: dict[str, dict[str, Item]] = {}
        there = _by_id(before)
        whole: list[Item] = []
        for index, item in enumerate(items):
            if not _is_reference(item):
                whole.append(item)
                continue
            name, where = item.get("id"), f"input[{index}].id"
            if not isinstance(name, str):
                raise InvalidRequest(
                    f"Invalid type for '{where}': expected a string.",
                    code="invalid_type",
                    param=where,
                )
            if name in there:
                raise invalid_value(
                    f"Duplicate item found with id '{name[:_SHOWN]}': 'previous_response_id' "
                    "brings it already.",
                    param=where,
                )
            whole.append(await self._item(name, where, known))
        return whole

    async def _item(self, name: str, where: str, known: dict[str, dict[str, Item]]) -> Item:
        found = _ITEM_ID.fullmatch(name)
        if found is not None:
            of = PREFIX + found[1]
            if of not in known:
                if len(known) == MAX_REFERRED:
                    raise invalid_value(
                        f"The items refer to more than {MAX_REFERRED} responses.", param="input"
                    )
                known[of] = await self._items(of)
            if name in known[of]:
                return known[of][name]
        raise NotFound(
            f"Item with id '{name[:_SHOWN]}' not found.",
            param=where,
            hint="Items are kept with their response, unless that was asked for with "
            "'store': false. Send the item itself.",
        )

    async def _items(self, response_id: str) -> dict[str, Item]:
        """The items of a response by id; {} when it is not there."""
        kept = await self._store.find(response_id, self._project)
        if kept is None:
            return {}
        return _by_id(msgspec.json.decode(kept.items, type=list[Item]))


def unknown(response_id: str) -> NotFound:
    """404."""
    return NotFound(f"No response found with id '{response_id[:_SHOWN]}'.", hint=_BOUNDED)


def _named(item: Item, name: str) -> Item:
    given, kind = item.get("id"), item.get("type")
    return item | {"type": kind or "message", "id": given if isinstance(given, str) else name}


def _by_id(items: list[Item]) -> dict[str, Item]:
    return {item["id"]: item for item in items if isinstance(item.get("id"), str)}


def _is_reference(item: Item) -> bool:
    """Its type may be left out."""
    kind = item.get("type")
    return kind == "item_reference" or (kind is None and "role" not in item and "id" in item)
