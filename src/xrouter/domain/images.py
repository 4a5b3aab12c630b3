"""Pictures: the request and the answer, OpenAI's shapes (`POST /v1/images/generations`)."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from xrouter.domain.answer import AnswerMeta, Usage
from xrouter.domain.chat import Fields


class ImagesRequest(Struct, kw_only=True):
    """What is to be drawn. response_format: "url" or "b64_json". `fields` is the body as sent."""

    model: Annotated[str, Meta(min_length=1, max_length=512)]
    prompt: Annotated[str, Meta(min_length=1)]
    n: Annotated[int, Meta(ge=1, le=10)] | None = None
    size: str | None = None
    quality: str | None = None
    style: str | None = None
    response_format: str | None = None
    user: str | None = None
    stream: bool | None = None
    fields: Fields = msgspec.field(default_factory=dict, name="xrouter.fields")


class Picture(Struct, omit_defaults=True):
    """One picture: its bytes in base64, or an address; OpenAI's field names."""

    b64_json: str | None = None
    url: str | None = None
    revised_prompt: str | None = None


class ImagesAnswer(Struct, omit_defaults=True):
    """The pictures in order. `extra`: further top-level fields of the provider (`size`, ...).

    dropped: names of request parameters that were accepted but could not be mapped.
    """

    pictures: list[Picture]
    usage: Usage | None = None
    meta: AnswerMeta | None = None
    extra: dict[str, Any] | None = None
    dropped: tuple[str, ...] = ()
