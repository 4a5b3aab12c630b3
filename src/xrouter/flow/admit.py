"""Stop 4: who asks. How much they may is a matter of `flow/limits`, once it is known of what."""

from __future__ import annotations

from xrouter.domain.bounds import Bounds, Scope
from xrouter.domain.errors import Unauthenticated
from xrouter.domain.identity import Principal
from xrouter.domain.ports import KeyBook
from xrouter.domain.snapshot import Snapshot

SCOPE_OF: dict[str, Scope] = {
    "chat": "chat",
    "count": "chat",
    "embeddings": "embeddings",
    "images": "images",
    "moderations": "moderations",
    "speech": "audio",
    "transcriptions": "audio",
    "translations": "audio",
}
"""Which scope an operation needs."""


def identify(credential: str | None, keys: KeyBook, snapshot: Snapshot) -> Principal:
    """The owner of the credential. Raises Unauthenticated, or NotReady without a catalog."""
    if credential is None:
        raise Unauthenticated(
            "You didn't provide an API key. Send it as 'Authorization: Bearer sk-xr-...'.",
            hint="`xrouter keys create` makes a key.",
        )
    return keys.find(credential, snapshot)


def hold(bounds: Bounds, operation: str, client: str | None) -> None:
    """Go on only with what the key may do, from where it may. Raises Forbidden.

    operation: of the tally. What no scope stands for is for keys that have all of them.
    """
    bounds.require_address(client)
    bounds.require_scope(SCOPE_OF.get(operation, operation))
