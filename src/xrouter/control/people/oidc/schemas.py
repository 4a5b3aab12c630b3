"""Shapes of the API of sign-in providers."""

from __future__ import annotations

from xrouter.control.kit.schemas import In, Moment, Name, Out
from xrouter.control.people.schemas import LinkSecret


class ProviderOut(Out):
    """A way in. start: where a browser begins."""

    name: str
    title: str
    start: str


class LinkIn(In):
    """What is to be linked. next: a path of ours to go on at."""

    provider: Name
    next: str | None = None


class AcceptIn(In):
    """secret: of an invite."""

    secret: LinkSecret


class BegunOut(Out):
    """url: where the browser is to go."""

    url: str


class IdentityOut(Out):
    """An account at a provider. provider: its name here, None when it is set up no more."""

    id: int
    issuer: str
    subject: str
    provider: str | None
    created_at: Moment
