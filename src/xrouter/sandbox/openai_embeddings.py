"""Embeddings of the simulated OpenAI."""

from __future__ import annotations

import base64
from typing import Any

from xrouter.sandbox.generate import little_endian, vector
from xrouter.sandbox.kit import count_tokens
from xrouter.sandbox.openai_checks import check_integer
from xrouter.sandbox.openai_errors import (
    ApiError,
    array_length,
    invalid_type,
    invalid_value,
    missing,
    unrecognized,
)
from xrouter.sandbox.openai_models import Model

INPUTS_MAX = 2048
TOKENS_MAX = 300_000
_KNOWN = frozenset(("model", "input", "dimensions", "encoding_format", "user"))
_ENCODINGS = ("float", "base64")


def embed(body: dict[str, Any], model: Model) -> tuple[dict[str, Any], int]:
    """The answer and its price in tokens. Raises ApiError."""
    strange = [name for name in body if name not in _KNOWN]
    if strange:
        raise unrecognized(strange)
    encoding = body.get("encoding_format") or "float"
    if encoding not in _ENCODINGS:
        raise invalid_value("encoding_format", encoding, _ENCODINGS)
    dimensions = _dimensions(body.get("dimensions"), model)
    inputs = _inputs(body.get("input"))
    counts = [len(one) if isinstance(one, list) else count_tokens(one) for one in inputs]
    _check_sizes(counts, model)
    data = []
    for index, one in enumerate(inputs):
        text = one if isinstance(one, str) else f"tokens {one}"
        floats = vector(f"{model.id} {text}", dimensions, model.dimensions)
        shown: Any = floats.tolist()
        if encoding == "base64":
            shown = base64.b64encode(little_endian(floats)).decode()
        data.append({"object": "embedding", "index": index, "embedding": shown})
    total = sum(counts)
    usage = {"prompt_tokens": total, "total_tokens": total}
    return {"object": "list", "data": data, "model": model.snapshot, "usage": usage}, total


def _dimensions(given: Any, model: Model) -> int:
    if given is None:
        return model.dimensions
    if not model.shortens:
        raise ApiError("This model does not support specifying dimensions.", param="dimensions")
    check_integer("dimensions", given, 1, model.dimensions)
    return int(given)


def _inputs(given: Any) -> list[str | list[int]]:
    """Texts and token arrays, in order. A flat array of numbers is one input."""
    if given is None:
        raise missing("input")
    if isinstance(given, str):
        given = [given]
    if not isinstance(given, list):
        raise invalid_type("input", "one of a string or array", given)
    if given and all(_is_token(one) for one in given):
        given = [given]
    if not 1 <= len(given) <= INPUTS_MAX:
        raise array_length("input", len(given), 1, INPUTS_MAX)
    inputs: list[str | list[int]] = given
    for index, one in enumerate(inputs):
        if one in ("", []):
            raise ApiError(f"Invalid 'input[{index}]': input cannot be empty.", param="input")
        tokens = isinstance(one, list) and all(_is_token(token) for token in one)
        if not tokens and not isinstance(one, str):
            raise invalid_type(f"input[{index}]", "a string or an array of integers", one)
    return inputs


def _is_token(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _check_sizes(counts: list[int], model: Model) -> None:
    if max(counts) > model.context:
        raise ApiError(
            f"This model's maximum context length is {model.context} tokens, however you requested"
            f" {max(counts)} tokens. Please reduce your prompt.",
            code="context_length_exceeded",
            param="input",
        )
    if sum(counts) > TOKENS_MAX:
        raise ApiError(
            f"Requested {sum(counts)} tokens, max {TOKENS_MAX} tokens per request",
            code="max_tokens_per_request",
            param="input",
        )
