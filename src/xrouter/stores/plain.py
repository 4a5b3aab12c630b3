"""Secrets in the clear, for documents that are sealed or go from one process of ours to another.

Both are hooks of msgspec, which makes a ValidationError of what `read` raises.
"""

from __future__ import annotations

from typing import Any

from xrouter.domain.secret import Secret


def written(value: Any) -> Any:
    """A secret's text. Raises TypeError for what such a document cannot hold."""
    if isinstance(value, Secret):
        return value.reveal()
    raise TypeError(f"{type(value).__name__} cannot be written")


def read(kind: type, value: Any) -> Any:
    """A secret of its text. Raises TypeError for any other kind."""
    if kind is Secret:
        return Secret(value)
    raise TypeError(f"{kind.__name__} cannot be read")
