"""Pictures, speech, transcripts and moderations of the simulated OpenAI."""

from __future__ import annotations

import base64
import re
import struct
import time
import zlib
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from msgspec import Struct

from xrouter.domain.multipart import boundary_of
from xrouter.sandbox.kit import SandboxRequest, SandboxResponse, count_tokens, json_response
from xrouter.sandbox.openai_checks import check_integer, check_number
from xrouter.sandbox.openai_errors import (
    ApiError,
    invalid_type,
    invalid_value,
    missing,
    unrecognized,
    unsupported,
)
from xrouter.sandbox.openai_models import Model

Body = dict[str, Any]

_DRAWN = frozenset(
    {
        "model", "prompt", "n", "size", "quality", "background", "output_format", "style",
        "output_compression", "response_format", "moderation", "user", "safety_identifier",
    }
)  # fmt: skip
_SIZES = ("auto", "1024x1024", "1536x1024", "1024x1536")
_OLD_SIZES = ("256x256", "512x512", "1024x1024", "1792x1024", "1024x1792")
_PICTURES_MAX = 10
_PROMPT_MAX = 32_000

_SPOKEN = frozenset(
    {"model", "input", "voice", "instructions", "response_format", "speed", "stream_format"}
)
_SOUNDS = {
    "mp3": "audio/mpeg",
    "opus": "audio/opus",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
_INPUT_MAX = 4096

_SOUND = 10
"""Tokens of any recording: each is a second long."""

_HEARD = frozenset(
    {
        "file", "model", "language", "prompt", "response_format", "temperature", "stream",
        "timestamp_granularities[]", "include[]", "chunking_strategy",
    }
)  # fmt: skip
_TEXT_FORMATS = ("json", "text", "srt", "verbose_json", "vtt", "diarized_json")
_NAME = re.compile(rb'content-disposition:[^\r\n]*;\s*name="([^"]*)"', re.IGNORECASE)
_FILE = re.compile(rb'filename="([^"]*)"', re.IGNORECASE)

_CATEGORIES = (
    "harassment", "harassment/threatening", "hate", "hate/threatening", "illicit",
    "illicit/violent", "self-harm", "self-harm/intent", "self-harm/instructions", "sexual",
    "sexual/minors", "violence", "violence/graphic",
)  # fmt: skip


class Part(Struct):
    """A part of a form. filename: None for one that is no file."""

    value: bytes
    filename: str | None = None


def draw(body: Body, model: Model) -> tuple[Body, int, int]:
    """POST /v1/images/generations: the answer, and its tokens in and out."""
    base64_only = model.id.startswith("gpt-image")
    _known(body, _DRAWN)
    prompt = _text(body, "prompt", _PROMPT_MAX)
    if "n" in body:
        check_integer("n", body["n"], 1, 1 if model.id == "dall-e-3" else _PICTURES_MAX)
    sizes = _SIZES if base64_only else _OLD_SIZES
    size = _one_of(body, "size", sizes, sizes[0] if base64_only else "1024x1024")
    if base64_only:
        for name in ("response_format", "style"):
            if name in body:
                raise ApiError(
                    f"Unknown parameter: '{name}'.", code="unknown_parameter", param=name
                )
    wanted = _one_of(body, "response_format", ("url", "b64_json"), "url")
    pictures = [_picture(f"{prompt} {place}") for place in range(body.get("n", 1))]
    told: Body = {"created": int(time.time())}
    if base64_only:
        tokens = count_tokens(prompt), 272 * len(pictures)
        usage: Body = {
            "total_tokens": sum(tokens),
            "input_tokens": tokens[0],
            "output_tokens": tokens[1],
        }
        usage["input_tokens_details"] = {"text_tokens": tokens[0], "image_tokens": 0}
        told |= {"background": "opaque", "output_format": "png", "quality": "low", "usage": usage}
        told["size"] = "1024x1024" if size == "auto" else size
        return told | {"data": [{"b64_json": coded} for coded in pictures]}, *tokens
    shown = [
        {"b64_json": coded} if wanted == "b64_json" else {"url": _address(coded)}
        for coded in pictures
    ]
    for one in shown if model.id == "dall-e-3" else ():
        one["revised_prompt"] = f"A picture: {prompt}"
    return told | {"data": shown}, 0, 0


def _picture(text: str) -> str:
    """A PNG of one pixel whose colour comes of the text, in base64."""
    colour = zlib.crc32(text.encode()).to_bytes(4, "big")[:3]

    def chunk(kind: bytes, data: bytes) -> bytes:
        checked = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checked

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"\0" + colour))
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + head + pixels + chunk(b"IEND", b"")).decode()


def _address(coded: str) -> str:
    return f"https://images.example.com/{zlib.crc32(coded.encode()):08x}.png"


def speak(body: Body, model: Model) -> tuple[SandboxResponse, int]:
    """POST /v1/audio/speech: the sound (silence, in a WAV file), and tokens of the input."""
    _known(body, _SPOKEN)
    text = _text(body, "input", _INPUT_MAX)
    voice = body.get("voice")
    if voice is None:
        raise missing("voice")
    if not isinstance(voice, str) and not (isinstance(voice, dict) and "id" in voice):
        raise invalid_type("voice", "a string", voice)
    form = _one_of(body, "response_format", tuple(_SOUNDS), "mp3")
    if "speed" in body:
        check_number("speed", body["speed"], 0.25, 4)
    if _one_of(body, "stream_format", ("audio", "sse"), "audio") == "sse":
        raise unsupported("stream_format")
    if "instructions" in body and model.id.startswith("tts-1"):
        raise unsupported("instructions")
    frames = b"\0\0" * 240 * count_tokens(text)
    head = struct.pack("<4sI4s", b"RIFF", 36 + len(frames), b"WAVE")
    form_chunk = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 24_000, 48_000, 2, 16)
    sound = head + form_chunk + struct.pack("<4sI", b"data", len(frames)) + frames
    return SandboxResponse(headers={"content-type": _SOUNDS[form]}, body=sound), count_tokens(text)


def hear(
    request: SandboxRequest, model_of: Callable[[Body], Model]
) -> tuple[SandboxResponse, Model, tuple[int, int]]:
    """POST /v1/audio/transcriptions and translations: the text, who wrote it, and the tokens of
    the sound and of the text. Whisper counts seconds.
    """
    parts = form_of(request)
    strange = sorted(parts.keys() - _HEARD)
    if strange:
        raise unrecognized(strange)
    fields = {name: part.value.decode(errors="replace") for name, part in parts.items()}
    model = model_of({"model": fields.get("model")})
    if "file" not in parts or parts["file"].filename is None:
        raise missing("file")
    if not parts["file"].value:
        raise ApiError(
            "Audio file is too short. Minimum audio length is 0.1 seconds.", param="file"
        )
    wanted = fields.get("response_format", "json")
    if wanted not in _TEXT_FORMATS:
        raise invalid_value("response_format", wanted, _TEXT_FORMATS)
    if not model.id.startswith("whisper") and wanted in ("srt", "vtt", "verbose_json"):
        raise ApiError(
            f"response_format '{wanted}' is not compatible with model '{model.id}'. Use 'json' or"
            " 'text' instead.",
            code="unsupported_value",
            param="response_format",
        )
    text = f"This is {model.id}. You said: {parts['file'].filename}"
    tokens = 0 if model.id.startswith("whisper") else _SOUND, count_tokens(text)
    if wanted in ("text", "srt", "vtt"):
        headers = {"content-type": "text/plain; charset=utf-8"}
        return SandboxResponse(headers=headers, body=_subtitles(text, wanted)), model, tokens
    told: Body = {"text": text, "usage": _heard(*tokens)}
    if wanted == "verbose_json":
        told |= {"task": "transcribe", "language": "english", "duration": 1.0, "segments": []}
    return json_response(told), model, tokens


def _heard(sound: int, text: int) -> Body:
    if not sound:
        return {"type": "duration", "seconds": 1}
    return {
        "type": "tokens", "input_tokens": sound, "output_tokens": text,
        "total_tokens": sound + text,
        "input_token_details": {"text_tokens": 0, "audio_tokens": sound},
    }  # fmt: skip


def _subtitles(text: str, wanted: str) -> bytes:
    if wanted == "srt":
        return f"1\n00:00:00,000 --> 00:00:01,000\n{text}\n\n".encode()
    if wanted == "vtt":
        return f"WEBVTT\n\n00:00:00.000 --> 00:00:01.000\n{text}\n\n".encode()
    return f"{text}\n".encode()


def form_of(request: SandboxRequest) -> dict[str, Part]:
    """The parts of a form by name. Raises ApiError for what is none."""
    boundary = boundary_of(request.headers.get("content-type", ""))
    if boundary is None:
        raise ApiError(
            "Unsupported content type: send multipart/form-data.",
            status=415,
            code="unsupported_content_type",
        )
    first, *pieces = (b"\r\n" + request.body).split(b"\r\n--" + boundary)
    if first or not pieces or not pieces[-1].startswith(b"--"):
        raise ApiError("Could not parse multipart form")
    parts: dict[str, Part] = {}
    for piece in pieces[:-1]:
        head, mark, value = piece.partition(b"\r\n\r\n")
        name, file = _NAME.search(head), _FILE.search(head)
        if not mark or name is None:
            raise ApiError("Could not parse multipart form")
        parts[name[1].decode()] = Part(value, file[1].decode() if file else None)
    return parts


def moderate(body: Body, model: Model) -> tuple[Body, int]:
    """POST /v1/moderations: the answer and its tokens. Words of a category's name are flagged."""
    _known(body, frozenset({"model", "input"}))
    given = body.get("input")
    if given is None:
        raise missing("input")
    items = given if isinstance(given, list) else [given]
    if not items:
        raise ApiError("Invalid 'input': empty array.", code="empty_array", param="input")
    typed = isinstance(items[0], dict)
    texts = [_moderated(one, place, model) for place, one in enumerate(items)]
    results = [_result("\n".join(texts))] if typed else [_result(text) for text in texts]
    told = {"id": f"modr-{uuid4().hex[:24]}", "model": model.snapshot, "results": results}
    return told, sum(map(count_tokens, texts))


def _moderated(one: Any, place: int, model: Model) -> str:
    """The text of one input, "" for a picture."""
    if isinstance(one, str):
        return one
    where = f"input[{place}]"
    if not isinstance(one, dict):
        raise invalid_type(where, "a string or an object", one)
    if not model.id.startswith("omni"):
        raise unsupported(where)
    if one.get("type") == "text" and isinstance(one.get("text"), str):
        return str(one["text"])
    image = one.get("image_url")
    if one.get("type") == "image_url" and isinstance(image, dict) and image.get("url"):
        return ""
    raise invalid_value(f"{where}.type", one.get("type"), ("text", "image_url"))


def _result(text: str) -> Body:
    words = set(text.lower().split())
    found = {name: name in words for name in _CATEGORIES}
    return {
        "flagged": any(found.values()),
        "categories": found,
        "category_scores": {name: 0.9 if flagged else 0.0001 for name, flagged in found.items()},
        "category_applied_input_types": {name: ["text"] for name in found},
    }


def _known(body: Body, names: frozenset[str]) -> None:
    strange = [name for name in body if name not in names]
    if strange:
        raise unrecognized(strange)


def _text(body: Body, name: str, most: int) -> str:
    value = body.get(name)
    if value is None:
        raise missing(name)
    if not isinstance(value, str):
        raise invalid_type(name, "a string", value)
    if not 1 <= len(value) <= most:
        side = "above_max" if value else "below_min"
        raise ApiError(
            f"Invalid '{name}': string of the wrong length {len(value)}, at most {most}.",
            code=f"string_{side}_length",
            param=name,
        )
    return value


def _one_of(body: Body, name: str, supported: tuple[str, ...], usual: str) -> str:
    value = body.get(name, usual)
    if value not in supported:
        raise invalid_value(name, value, supported)
    return str(value)
