"""How the models differ in what they take: told by the name, corrected by what one refuses.

Manual budgets of thinking are gone from Claude 4.7 on (4.6 has both), temperature and its like
as well; from 4.1 on a model takes one of temperature and top_p.
"""

from __future__ import annotations

import re
from typing import Literal

import msgspec
from msgspec import Struct

PLAIN_VERSION = "2023-06-01"
"""The version of the API that still takes temperature, top_p and top_k."""

_VERSION = re.compile(r"claude-(?:[a-z]+-)*(\d{1,2})(?:[-.](\d{1,2}))?(?!\d)")
_NEWEST = (99, 0)
_OLDEST = (0, 0)
_SAMPLING = ("temperature", "top_p", "top_k")
_REFUSING = ("deprecated", "not supported", "does not support", "unsupported", "not permitted")


class Manners(Struct, frozen=True):
    """adaptive: thinks as it sees fit, by effort; else by a budget of tokens. sampling: which of
    temperature, top_p and top_k it takes. strong: knows efforts above high. quiet: can be told
    not to think.
    """

    adaptive: bool = False
    sampling: Literal["all", "one", "none"] = "all"
    strong: bool = True
    quiet: bool = True

    def after(self, refusal: str) -> Manners | None:
        """What a model's refusal teaches; None when that is nothing."""
        text = refusal.lower()
        if "cannot both be specified" in text and self.sampling == "all":
            return msgspec.structs.replace(self, sampling="one")
        if not any(words in text for words in _REFUSING):
            return None
        if "effort" in text and "level" in text and self.strong:
            return msgspec.structs.replace(self, strong=False)
        if "thinking" in text and "disabled" in text and self.quiet:
            return msgspec.structs.replace(self, quiet=False)
        if "thinking.type.enabled" in text or "budget_tokens" in text:
            return None if self.adaptive else msgspec.structs.replace(self, adaptive=True)
        if "adaptive" in text or "effort" in text:
            return msgspec.structs.replace(self, adaptive=False) if self.adaptive else None
        if any(name in text for name in _SAMPLING) and self.sampling != "none":
            return msgspec.structs.replace(self, sampling="none")
        return None


def manners_of(upstream: str, version: str) -> Manners:
    """What the name of a model and the version of the API say."""
    found = _VERSION.search(upstream)
    if found is not None:
        number = (int(found[1]), int(found[2] or 0))
    else:
        number = _NEWEST if "claude" in upstream else _OLDEST
    sampling: Literal["all", "one", "none"] = "all"
    if version != PLAIN_VERSION or number >= (4, 7):
        sampling = "none"
    elif number >= (4, 1):
        sampling = "one"
    return Manners(adaptive=number >= (4, 6), sampling=sampling)
