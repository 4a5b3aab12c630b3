"""Pictures in OpenAI's language: how an answer of `POST /images/generations` is read."""

from __future__ import annotations

import msgspec

from xrouter.domain.errors import UpstreamMalformed
from xrouter.domain.images import ImagesAnswer, Picture
from xrouter.providers.shapes.openai_answer import read_object, usage_of

_OURS = frozenset({"created", "data", "usage"})


def pictures_of(body: bytes) -> ImagesAnswer:
    """The pictures. Raises UpstreamMalformed when there are none."""
    given = read_object(body)
    items = given.get("data")
    if not isinstance(items, list) or not items:
        raise UpstreamMalformed("The provider's answer has no pictures.")
    try:
        pictures = msgspec.convert(items, list[Picture])
    except msgspec.ValidationError:
        raise UpstreamMalformed("The provider's pictures cannot be read.") from None
    extra = {k: v for k, v in given.items() if k not in _OURS and v is not None}
    return ImagesAnswer(pictures, usage_of(given.get("usage")), extra=extra or None)
