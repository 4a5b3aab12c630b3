"""Ways to come in beside the password, as the pages show them; and where one may go on."""

from __future__ import annotations

from msgspec import Struct

MAX_NEXT = 1500
"""Of the address that one goes on at: it must fit into a cookie."""


class Ways(Struct, frozen=True):
    """Sign-in providers: titles by name, in the order of the buttons."""

    titles: dict[str, str] = {}


def is_local(url: str) -> bool:
    """Whether it is an address on this server and nothing else, however a browser reads it."""
    return (
        len(url) <= MAX_NEXT
        and url.startswith("/")
        and not url.startswith("//")
        and "\\" not in url
        and url.isascii()
        and url.isprintable()
        and " " not in url
    )
