"""Audio and moderations: passed on as they are, but for the name of the model."""

from __future__ import annotations

import msgspec

from xrouter.domain.catalog import Kind
from xrouter.domain.chat import Fields
from xrouter.domain.errors import InvalidRequest, UnsupportedMedia
from xrouter.domain.multipart import boundary_of, read_field
from xrouter.domain.raw import RawRequest
from xrouter.edge.mistakes import DECODE_ERRORS, explain, missing
from xrouter.edge.visit import Visit
from xrouter.edge.voice import Voice

_MAX_NAME = 512

_fields = msgspec.json.Decoder(Fields)
_text = msgspec.json.Decoder(str)


async def speech(visit: Visit) -> None:
    """POST /audio/speech: text to sound."""
    await _pass_json(visit, "audio/speech")


async def transcription(visit: Visit) -> None:
    """POST /audio/transcriptions: sound to text, multipart."""
    await _pass_form(visit, "audio/transcriptions")


async def translation(visit: Visit) -> None:
    """POST /audio/translations: sound to English text, multipart."""
    await _pass_form(visit, "audio/translations")


async def moderation(visit: Visit) -> None:
    """POST /moderations; without a model the first one that moderates is asked."""
    await _pass_json(visit, "moderations", default="moderation")


async def _pass_json(visit: Visit, operation: str, default: Kind | None = None) -> None:
    key = visit.credential()
    body = await visit.body()
    try:
        fields = _fields.decode(body)
        model = _text.decode(fields["model"]) if "model" in fields else ""
    except DECODE_ERRORS as error:
        raise explain(error) from None
    if not model and default is not None:
        visit.project("moderations")
        model = _first(visit, key, default)
    await _pass(visit, key, _request(operation, model, "application/json", body))


async def _pass_form(visit: Visit, operation: str) -> None:
    key = visit.credential()
    visit.project("audio")  # a stranger is not told what is wrong with a form
    content_type = visit.headers.get(b"content-type", b"").decode("latin-1")
    boundary = boundary_of(content_type)
    if boundary is None:
        raise UnsupportedMedia("Send this as multipart/form-data, with its boundary.")
    body = await visit.body()
    model = read_field(body, boundary, "model") or ""
    await _pass(visit, key, _request(operation, model, content_type, body))


async def _pass(visit: Visit, key: str | None, request: RawRequest) -> None:
    operation = visit.info(request.operation.partition("/")[2] or request.operation)
    await visit.means.flow.raw(request, key, operation, visit.answer_with(Voice()))


def _request(operation: str, model: str, content_type: str, body: bytes) -> RawRequest:
    if not model:
        raise missing("model")
    if len(model) > _MAX_NAME:
        raise InvalidRequest("The name is too long.", code="invalid_value", param="model")
    return RawRequest(model=model, operation=operation, content_type=content_type, body=body)


def _first(visit: Visit, key: str | None, kind: Kind) -> str:
    return next((m.model_id for m in visit.means.flow.models(key) if m.kind == kind), "")
