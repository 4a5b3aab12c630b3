"""The models of the simulated OpenAI."""

from __future__ import annotations

import msgspec
from msgspec import Struct


class Model(Struct, frozen=True, kw_only=True):
    """id: moving name; snapshot: what answers. context: tokens, prompt and answer together.

    kind: chat, embeddings, images, speech, transcription or moderation.
    dimensions: of an embedding model, else 0; shortens: whether fewer may be asked for.
    """

    id: str
    snapshot: str
    context: int
    created: int
    kind: str = "chat"
    reasoning: bool = False
    dimensions: int = 0
    shortens: bool = True


def _chat(name: str, build: str, context: int, created: int) -> Model:
    return Model(id=name, snapshot=f"{name}-{build}", context=context, created=created)


def _thinks(name: str, build: str, context: int, created: int) -> Model:
    return msgspec.structs.replace(_chat(name, build, context, created), reasoning=True)


def _embeds(name: str, dimensions: int, created: int, *, shortens: bool = True) -> Model:
    return Model(
        id=name,
        snapshot=name,
        context=8_192,
        created=created,
        kind="embeddings",
        dimensions=dimensions,
        shortens=shortens,
    )


def _other(name: str, kind: str, created: int) -> Model:
    return Model(id=name, snapshot=name, context=0, created=created, kind=kind)


_ALL = (
    _thinks("gpt-5", "2025-08-07", 400_000, 1754425777),
    _thinks("gpt-5-mini", "2025-08-07", 400_000, 1754425928),
    _thinks("o3", "2025-04-16", 200_000, 1744225308),
    _thinks("o4-mini", "2025-04-16", 200_000, 1744225351),
    _chat("gpt-4.1", "2025-04-14", 1_047_576, 1744316542),
    _chat("gpt-4.1-mini", "2025-04-14", 1_047_576, 1744318173),
    _chat("gpt-4o", "2024-08-06", 128_000, 1715367049),
    _chat("gpt-4o-mini", "2024-07-18", 128_000, 1721172741),
    _chat("gpt-4", "0613", 8_192, 1687882411),
    _chat("gpt-3.5-turbo", "0125", 16_385, 1677610602),
    _embeds("text-embedding-3-small", 1536, 1705948997),
    _embeds("text-embedding-3-large", 3072, 1705953180),
    _embeds("text-embedding-ada-002", 1536, 1671217299, shortens=False),
    _other("gpt-image-1", "images", 1745517030),
    _other("dall-e-3", "images", 1698785189),
    _other("dall-e-2", "images", 1698798177),
    _other("gpt-4o-mini-tts", "speech", 1742403959),
    _other("tts-1", "speech", 1681940951),
    _other("gpt-4o-transcribe", "transcription", 1742068463),
    _other("whisper-1", "transcription", 1677532384),
    _other("omni-moderation-latest", "moderation", 1731689265),
    _other("text-moderation-latest", "moderation", 1677532384),
)

MODELS: dict[str, Model] = {name: model for model in _ALL for name in (model.id, model.snapshot)}
"""By moving name and by snapshot."""
