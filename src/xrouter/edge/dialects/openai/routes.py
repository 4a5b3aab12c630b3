"""OpenAI's API: the routes of this dialect."""

from __future__ import annotations

from collections.abc import Callable

from xrouter.domain.chat import ChatRequest
from xrouter.domain.feedback import Feedback
from xrouter.domain.images import ImagesRequest
from xrouter.edge.dialects.openai import raw
from xrouter.edge.dialects.openai.codec import chat_voice
from xrouter.edge.dialects.openai.completions import (
    CompletionBody,
    TextCompletion,
    completion_voice,
    read_completion,
)
from xrouter.edge.dialects.openai.embeddings import (
    EmbeddingsBody,
    EmbeddingsVoice,
    read_embeddings,
)
from xrouter.edge.dialects.openai.feedback import read_feedback
from xrouter.edge.dialects.openai.images import ImagesVoice, PictureList, read_images
from xrouter.edge.dialects.openai.models import ModelList, ModelObject, listed, shown
from xrouter.edge.dialects.openai.schema import EmbeddingList
from xrouter.edge.dialects.openai.tokens import CountBody, Counted, CountVoice, read_count
from xrouter.edge.outlet import JSON
from xrouter.edge.routes import Route
from xrouter.edge.visit import Visit
from xrouter.edge.voice import encode

_OK = 200
_NO_CONTENT = 204

ChatReader = Callable[[bytes], tuple[ChatRequest, tuple[str, ...]]]
"""Reads a body; says besides what of it was given up."""


async def chat(visit: Visit, read: ChatReader) -> None:
    """POST /chat/completions. The route is in the dialect whose bodies come here, too."""
    key = visit.credential()
    request, dropped = await visit.read(read)
    voice = chat_voice(request, visit.serial)
    voice.dropped = dropped
    await visit.means.flow.chat(request, key, visit.info("chat"), visit.answer_with(voice))


async def embeddings(visit: Visit) -> None:
    """POST /embeddings."""
    key = visit.credential()
    request = await visit.read(read_embeddings)
    reply = visit.answer_with(EmbeddingsVoice(request.encoding_format))
    await visit.means.flow.embeddings(request, key, visit.info("embeddings"), reply)


async def completions(visit: Visit) -> None:
    """POST /completions."""
    key = visit.credential()
    asked = await visit.read(read_completion)
    reply = visit.answer_with(completion_voice(asked, visit.serial))
    await visit.means.flow.chat(asked.chat, key, visit.info("completions"), reply)


async def images(visit: Visit) -> None:
    """POST /images/generations."""
    key = visit.credential()
    request = await visit.read(read_images)
    reply = visit.answer_with(ImagesVoice(request.response_format))
    await visit.means.flow.images(request, key, visit.info("images"), reply)


async def count_tokens(visit: Visit) -> None:
    """POST /tokens/count."""
    key = visit.credential()
    request = await visit.read(read_count)
    reply = visit.answer_with(CountVoice())
    await visit.means.flow.count(request, key, visit.info("count"), reply)


async def feedback(visit: Visit) -> None:
    """POST /feedback."""
    visit.project("chat")
    said = await visit.read(read_feedback)
    visit.means.flow.rate(said, visit.credential())
    await visit.out.empty(_NO_CONTENT)


async def models(visit: Visit) -> None:
    """GET /models."""
    visit.project("models")
    found = visit.means.flow.models(visit.credential())
    body = encode(listed(found, visit.scope["query_string"]))
    await visit.out.whole(_OK, JSON, body)


async def model(visit: Visit) -> None:
    """GET /models/{id}; ids contain slashes and colons."""
    visit.project("models")
    found = visit.means.flow.model(visit.credential(), visit.rest)
    await visit.out.whole(_OK, JSON, encode(shown(found)))


ROUTES = [
    Route(
        method="POST",
        path="/embeddings",
        serve=embeddings,
        summary="Turn texts into vectors",
        request=EmbeddingsBody,
        answer=EmbeddingList,
        example={"model": "provider/model", "input": ["one text", "another"]},
    ),
    Route(
        method="POST",
        path="/completions",
        serve=completions,
        summary="Continue a prompt (legacy)",
        request=CompletionBody,
        answer=TextCompletion,
        example={"model": "provider/model", "prompt": "Hello!", "max_tokens": 50},
        streams=True,
    ),
    Route(
        method="POST",
        path="/images/generations",
        serve=images,
        summary="Draw pictures",
        request=ImagesRequest,
        answer=PictureList,
        example={"model": "provider/model", "prompt": "A hedgehog in the fog"},
    ),
    Route(
        method="POST",
        path="/tokens/count",
        serve=count_tokens,
        summary="Count tokens with the provider's tokenizer",
        request=CountBody,
        answer=Counted,
        example={"model": "provider/model", "input": ["one text", "another"]},
    ),
    Route(
        method="POST",
        path="/feedback",
        serve=feedback,
        summary="Say how good an answer was",
        request=Feedback,
        example={
            "model": "provider/model",
            "version": "latest",
            "provider": "provider",
            "endpoint": "main",
            "score": 0.9,
        },
    ),
    Route(method="POST", path="/audio/speech", serve=raw.speech, summary="Text to sound"),
    Route(
        method="POST",
        path="/audio/transcriptions",
        serve=raw.transcription,
        summary="Sound to text",
    ),
    Route(
        method="POST",
        path="/audio/translations",
        serve=raw.translation,
        summary="Sound to English text",
    ),
    Route(method="POST", path="/moderations", serve=raw.moderation, summary="Moderate texts"),
    Route(method="GET", path="/models", serve=models, summary="List models", answer=ModelList),
    Route(
        method="GET", path="/models/*", serve=model, summary="Describe a model", answer=ModelObject
    ),
]
