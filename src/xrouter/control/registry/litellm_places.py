"""Where deployments of a LiteLLM configuration go: providers and endpoints, new and present ones.

What is in the catalog already keeps its address and its credential: a deployment with others gets
an endpoint or a provider of its own. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct, field

from xrouter.domain.secret import Secret

Json = dict[str, Any]
PRIMARY = "primary"


class Standing(Struct, frozen=True):
    """An endpoint of the catalog. secrets: None when they cannot be opened."""

    name: str
    base_url: str
    secrets: Mapping[str, Secret] | None
    options: dict[str, str] = {}
    priority: int = 0
    is_enabled: bool = True

    def is_at(self, base: str) -> bool:
        """Whether this is its address."""
        return self.base_url.rstrip("/") == base

    def has(self, credential: Json) -> bool:
        """Whether this is its credential."""
        known = self.secrets
        return known is not None and {n: s.reveal() for n, s in known.items()} == credential

    @property
    def waits(self) -> bool:
        """Whether it is switched off for want of a credential."""
        return not self.is_enabled and self.secrets is not None and not self.secrets


class Present(Struct, frozen=True):
    """A provider of the catalog. endpoints: the primary one first."""

    name: str
    adapter_class: str
    endpoints: tuple[Standing, ...]

    @property
    def base_url(self) -> str:
        """The address of its first endpoint, '' without any."""
        return self.endpoints[0].base_url.rstrip("/") if self.endpoints else ""

    def is_at(self, base: str) -> bool:
        """Whether any of its endpoints is at an address."""
        return any(each.is_at(base) for each in self.endpoints)


class Place(Struct):
    """A provider of the document. made: endpoints by name. base_url: of a new one."""

    name: str
    adapter_class: str
    base_url: str
    present: Present | None = None
    made: dict[str, Json] = field(default_factory=dict)

    @property
    def standing(self) -> tuple[Standing, ...]:
        """The endpoints that are there already."""
        return () if self.present is None else self.present.endpoints

    @property
    def is_several(self) -> bool:
        """Whether it has more endpoints than one."""
        return len({*self.made, *(each.name for each in self.standing)}) > 1

    def document(self) -> Json | None:
        """As the registry takes it; None where nothing comes to it."""
        if self.present is not None and not self.made:
            return None
        endpoints = list(self.made.values())
        return {"name": self.name, "adapter_class": self.adapter_class, "endpoints": endpoints}

    def add(self, base: str, credential: Json, options: Mapping[str, str]) -> str:
        """The name of the endpoint with these, which is made if there is none."""
        for name, each in self.made.items():
            if (each["base_url"], each.get("credential", {})) == (base, credential):
                return name
        name = next(name for name in self._names() if name not in self.made)
        endpoint: Json = {"name": name, "base_url": base}
        if credential:
            endpoint["credential"] = credential
        if options:
            endpoint["options"] = dict(options)
        if self.standing:
            last = max(each.priority for each in self.standing)
            endpoint["priority"] = last + 1
        self.made[name] = endpoint
        return name

    def fill(self, waiting: Standing, credential: Json) -> str:
        """Give a credential to an endpoint that waits for one."""
        about = {"name": waiting.name, "base_url": waiting.base_url}
        self.made[waiting.name] = {**about, "credential": credential, "is_enabled": True}
        return waiting.name

    def _names(self) -> Iterator[str]:
        taken = {each.name for each in self.standing}
        if not taken:
            yield PRIMARY
        for number in range(1, len(taken) + len(self.made) + 2):
            if f"standby-{number}" not in taken:
                yield f"standby-{number}"


def find(present: Mapping[str, Present], base: str, *names: str) -> Present | None:
    """The provider at an address with one of the names, or with one of them and a number."""
    for name in names:
        for each in present.values():
            if re.fullmatch(re.escape(name) + r"(-[0-9]+)?", each.name) and each.is_at(base):
                return each
    return None


def slug(name: str) -> str:
    """A name as routes and providers have it."""
    text = re.sub(r"[^a-z0-9._-]+", "-", name.lower())
    return re.sub(r"^[^a-z0-9]+", "", text)[:60].rstrip("-") or "route"


def is_address(text: str) -> bool:
    """Whether it is the URL of a server."""
    try:
        return urlsplit(text).port != 0 and bool(urlsplit(text).hostname)
    except ValueError:
        return False


def host(base_url: str) -> str:
    """A name for who is at an address."""
    parts = urlsplit(base_url)
    return slug(f"{parts.hostname or ''}{f'-{parts.port}' if parts.port else ''}")


def unique(name: str, taken: set[str]) -> str:
    """The name, or the name with the next free number; it is taken from now on."""
    found, number = name, 2
    while found in taken:
        found, number = f"{name}-{number}", number + 1
    taken.add(found)
    return found
