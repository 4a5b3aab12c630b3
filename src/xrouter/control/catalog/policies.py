"""Whether a policy makes sense: its names and its strategy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.catalog import names
from xrouter.domain.errors import InvalidRequest

Strategies = Mapping[str, Callable[[Mapping[str, Any]], None]]
"""The check of options by the strategy's name; {} where they are not known."""


async def check(
    session: AsyncSession, policy: Mapping[str, Any], strategies: Strategies, place: str = "policy"
) -> None:
    """Look a policy's names up. place: where the caller wrote it. Raises InvalidRequest."""
    _strategy(policy, strategies, place)
    wanted = names.chained(policy)
    known = await names.known(session, wanted) if wanted else None
    for chain in names.CHAINS:
        for number, name in enumerate(policy.get(chain) or ()):
            if known is None or not known.has(name):
                raise InvalidRequest(
                    f"Invalid value for '{place}.{chain}[{number}]': there is no '{name}'.",
                    param=f"{place}.{chain}[{number}]",
                    code="invalid_value",
                    hint="It must be a model, with or without ':channel' or ':label', or a route.",
                )


def _strategy(policy: Mapping[str, Any], strategies: Strategies, place: str) -> None:
    name = policy.get("strategy")
    if name is None or not strategies:
        return
    look = strategies.get(name)
    if look is None:
        raise InvalidRequest(
            f"Invalid value for '{place}.strategy': there is no '{name}'.",
            param=f"{place}.strategy",
            code="invalid_value",
            hint=f"There are {', '.join(sorted(strategies))}.",
        )
    try:
        look(policy.get("options") or {})
    except InvalidRequest as error:
        inner = (error.param or "policy.options").removeprefix("policy.")
        raise InvalidRequest(
            error.message, param=f"{place}.{inner}", code="invalid_value", hint=error.hint
        ) from None
