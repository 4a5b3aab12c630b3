"""The shapes of answers, for encoding and for the OpenAPI document."""

from __future__ import annotations

from typing import Any

from msgspec import Struct


class ResponseObject(Struct, kw_only=True):
    """A response. output: items; usage: input_tokens, output_tokens, total_tokens and details."""

    id: str
    object: str = "response"
    created_at: int
    status: str
    model: str
    output: list[dict[str, Any]]
    usage: dict[str, Any] | None = None
    error: dict[str, Any] | None = None


class InputItems(Struct, kw_only=True):
    """The items that a response was asked with."""

    object: str = "list"
    data: list[dict[str, Any]]
    first_id: str | None
    last_id: str | None
    has_more: bool = False


class InputTokens(Struct, kw_only=True):
    """How many tokens an input has."""

    object: str = "response.input_tokens"
    input_tokens: int


class Deleted(Struct, kw_only=True):
    """A response that is forgotten."""

    id: str
    object: str = "response"
    deleted: bool = True
