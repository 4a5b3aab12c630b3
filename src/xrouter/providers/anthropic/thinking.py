"""How much a model is to think, and what it takes of temperature and its like beside that."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from xrouter.domain.chat import ChatRequest
from xrouter.domain.errors import InvalidRequest
from xrouter.providers.anthropic.manners import Manners

LEAST_BUDGET = 1024
_BUDGETS = {
    "minimal": 1024,
    "low": 2048,
    "medium": 8192,
    "high": 16_384,
    "xhigh": 24_576,
    "max": 24_576,
}
_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high"}
_STRONG = ("xhigh", "max")
_ROOM = 32_000
"""Tokens that every model that thinks can answer with."""
_LEAST_TOP_P = 0.95


class Room(Struct, frozen=True):
    """over: the turn goes on without thinking, a budget is not taken any more. longest: most
    tokens of an answer, None when unknown.
    """

    over: bool
    longest: int | None

    def with_budget(self, body: dict[str, Any], budget: int) -> int:
        """The limit of an answer with so much thinking before it."""
        return min(int(body["max_tokens"]) + budget, self.longest or _ROOM)


def own_thinking(request: ChatRequest) -> dict[str, Any] | None:
    """The caller's own `thinking`. Raises InvalidRequest when it is no object with a type."""
    raw = request.fields.get("thinking")
    if raw is None or bytes(raw) == b"null":
        return None
    given: Any = msgspec.json.decode(raw)
    if not isinstance(given, dict) or not isinstance(given.get("type"), str):
        raise InvalidRequest(
            "'thinking' must be an object with a 'type'.", code="invalid_value", param="thinking"
        )
    return given


def think(request: ChatRequest, body: dict[str, Any], manners: Manners, room: Room) -> set[str]:
    """Set `thinking` and the tokens for it; what was given up. Raises InvalidRequest."""
    effort = request.reasoning_effort
    own = own_thinking(request)
    if own is not None:
        body["thinking"] = own
        budget = own.get("budget_tokens")
        if isinstance(budget, int) and request.output_limit is None:
            body["max_tokens"] = max(body["max_tokens"], room.with_budget(body, budget))
        return {"reasoning_effort"} if effort is not None else set()
    if effort is None:
        return set()
    if effort == "none":
        body |= {"thinking": {"type": "disabled"}} if manners.quiet else {}
        return set() if manners.quiet else {"reasoning_effort"}
    if effort not in _BUDGETS:
        raise InvalidRequest(
            f"Invalid value for 'reasoning_effort': '{effort[:40]}'. "
            f"Use none, {', '.join(_BUDGETS)}.",
            code="invalid_value",
            param="reasoning_effort",
        )
    forced = (body.get("tool_choice") or {}).get("type") in ("any", "tool")
    if manners.adaptive:
        return _adapt(effort, body, manners, forced=forced)
    spent = not (forced or room.over) and _spend(request, effort, body, room)
    return set() if spent else {"reasoning_effort"}


def _adapt(effort: str, body: dict[str, Any], manners: Manners, *, forced: bool) -> set[str]:
    """An effort has its meaning also where a forced call excludes thinking."""
    level = _EFFORTS.get(effort, effort if manners.strong else "high")
    own = body.get("output_config", {})
    body["output_config"] = {"effort": level} | own
    if not forced:
        body["thinking"] = {"type": "adaptive", "display": "summarized"}
    weaker = effort in _STRONG and not manners.strong
    return {"reasoning_effort"} if weaker or own.get("effort", level) != level else set()


def _spend(request: ChatRequest, effort: str, body: dict[str, Any], room: Room) -> bool:
    """A budget inside the limit of the answer, at most half of one that the caller gave.

    False when there is no room for the least budget.
    """
    limit, wanted = body["max_tokens"], _BUDGETS[effort]
    if request.output_limit is None:
        limit = max(limit, room.with_budget(body, wanted))
    budget = min(wanted, limit - min(body["max_tokens"], limit // 2))
    if budget < LEAST_BUDGET:
        return False
    body["max_tokens"] = limit
    body["thinking"] = {"type": "enabled", "budget_tokens": budget}
    return True


def sample(request: ChatRequest, body: dict[str, Any], manners: Manners) -> set[str]:
    """Set temperature, top_p and top_k as far as they are taken; those that were changed.

    1 is what temperature and top_p are anyway: leaving it out changes nothing.
    """
    given = {"temperature": request.temperature, "top_p": request.top_p}
    told = {name: value for name, value in given.items() if value is not None}
    dropped: set[str] = set()
    if told.get("temperature", 0) > 1:
        dropped.add("temperature")
        told["temperature"] = 1.0
    thinks = (body.get("thinking") or {}).get("type") in ("enabled", "adaptive")
    if manners.sampling == "none":
        taken = {}
    elif thinks:
        least = {"temperature": 1.0, "top_p": _LEAST_TOP_P}
        taken = {name: value for name, value in told.items() if value >= least[name]}
    else:
        taken = dict(told)
    if manners.sampling == "one" and len(taken) > 1:
        del taken["temperature" if taken["temperature"] == 1 else "top_p"]
    body |= taken
    dropped |= {name for name, value in told.items() if name not in taken and value != 1}
    if (thinks or manners.sampling == "none") and body.pop("top_k", None) is not None:
        dropped.add("top_k")
    return dropped
