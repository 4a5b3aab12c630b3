"""Shapes of the keys' API."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from xrouter.control.kit.schemas import In, Moment, Name, Out, Title


class KeyIn(In):
    """rpm: requests a minute, None for no limit. expires_at: None for never.

    groups: access groups whose models and routes it may use beside the common ones.
    """

    name: Title
    project: Name = "default"
    rpm: Annotated[int, Field(gt=0, le=1_000_000)] | None = None
    expires_at: Moment | None = None
    groups: list[Name] = Field(default=[], max_length=100)


class KeyOut(Out):
    """What may be known of a key. last4: its last characters, to recognise it by."""

    key_id: str
    name: str
    project: str
    last4: str
    rpm: int | None
    groups: list[str]
    created_at: Moment
    expires_at: Moment | None
    revoked_at: Moment | None


class NewKeyOut(KeyOut):
    """A fresh key. `key` is shown this once and stored nowhere."""

    key: str
