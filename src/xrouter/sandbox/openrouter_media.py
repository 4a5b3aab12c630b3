"""Vectors, pictures and speech of the simulated OpenRouter."""

from __future__ import annotations

import base64
import time
from typing import Any

from xrouter.sandbox.kit import SandboxResponse, count_tokens
from xrouter.sandbox.openai_embeddings import embed
from xrouter.sandbox.openai_models import Model
from xrouter.sandbox.openrouter_checks import check_extras
from xrouter.sandbox.openrouter_errors import Failure
from xrouter.sandbox.openrouter_models import Listed, served

Body = dict[str, Any]

_OURS = frozenset({"provider", "input_type", "session_id", "trace"})
_PICTURES_MAX = 10
_TOKENS_OF_A_PICTURE = 4175
_PICTURE = base64.b64encode(b"\x89PNG\r\n\x1a\nsandbox").decode()
_SOUNDS = {"mp3": "audio/mpeg", "pcm": "audio/pcm;rate=24000;channels=1"}
_SILENCE = b"\0\0" * 240


def vectors(body: Body) -> tuple[Body, Listed, int]:
    """POST /embeddings: the answer, who served it, tokens in."""
    check_extras(body)
    model = served(body, "embeddings")
    plain = {name: value for name, value in body.items() if name not in _OURS}
    as_openai = Model(
        id=model.id,
        snapshot=model.id,
        context=model.context,
        created=model.created,
        dimensions=model.dimensions,
    )
    answer, tokens = embed(plain, as_openai)
    answer["usage"]["cost"] = float(model.cost(tokens, 0))
    return answer, model, tokens


def pictures(body: Body) -> tuple[Body, Listed, int]:
    """POST /images: the answer, who served it, tokens out."""
    check_extras(body)
    _needs(body, "prompt")
    model = served(body, "image")
    wanted = body.get("n", 1)
    if isinstance(wanted, bool) or not isinstance(wanted, int) or not 1 <= wanted <= _PICTURES_MAX:
        raise Failure(400, "n: Invalid input: expected a number from 1 to 10")
    tokens = wanted * _TOKENS_OF_A_PICTURE
    usage = {
        "prompt_tokens": 0,
        "completion_tokens": tokens,
        "total_tokens": tokens,
        "cost": float(model.cost(0, tokens)),
    }
    drawn = [{"b64_json": _PICTURE} for _ in range(wanted)]
    return {"created": int(time.time()), "data": drawn, "usage": usage}, model, tokens


def speech(body: Body) -> tuple[SandboxResponse, Listed, int]:
    """POST /audio/speech: the sound (silence), who served it, tokens in."""
    check_extras(body)
    for name in ("input", "voice"):
        _needs(body, name)
    model = served(body, "speech")
    sound = body.get("response_format", "pcm")
    if not isinstance(sound, str) or sound not in _SOUNDS:
        raise Failure(400, "response_format: Invalid option: expected one of 'mp3'|'pcm'")
    response = SandboxResponse(headers={"content-type": _SOUNDS[sound]}, body=_SILENCE)
    return response, model, count_tokens(body["input"])


def _needs(body: Body, name: str) -> None:
    if not isinstance(body.get(name), str) or not body[name]:
        raise Failure(400, f"{name}: Invalid input: expected string")
