"""The models of the simulated Anthropic: what they take, and their list."""

from __future__ import annotations

from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from xrouter.sandbox.kit import SandboxRequest

PAGE, PAGE_MAX = 20, 1000


class Claude(Struct, frozen=True):
    """context, longest: tokens. thinking: the kinds that it takes beside `disabled`. modern: takes
    no temperature and goes on with no begun answer; others take one of temperature and top_p.
    """

    context: int = 200_000
    longest: int = 64_000
    thinking: tuple[str, ...] = ("adaptive",)
    modern: bool = True
    lifecycle: str = "active"


_OLDER = Claude(thinking=("enabled",), modern=False)
MODELS = {
    "claude-opus-5-5": Claude(longest=128_000),
    "claude-sonnet-5-5": Claude(thinking=("adaptive", "enabled")),
    "claude-haiku-5-5": Claude(),
    "claude-haiku-4-5": _OLDER,
    "claude-opus-4-5": replace(_OLDER, lifecycle="deprecated"),
    "claude-small": replace(_OLDER, context=2_000),
}
"""By id, the newest first."""


class Mistake(ValueError):
    """A parameter of the list is wrong."""


def described(name: str) -> dict[str, Any]:
    """A model as the API tells it."""
    model = MODELS[name]
    able = {"supported": True}
    return {
        "type": "model",
        "id": name,
        "display_name": name.replace("-", " ").title(),
        "created_at": "2025-09-29T00:00:00Z",
        "lifecycle": model.lifecycle,
        "max_input_tokens": model.context,
        "max_tokens": model.longest,
        "capabilities": {
            "image_input": able,
            "pdf_input": able,
            "structured_outputs": able,
            "thinking": {
                "supported": True,
                "types": {
                    "adaptive": {"supported": "adaptive" in model.thinking},
                    "enabled": {"supported": "enabled" in model.thinking},
                    "disabled": able,
                },
            },
        },
    }


def listed(request: SandboxRequest) -> dict[str, Any]:
    """A page of the list. Raises Mistake."""
    query = request.query
    raw = query.get("limit", str(PAGE))
    if not raw.isdecimal() or not 1 <= int(raw) <= PAGE_MAX:
        raise Mistake(f"limit: Input should be between 1 and {PAGE_MAX}")
    names, limit = list(MODELS), int(raw)
    for cursor in ("after_id", "before_id"):
        if cursor in query and query[cursor] not in MODELS:
            raise Mistake(f"{cursor}: unknown id")
    if "before_id" in query:
        names = names[: names.index(query["before_id"])]
        page, more = names[-limit:], len(names) > limit
    else:
        if "after_id" in query:
            names = names[names.index(query["after_id"]) + 1 :]
        page, more = names[:limit], len(names) > limit
    return {
        "data": [described(name) for name in page],
        "has_more": more,
        "first_id": page[0] if page else None,
        "last_id": page[-1] if page else None,
    }
