"""Operations that are passed on as they are: audio, moderations. Only the model's name is ours."""

from __future__ import annotations

from msgspec import Struct


class RawRequest(Struct, kw_only=True):
    """One such request. operation: `audio/speech`, `moderations`, ...: the path after `/v1/`.

    body: as the caller sent it; content_type: JSON, or `multipart/form-data` with its boundary.
    """

    model: str
    operation: str
    content_type: str
    body: bytes
