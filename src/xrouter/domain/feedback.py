"""What a caller thinks of an answer."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

Name = Annotated[str, Meta(min_length=1, max_length=512)]


class Feedback(Struct, kw_only=True, forbid_unknown_fields=True):
    """Who answered, as the `x-xrouter-*` headers of the answer say it, and how good it was: 0 to 1.

    endpoint: None for all of the provider's.
    """

    model: Name
    version: Name
    provider: Name
    endpoint: Name | None = None
    score: Annotated[float, Meta(ge=0, le=1)]
