"""Entity tags: whoever changes or deletes an object can say which state of it was seen.

etag of each object that is shown: a digest of its content, in the body and as the header ETag
If-Match: "<etag>"[, ...]          the write is done only in one of these states, else 412
If-Match: *                        in any state
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from fastapi import Header
from starlette.responses import Response

from xrouter.control.kit.schemas import Out
from xrouter.domain.errors import CallerError

IfMatch = Annotated[str | None, Header(max_length=2000)]
"""The header `If-Match` of a request."""

_ANY = "*"
_DIGITS = 32


class PreconditionFailed(CallerError):
    """412: the object is not in the state that the caller saw."""

    status = 412
    default_code = "precondition_failed"


class TaggedOut(Out):
    """An object that can be changed. etag: of its content; the same content has the same one."""

    etag: str


Tagged = TypeVar("Tagged", bound=TaggedOut)


def etag(document: Mapping[str, Any]) -> str:
    """The tag of an object as it is exported, without quotes."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def require(if_match: str | None, document: Mapping[str, Any]) -> None:
    """Go on only if the object is in a state that the caller names. Raises PreconditionFailed."""
    if if_match is None:
        return
    named = {tag.strip().strip('"') for tag in if_match.split(",")}
    if _ANY not in named and etag(document) not in named:
        raise PreconditionFailed(
            "The object was changed since it was read; nothing was written.",
            param="if-match",
            hint="Read it again, and send its new etag with the change.",
        )


def tagged(response: Response, found: Tagged) -> Tagged:
    """Say the tag of what is answered in the header, too."""
    response.headers["etag"] = f'"{found.etag}"'
    return found
