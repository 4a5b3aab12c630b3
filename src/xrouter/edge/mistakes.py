"""What is wrong with a body, in the words and codes that clients of OpenAI know."""

from __future__ import annotations

import re
from functools import partial

import msgspec

from xrouter.domain.errors import InvalidRequest

DECODE_ERRORS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""All that decoding a hostile body may raise."""

_AT = re.compile(r" - at `(?P<path>[^`]*)`$")
_MISSING = re.compile(r"^Object missing required field `(?P<name>[^`]+)`")
_KIND = re.compile(r"^Expected `(?P<wanted>[^`]+)`, got `(?P<got>[^`]+)`")
_LENGTH = re.compile(r"^Expected `(?P<kind>\w+)` of length (?P<sign>[<>]=) (?P<bound>\d+)")
_RANGE = re.compile(r"^Expected `(?P<kind>\w+)` (?P<sign>[<>]=) (?P<bound>\S+)")

_WORDS = {
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "a boolean",
    "array": "an array",
    "object": "an object",
    "null": "null",
}
_NUMBERS = {"int": "integer", "float": "decimal"}
_LONG = {"str": "string", "array": "array"}

invalid_value = partial(InvalidRequest, code="invalid_value")
"""A value of the right type that cannot be."""


def missing(param: str, hint: str | None = None) -> InvalidRequest:
    """A parameter that must be there is not."""
    return InvalidRequest(
        f"Missing required parameter: '{param}'.",
        code="missing_required_parameter",
        param=param,
        hint=hint,
    )


def explain(error: Exception) -> InvalidRequest:
    """Turn one of DECODE_ERRORS into a 400 that names the parameter."""
    if isinstance(error, RecursionError):
        return InvalidRequest("The JSON body of your request is nested too deeply.")
    if not isinstance(error, msgspec.ValidationError):
        return InvalidRequest(
            "We could not parse the JSON body of your request. It must be valid JSON in UTF-8: "
            f"{_detail(error)}."
        )
    text = str(error)
    found = _AT.search(text)
    param = _param(found["path"]) if found else None
    return _explain(text[: found.start()] if found else text, param)


def _explain(text: str, param: str | None) -> InvalidRequest:
    if found := _MISSING.match(text):
        return missing(f"{param}.{found['name']}" if param else found["name"])
    if found := _KIND.match(text):
        return _wrong_type(found["wanted"], found["got"], param)
    if found := _LENGTH.match(text):
        return _wrong_length(found["kind"], found["sign"], int(found["bound"]), param)
    if found := _RANGE.match(text):
        return _out_of_range(found["kind"], found["sign"], found["bound"], param)
    return InvalidRequest(f"Invalid '{param}': {text}.", code="invalid_value", param=param)


def _wrong_type(wanted: str, got: str, param: str | None) -> InvalidRequest:
    kinds = [_WORDS.get(kind, kind) for kind in wanted.split(" | ") if kind != "null"]
    expected = kinds[0] if len(kinds) == 1 else f"one of {' or '.join(kinds)}"
    what = f"Invalid type for '{param}'" if param else "Invalid body"
    return InvalidRequest(
        f"{what}: expected {expected}, but got {_WORDS.get(got, got)} instead.",
        code="invalid_type",
        param=param,
    )


def _wrong_length(kind: str, sign: str, bound: int, param: str | None) -> InvalidRequest:
    name = _LONG.get(kind, kind)
    if sign == ">=" and bound == 1:
        return InvalidRequest(
            f"Invalid '{param}': empty {name}. Expected at least one element.",
            code=f"empty_{name}",
            param=param,
        )
    problem, limit = ("too short", "minimum") if sign == ">=" else ("too long", "maximum")
    return InvalidRequest(
        f"Invalid '{param}': {name} {problem}. Expected a {limit} length of {bound}.",
        code=f"{name}_{'below_min' if sign == '>=' else 'above_max'}_length",
        param=param,
    )


def _out_of_range(kind: str, sign: str, bound: str, param: str | None) -> InvalidRequest:
    name = _NUMBERS.get(kind, kind)
    low = sign == ">="
    return InvalidRequest(
        f"Invalid '{param}': {name} {'below minimum' if low else 'above maximum'} value. "
        f"Expected a value {sign} {bound.removesuffix('.0')}.",
        code=f"{name}_{'below_min' if low else 'above_max'}_value",
        param=param,
    )


def _param(path: str) -> str | None:
    """`$.messages[0].role` -> `messages[0].role`; keys of free objects are not told apart."""
    return path.removeprefix("$").removeprefix(".").replace("[...]", "") or None


def _detail(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "there are bytes that are not UTF-8"
    return str(error).removeprefix("JSON is malformed: ").rstrip(".")
