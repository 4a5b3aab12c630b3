"""Fields of the Messages API that a request brings along when a service of another API answers it.

A request is translated for who was to answer it first; a fallback is given the same one. How much
it is to think becomes an effort, the rest has no meaning here: it is left out by name.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from xrouter.domain.chat import ChatRequest, Fields

MARK = "cache_control"
THINKING, CONFIG, EFFORT = "thinking", "output_config", "reasoning_effort"
EVIDENT = frozenset(
    {THINKING, CONFIG, "betas", "context_management", "mcp_servers", "inference_geo"}
)
"""What no other API has; but `thinking`, which is theirs alone in some of its shapes."""

ALL = EVIDENT | {
    MARK, "container", "diagnostics", "speed", "top_k", "user_profile_id", "billing_policy",
    "workspace_id",
}  # fmt: skip
"""Also what services of other APIs may know by the same name."""

_OWN_THINKING = ("adaptive", "between_tools")
_EFFORTS = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}
_LOW, _MEDIUM = 4096, 16_384


def at_home(request: ChatRequest, *, strict: bool = False) -> tuple[ChatRequest, list[str]]:
    """The request as a service of another API takes it, and the names of what got lost.

    strict: the service knows none of these fields; else what it may know by itself is left.
    """
    fields, names = request.fields, ALL if strict else EVIDENT
    if names.isdisjoint(fields):
        return request, []
    given = {name: msgspec.json.decode(fields[name]) for name in names if name in fields}
    if not strict and THINKING in given and not _is_own(given[THINKING]):
        del given[THINKING]
    if not given:
        return request, []
    rest: Fields = {name: raw for name, raw in fields.items() if name not in given}
    effort, lost = _effort(request, given)
    lost += [name for name in given if name not in (THINKING, CONFIG) and given[name] is not None]
    if effort is None:
        return replace(request, fields=rest), sorted(lost)
    rest[EFFORT] = Raw(msgspec.json.encode(effort))
    return replace(request, fields=rest, reasoning_effort=effort), sorted(lost)


def without_marks(request: ChatRequest) -> Fields:
    """Messages and tools without marks of the prompt cache, those of them that have any."""
    fields, bare = request.fields, {}
    for message in request.messages:
        content = message.content
        if isinstance(content, list) and any(MARK in part for part in content):
            bare["messages"] = _bare(fields["messages"])
            break
    if request.tools and any(MARK in tool for tool in request.tools):
        bare["tools"] = _bare(fields["tools"])
    return bare


def _bare(raw: Raw) -> Raw:
    objects: Any = msgspec.json.decode(raw)
    for one in objects:
        one.pop(MARK, None)
        content = one.get("content")
        for part in content if isinstance(content, list) else ():
            part.pop(MARK, None)
    return Raw(msgspec.json.encode(objects))


def _is_own(thinking: Any) -> bool:
    """Whether only the Messages API says it so."""
    if not isinstance(thinking, dict):
        return False
    return "budget_tokens" in thinking or thinking.get("type") in _OWN_THINKING


def _effort(request: ChatRequest, given: dict[str, Any]) -> tuple[str | None, list[str]]:
    """The effort that is asked for, None for none; the names of what it does not say."""
    thinking, config = (_object(given.get(name)) for name in (THINKING, CONFIG))
    asked = config.get("effort")
    lost = [f"{CONFIG}.{name[:40]}" for name in config if name not in ("effort", "format")]
    effort = _EFFORTS.get(asked) if isinstance(asked, str) else None
    if asked is not None and effort != asked:
        lost.append(f"{CONFIG}.effort")
    if thinking.get("type") == "disabled":
        effort = "none"
    elif effort is None:
        effort = _of_budget(thinking.get("budget_tokens"))
    if given.get(THINKING) is not None and (effort is None or request.reasoning_effort is not None):
        lost.append(THINKING)
    elif thinking.get("display"):
        lost.append(f"{THINKING}.display")
    return (None if request.reasoning_effort is not None else effort), lost


def _of_budget(budget: Any) -> str | None:
    if not isinstance(budget, int):
        return None
    return "low" if budget < _LOW else "medium" if budget < _MEDIUM else "high"


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
