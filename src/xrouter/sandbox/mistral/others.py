"""Embeddings, moderations and transcriptions of the simulated Mistral."""

from __future__ import annotations

import base64
import re
from typing import Any
from uuid import uuid4

from xrouter.sandbox.generate import little_endian, number_of, vector
from xrouter.sandbox.kit import count_tokens
from xrouter.sandbox.mistral.errors import ApiError, Wrong, invalid, refused
from xrouter.sandbox.mistral.fields import (
    Check,
    boolean,
    closed,
    integer,
    mapping,
    one_of,
    string,
    strings,
)
from xrouter.sandbox.mistral.models import Model

Body = dict[str, Any]
Answer = tuple[dict[str, Any], int]
"""An answer and its price in tokens."""

CATEGORIES = ("sexual", "hate_and_discrimination", "violence_and_threats", "selfharm", "pii")
_EMBEDDING: dict[str, Check] = {
    "model": string,
    "input": strings,
    "output_dimension": integer(1),
    "output_dtype": one_of("float", "int8", "uint8", "binary", "ubinary"),
    "encoding_format": one_of("float", "base64"),
    "metadata": mapping,
}
_MODERATION: dict[str, Check] = {"model": string, "input": strings}
_TRANSCRIPTION: dict[str, Check] = {
    "model": string,
    "file": string,
    "file_id": string,
    "file_url": string,
    "language": string,
    "temperature": string,
    "stream": boolean,
    "timestamp_granularities": string,
}
_PART = re.compile(rb'name="([^"]+)"(?:;[^\r\n]*)?\r\n(?:[^\r\n]+\r\n)*\r\n(.*)\Z', re.DOTALL)


def embed(body: Body, model: Model) -> Answer:
    """Vectors."""
    _fit(body, _EMBEDDING, ("model", "input"))
    size = body.get("output_dimension")
    if size is not None and (not model.shortens or size > model.dimensions):
        raise refused(f"output_dimension is not supported for model {model.id}")
    texts = _texts(body)
    data: list[dict[str, Any]] = []
    for index, text in enumerate(texts):
        floats = vector(f"{model.id} {text}", size or model.dimensions, model.dimensions)
        shown: Any = floats.tolist()
        if body.get("encoding_format") == "base64":
            shown = base64.b64encode(little_endian(floats)).decode()
        data.append({"object": "embedding", "index": index, "embedding": shown})
    tokens = sum(map(count_tokens, texts))
    usage = {"prompt_tokens": tokens, "completion_tokens": 0, "total_tokens": tokens}
    answer = {"id": uuid4().hex, "object": "list", "data": data, "model": body["model"]}
    return answer | {"usage": usage}, tokens


def moderate(body: Body, model: Model) -> Answer:
    """Scores; what names a category is of it."""
    _fit(body, _MODERATION, ("model", "input"))
    texts = _texts(body)
    results = []
    for text in texts:
        found = {name: name in text for name in CATEGORIES}
        scores = {
            name: 0.99 if hit else number_of(f"{name} {text}") % 100 / 10_000
            for name, hit in found.items()
        }
        results.append({"categories": found, "category_scores": scores})
    tokens = sum(map(count_tokens, texts))
    return {"id": uuid4().hex, "model": model.id, "results": results}, tokens


def transcribe(form: Body, model: Model) -> Answer:
    """The file's bytes as text, which is what the sandbox hears."""
    _fit(form, _TRANSCRIPTION, ("model",))
    if not any(form.get(name) for name in ("file", "file_id", "file_url")):
        raise invalid([Wrong("missing", ("file",), "Field required")])
    text = f"You said: {form.get('file', '')[:1000]}"
    tokens = count_tokens(text)
    usage = {"prompt_tokens": 0, "completion_tokens": tokens, "total_tokens": tokens}
    usage["prompt_audio_seconds"] = 1
    language = form.get("language")
    return {
        "model": model.id, "text": text, "language": language, "segments": [], "usage": usage,
    }, tokens  # fmt: skip


def form_of(content_type: str, body: bytes) -> Body:
    """The fields of a form as texts. Raises ApiError."""
    boundary = re.search(r'boundary="?([^";]+)', content_type)
    if not content_type.startswith("multipart/form-data") or boundary is None:
        raise ApiError(422, {"detail": "The body must be a form."})
    fields: Body = {}
    for piece in body.split(b"--" + boundary[1].encode())[1:-1]:
        found = _PART.search(piece.removesuffix(b"\r\n"))
        if found is not None:
            fields[found[1].decode("utf-8", "replace")] = found[2].decode("utf-8", "replace")
    return fields


def _fit(body: Body, known: dict[str, Check], needed: tuple[str, ...]) -> None:
    wrong: list[Wrong] = []
    closed(body, (), known, needed, wrong)
    if wrong:
        raise invalid(wrong)


def _texts(body: Body) -> list[str]:
    given = body["input"]
    texts: list[str] = [given] if isinstance(given, str) else given
    if not texts:
        raise refused("Input must not be empty")
    return texts
