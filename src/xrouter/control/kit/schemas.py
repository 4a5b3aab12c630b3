"""What all rooms' schemas share: strict input, plain output, pages, words with limits."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Annotated, Any, Generic, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from xrouter.control.kit.storable import refuse_unstorable

MAX_PAGE = 1000
_LONGEST_HOST = 253
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")

T = TypeVar("T")


class In(BaseModel):
    """What a caller sends: unknown fields are refused, and what no database can keep."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _storable(cls, data: Any) -> Any:
        refuse_unstorable(data)
        return data

    def sent(self) -> dict[str, Any]:
        """The fields that the caller sent, by name."""
        return {name: getattr(self, name) for name in self.model_fields_set}


def unset() -> Any:
    """The default of a field that need not be sent and is no null: see `In.sent`."""
    return Field(default_factory=_nothing)


def _nothing() -> None:
    return None


class Out(BaseModel):
    """What we answer; made from rows."""

    model_config = ConfigDict(from_attributes=True)


class PageQuery(In):
    """Which part of a list: behind the item `after`, at most `limit` items."""

    after: str | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = MAX_PAGE


class Page(Out, Generic[T]):
    """Part of a list. next: what to send as `after` for the following part, None at the end."""

    data: list[T]
    next: str | None = None


class Deleted(Out):
    """What was deleted."""

    id: str
    deleted: bool = True


class Problem(Out):
    """The inside of an error."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None
    hint: str | None = None


class ErrorBody(Out):
    """Every error has this body."""

    error: Problem


def _utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("is too far away") from None


def _is_host(host: str) -> bool:
    """Whether it is an IP address, or labels of a name that do not look like one."""
    labels = host.removesuffix(".").split(".")
    if ":" in host or labels[-1].isdigit():
        try:
            ip_address(host)
        except ValueError:
            return False
        return True
    return len(host) <= _LONGEST_HOST and all(_LABEL.fullmatch(label) for label in labels)


def _http(text: str) -> str:
    """Check an absolute http(s) address."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an address that begins with http:// or https://")
    if not _is_host(parts.hostname):
        raise ValueError("must be an address with the name or the number of a host")
    if parts.port == 0 or parts.query or parts.fragment:
        raise ValueError("must be an address without '?' and '#', with a valid port if any")
    return text


def _without_user(text: str) -> str:
    if urlsplit(text).username is not None or "@" in urlsplit(text).netloc:
        raise ValueError("must not hold a user or password; put them into 'credential'")
    return text


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must not hold control characters")
    return text


Name = Annotated[
    str, StringConstraints(min_length=1, max_length=64, pattern=r"^[a-z0-9][a-z0-9._-]*$")
]
"""Of providers and endpoints: part of addresses, ids and labels."""

Groups = Annotated[list[Name], Field(max_length=100)]
"""Access groups: what models and routes may be used beside the common ones."""

Title = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_printable)]
"""For people."""

Word = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[!-~]+$")]
"""An id, a label, a channel, an upstream name: printable ASCII without spaces."""

File = Annotated[str, StringConstraints(min_length=1, max_length=1024), AfterValidator(_printable)]
Url = Annotated[str, StringConstraints(max_length=1024, pattern=r"^[!-~]+$"), AfterValidator(_http)]
BaseUrl = Annotated[Url, AfterValidator(_without_user)]
Dotted = Annotated[
    str, StringConstraints(max_length=200, pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$")
]
Seconds = Annotated[float, Field(gt=0, le=86400)]
Moment = Annotated[AwareDatetime, AfterValidator(_utc)]
Id = Annotated[str, StringConstraints(max_length=512), AfterValidator(_printable)]
"""An id in an address."""
