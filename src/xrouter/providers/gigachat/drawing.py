"""Pictures on their own: GigaChat's built-in text2image, asked for in a chat."""

from __future__ import annotations

import base64
from http import HTTPStatus
from typing import Any

import msgspec

from xrouter.domain.answer import AnswerMeta, Usage
from xrouter.domain.errors import InvalidRequest, UpstreamMalformed
from xrouter.domain.images import ImagesAnswer, ImagesRequest, Picture
from xrouter.domain.plan import Target
from xrouter.providers.gigachat.answers import (
    CENSORED,
    first_choice,
    meta_of,
    parse,
    reported,
    usage_of,
)
from xrouter.providers.gigachat.errors import error_of
from xrouter.providers.gigachat.files import download
from xrouter.providers.gigachat.speech import Speech
from xrouter.wire.types import Errand, WireReply, WireRequest

_HEADERS = {"accept": "application/json", "content-type": "application/json"}
_DRAW = "You are an artist. Draw a picture of what the user describes; do not answer with text."
_MAX_PICTURES = 4
_MAX_NAME = 64
_TAKEN: dict[str, tuple[Any, ...] | None] = {
    "model": None,
    "prompt": None,
    "n": None,
    "user": None,
    "response_format": ("b64_json",),
    "size": ("auto",),
    "quality": ("auto", "standard"),
    "style": (),
    "stream": (False,),
    "moderation": ("auto",),
    "background": ("auto", "opaque"),
    "output_format": ("jpeg",),
    "output_compression": (100,),
}
"""Parameters and their values that ask for what happens anyway; None: any value."""


def draw(request: ImagesRequest, target: Target, base_url: str) -> Errand[ImagesAnswer]:
    """Ask once for each picture. Raises InvalidRequest for what GigaChat cannot be told."""
    _refuse_unsupported(request)
    pictures: list[Picture] = []
    usages: list[Usage] = []
    meta: AnswerMeta | None = None
    for _ in range(request.n or 1):
        reply = yield _wire(request.prompt, target, base_url)
        ids, meta, usage = _read(reply)
        usages += [usage] if usage is not None else []
        for _, data in (yield from download(ids[:1], base_url)):
            pictures.append(Picture(b64_json=base64.b64encode(data).decode()))
    dropped = ("user",) if request.user is not None else ()
    return ImagesAnswer(pictures, _summed(usages), meta, dropped=dropped)


def _wire(prompt: str, target: Target, base_url: str) -> WireRequest:
    messages = [{"role": "system", "content": _DRAW}, {"role": "user", "content": prompt}]
    body = {"model": target.version.upstream, "messages": messages, "function_call": "auto"}
    url = f"{base_url}/chat/completions"
    return WireRequest("POST", url, dict(_HEADERS), msgspec.json.encode(body))


def _read(reply: WireReply) -> tuple[list[str], AnswerMeta, Usage | None]:
    """The files of the pictures, what answered, and what it used."""
    if reply.status >= HTTPStatus.MULTIPLE_CHOICES:
        raise error_of(reply)
    body = parse(reply.body)
    choice = first_choice(body)
    if choice is None or choice.message is None:
        raise reported(body, reply.headers.get("x-request-id"))
    speech = Speech([], json=False)
    speech.whole(choice.message.content or "")
    if not speech.pictures and choice.finish_reason in CENSORED:
        raise InvalidRequest(
            "GigaChat does not draw this: its filter has stopped the request.",
            code="content_policy_violation",
            param="prompt",
        )
    if not speech.pictures:
        raise UpstreamMalformed(
            "GigaChat answered without a picture.",
            hint="The prompt should describe a picture; the request can be repeated.",
        )
    return speech.pictures, meta_of(body), None if body.usage is None else usage_of(body.usage)


def _refuse_unsupported(request: ImagesRequest) -> None:
    if request.n is not None and request.n > _MAX_PICTURES:
        raise _unsupported(
            "n", f"GigaChat is asked once for each picture; 'n' may be {_MAX_PICTURES} at most."
        )
    for name, raw in request.fields.items():
        value: Any = msgspec.json.decode(raw)
        allowed = _TAKEN.get(name, ())
        if value is not None and allowed is not None and value not in allowed:
            raise _unsupported(
                name[:_MAX_NAME],
                f"'{name[:_MAX_NAME]}' cannot be chosen for GigaChat's pictures.",
            )


def _unsupported(param: str, message: str) -> InvalidRequest:
    return InvalidRequest(message, code="unsupported_value", param=param)


def _summed(usages: list[Usage]) -> Usage | None:
    if not usages:
        return None
    return Usage(
        prompt_tokens=sum(usage.prompt_tokens for usage in usages),
        completion_tokens=sum(usage.completion_tokens for usage in usages),
        cached_tokens=sum(usage.cached_tokens for usage in usages),
    )
