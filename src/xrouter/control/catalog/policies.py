"""Whether a policy makes sense: its names and its strategy."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.catalog import names
from xrouter.domain.errors import InvalidRequest

Strategies = Mapping[str, Callable[[Mapping[str, Any]], None]]
"""The check of options by the strategy's name; {} where they are not known."""


class Holder(Struct, frozen=True):
    """Whose policy it is. model: its id, None for a route's and a provider's.

    kinds: of what is to be answered, none where that is open.
    """

    model: str | None = None
    kinds: frozenset[str] = frozenset()


ANYBODY = Holder()
_NAME = "It must be a model, with or without ':channel' or ':label', or a route."


async def check(
    session: AsyncSession,
    policy: Mapping[str, Any],
    strategies: Strategies,
    place: str = "policy",
    *,
    holder: Holder = ANYBODY,
) -> None:
    """Look a policy's names up. place: where the caller wrote it. Raises InvalidRequest."""
    _strategy(policy, strategies, place)
    if policy.get("versions"):
        await _check_channels(session, policy["versions"], place, holder)
    wanted = names.chained(policy)
    if not wanted:
        return
    known = await names.known(session, wanted)
    for where, name in names.places(policy, place):
        kind = known.kind(name)
        if not known.has(name):
            raise _wrong(where, f"there is no '{name}'", _NAME)
        if name == holder.model:
            raise _wrong(where, f"'{name}' is the model itself")
        if kind is not None and holder.kinds and kind not in holder.kinds:
            asked = " or ".join(sorted(holder.kinds))
            raise _wrong(where, f"'{name}' is for {kind}, not for {asked}")


async def _check_channels(
    session: AsyncSession, said: Sequence[str], place: str, holder: Holder
) -> None:
    channels = await names.channels(session, holder.model)
    for number, channel in enumerate(said):
        if channel not in channels:
            hint = f"There are {', '.join(sorted(channels))}."
            raise _wrong(f"{place}.versions[{number}]", f"there is no channel '{channel}'", hint)


async def check_successors(
    session: AsyncSession, successors: Sequence[str | None], before: Collection[str | None] = ()
) -> None:
    """Look up what versions name, in their order. before: names that need not mean anything."""
    new = {name for name in successors if name is not None and name not in before}
    known = await names.known(session, new) if new else None
    for number, name in enumerate(successors):
        if known is not None and name in new and not known.has(name):
            raise _wrong(f"versions[{number}].successor", f"there is no '{name}'", _NAME)


def _wrong(place: str, what: str, hint: str | None = None) -> InvalidRequest:
    return InvalidRequest(
        f"Invalid value for '{place}': {what}.", param=place, code="invalid_value", hint=hint
    )


def _strategy(policy: Mapping[str, Any], strategies: Strategies, place: str) -> None:
    name = policy.get("strategy")
    if name is None or not strategies:
        return
    look = strategies.get(name)
    if look is None:
        hint = f"There are {', '.join(sorted(strategies))}."
        raise _wrong(f"{place}.strategy", f"there is no '{name}'", hint)
    try:
        look(policy.get("options") or {})
    except InvalidRequest as error:
        inner = (error.param or "policy.options").removeprefix("policy.")
        raise InvalidRequest(
            error.message, param=f"{place}.{inner}", code="invalid_value", hint=error.hint
        ) from None
