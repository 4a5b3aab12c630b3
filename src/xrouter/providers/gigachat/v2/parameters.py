"""The request parameters of the second contract: where each belongs, what is given up."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from xrouter.domain.chat import ChatRequest
from xrouter.domain.errors import InvalidRequest
from xrouter.providers.gigachat import parameters

_SEARCH = "web_search_options"
_USUAL_SEARCH = {"search_context_size": "medium"}
_OWN = ("filter_config", "disable_filter", "ranker_options", "user_info")
"""Top-level parameters that the second contract has beside those of the first."""

_IN_OPTIONS = ("repetition_penalty", "update_interval")
_RESERVED = ("tool_config", "tools_state_id")
"""What the router sets itself."""

_OPTIONS = "model_options"
_MAPPED_OPTIONS = frozenset(
    {
        "temperature",
        "top_p",
        "max_tokens",
        "repetition_penalty",
        "update_interval",
        "top_logprobs",
        "reasoning",
        "response_format",
        "parallel_tool_calls",
    }
)
_MAX_NAME = 40


class Settings(Struct, frozen=True):
    """The request but for messages and tools. root: its fields; options: its `model_options`.

    searching: the web is to be searched, if the model wants it.
    """

    root: dict[str, Any]
    options: dict[str, Any]
    dropped: list[str]
    searching: bool


def read_settings(request: ChatRequest) -> Settings:
    """Read all parameters but messages and tools. Raises InvalidRequest."""
    searching = _is_set(request, _SEARCH)
    without = {name: raw for name, raw in request.fields.items() if name != _SEARCH}
    parameters.refuse_unsupported(msgspec.structs.replace(request, fields=without))
    root = parameters.native_fields(request.fields)
    root |= {name: request.fields[name] for name in _OWN if _is_set(request, name)}
    dropped = [name for name in parameters.given_up(request.fields) if name not in _OWN]
    dropped += parameters.outdone(request.fields, _OWN)
    options = {
        **_own_options(root),
        **{name: root.pop(name) for name in _IN_OPTIONS if name in root},
        **parameters.sampling(request),
    }
    effort, lost = _reasoning(request)
    options |= effort
    if request.parallel_tool_calls is not None and request.tools:
        options["parallel_tool_calls"] = request.parallel_tool_calls
    lost += _rename(root)
    if searching:
        lost += _search_details(request.fields[_SEARCH])
    return Settings(root, options, [*dropped, *lost], searching)


def _is_set(request: ChatRequest, name: str) -> bool:
    return name in request.fields and bytes(request.fields[name]) != b"null"


def _own_options(root: dict[str, Any]) -> dict[str, Any]:
    """GigaChat's own `model_options`, out of `additional_fields`. Raises InvalidRequest."""
    for name in _RESERVED:
        if name in root:
            raise _reserved(f"additional_fields.{name}")
    options = root.pop(_OPTIONS, None) or {}
    where = f"additional_fields.{_OPTIONS}"
    if not isinstance(options, dict):
        raise InvalidRequest(f"'{where}' must be an object.", code="invalid_type", param=where)
    for name in options:
        if name in _MAPPED_OPTIONS:
            raise _reserved(f"{where}.{name}")
    return dict(options)


def _reserved(where: str) -> InvalidRequest:
    return InvalidRequest(
        f"'{where}' cannot be set there: it follows from the request's other parameters.",
        code="invalid_value",
        param=where,
    )


def _reasoning(request: ChatRequest) -> tuple[dict[str, Any], list[str]]:
    """The effort, which can be switched off here, and the names given up."""
    if request.reasoning_effort == "none":
        return {"reasoning": {"effort": "off"}}, []
    if request.reasoning_effort == "minimal":
        return {"reasoning": {"effort": "low"}}, ["reasoning_effort"]
    found, dropped = parameters.reasoning(request)
    return ({"reasoning": {"effort": found["reasoning_effort"]}} if found else {}), dropped


def _rename(root: dict[str, Any]) -> list[str]:
    """Put the first contract's own parameters under their new names; the names given up."""
    lost = [] if root.pop("additional_data", None) is None else ["additional_data"]
    if "function_ranker" in root:
        ranker = root.pop("function_ranker")
        lost += ["function_ranker"] if "ranker_options" in root else []
        root.setdefault("ranker_options", ranker)
    if "profanity_check" in root:
        wanted = _plain(root.pop("profanity_check"))
        if not isinstance(wanted, bool):
            raise InvalidRequest(
                "'profanity_check' must be true or false.",
                code="invalid_type",
                param="profanity_check",
            )
        lost += ["profanity_check"] if "disable_filter" in root else []
        root.setdefault("disable_filter", not wanted)
    return lost


def _search_details(given: Raw) -> list[str]:
    """The details of a search that GigaChat cannot be told. Raises InvalidRequest."""
    details = _plain(given)
    if not isinstance(details, dict):
        raise InvalidRequest(f"'{_SEARCH}' must be an object.", code="invalid_type", param=_SEARCH)
    return [
        f"{_SEARCH}.{name[:_MAX_NAME]}"
        for name, value in details.items()
        if value is not None and _USUAL_SEARCH.get(name) != value
    ][:_MAX_NAME]


def _plain(value: Any) -> Any:
    return msgspec.json.decode(value) if isinstance(value, Raw) else value
