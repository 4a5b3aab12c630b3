"""What a generation has used and cost, asked when it is over: also of one that was cancelled."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from xrouter.domain.answer import Usage
from xrouter.providers.shapes.openai_answer import read_object, usage_of
from xrouter.providers.shapes.openai_errors import ErrorReader
from xrouter.wire.types import Errand, WireRequest

MARK = "gen-"
"""All generations begin so; other ids name something else."""

_NOT_YET = 404
_FIRST_ERROR = 300


def told(base_url: str, generation: str, errors: ErrorReader) -> Errand[Usage | None]:
    """None while it is not written down: that takes a second or more after its end."""
    wire = WireRequest(
        "GET",
        f"{base_url}/generation?id={quote(generation, safe='')}",
        {"accept": "application/json"},
    )
    reply = yield wire
    if reply.status == _NOT_YET:
        return None
    if reply.status >= _FIRST_ERROR:
        raise errors.of_reply(reply)
    data = read_object(reply.body).get("data")
    return _usage(data) if isinstance(data, dict) else None


def _usage(data: dict[str, Any]) -> Usage | None:
    """By the party's own tokens, which are those that are paid for."""
    cost = _first(data, "total_cost", "usage")
    if cost is None:
        return None
    found = usage_of(
        {
            "prompt_tokens": _first(data, "native_tokens_prompt", "tokens_prompt"),
            "completion_tokens": _first(data, "native_tokens_completion", "tokens_completion"),
            "prompt_tokens_details": {"cached_tokens": data.get("native_tokens_cached")},
            "completion_tokens_details": {"reasoning_tokens": data.get("native_tokens_reasoning")},
            "cost": cost,
        }
    )
    return found or Usage(cost=str(cost))


def _first(data: dict[str, Any], *names: str) -> Any:
    return next((data[name] for name in names if data.get(name) is not None), None)
