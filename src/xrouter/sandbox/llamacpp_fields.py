"""The fields of a request that the simulated llama.cpp server knows: their types and ranges."""

from __future__ import annotations

from typing import Any

from xrouter.sandbox.llamacpp_errors import wrong_field, wrong_type
from xrouter.sandbox.llamacpp_model import SLOTS
from xrouter.sandbox.llamacpp_schema import flaw_in

Body = dict[str, Any]

COUNT = ("n_cmpl", "n")
LIMIT = ("n_predict", "max_completion_tokens", "max_tokens")
LIKELIHOODS = ("n_probs", "logprobs")
_NUMBERS = (
    *(COUNT, LIMIT, LIKELIHOODS),
    *((name,) for name in (
        "temperature", "top_p", "top_k", "min_p", "top_n_sigma", "typical_p", "seed",
        "presence_penalty", "frequency_penalty", "repeat_penalty", "repeat_last_n",
        "dynatemp_range", "dynatemp_exponent", "xtc_probability", "xtc_threshold",
        "dry_multiplier", "dry_base", "dry_allowed_length", "dry_penalty_last_n", "mirostat",
        "mirostat_tau", "mirostat_eta", "n_keep", "n_discard", "n_indent", "min_keep",
        "t_max_predict_ms", "sse_ping_interval", "reasoning_budget_tokens",
    )),
)  # fmt: skip
"""Each with its other names, of which the first one that is set counts. A boolean is a number."""
_FLAGS = (
    "stream", "verbose", "timings_per_token", "cache_prompt", "return_tokens", "return_progress",
    "post_sampling_probs", "ignore_eos", "reasoning_control",
)  # fmt: skip
_RANGES = {COUNT: (1, SLOTS), LIMIT: (-1, 2**31 - 1)}


def number(body: Body, names: tuple[str, ...]) -> int | None:
    """A number's whole part, by any of its names; None when it is not set, or no number."""
    value = next((body[name] for name in names if name in body), None)
    return int(value) if isinstance(value, int | float) else None


def check_fields(body: Body) -> None:
    """Raise ServerError for the first field that is wrong. Nulls are already gone."""
    for names in _NUMBERS:
        name = next((name for name in names if name in body), None)
        if name is not None:
            _check_number(name, body[name], _RANGES.get(names))
    for name in _FLAGS:
        _check_flag(name, body.get(name))
    options = body.get("stream_options")
    if isinstance(options, dict):
        _check_flag("include_usage", options.get("include_usage"))
    stop = body.get("stop")
    for item in stop if isinstance(stop, list) else ():
        if isinstance(item, int | float):
            raise wrong_field("stop", wrong_type("string", item))
    if "json_schema" in body and "grammar" not in body:
        flaw = flaw_in(body["json_schema"])
        if flaw is not None:
            words = f'"json_schema": JSON schema conversion failed:\n{flaw}'
            raise wrong_field("json_schema", words)


def _check_number(name: str, value: Any, limits: tuple[int, int] | None) -> None:
    if not isinstance(value, int | float):
        raise wrong_field(name, wrong_type("number", value))
    if limits is not None and not limits[0] <= int(value) <= limits[1]:
        words = f"Value must be between {limits[0]} <= value <= {limits[1]}, but got {int(value)}"
        raise wrong_field(name, words)


def _check_flag(name: str, value: Any) -> None:
    if value is not None and not isinstance(value, bool):
        raise wrong_field(name, wrong_type("boolean", value))
