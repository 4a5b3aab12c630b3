"""Stop 4: who asks, and may they ask now."""

from __future__ import annotations

from xrouter.domain.errors import RateLimited, Unauthenticated
from xrouter.domain.identity import Principal
from xrouter.domain.ports import KeyBook, Limiter, Reply
from xrouter.domain.snapshot import Snapshot


def identify(credential: str | None, keys: KeyBook, snapshot: Snapshot) -> Principal:
    """The owner of the credential. Raises Unauthenticated, or NotReady without a catalog."""
    if credential is None:
        raise Unauthenticated(
            "You didn't provide an API key. Send it as 'Authorization: Bearer sk-xr-...'.",
            hint="`xrouter keys create` makes a key.",
        )
    return keys.find(credential, snapshot)


def take(principal: Principal, limiter: Limiter, reply: Reply | None) -> None:
    """Count the request against the key's limit, and let the reply tell it. Raises RateLimited."""
    allowance = limiter.take(principal)
    if allowance is None:
        return
    if reply is not None:
        reply.allow(allowance)
    if allowance.wait_s > 0:
        raise RateLimited(
            "Rate limit reached for this API key on requests per min (RPM): "
            f"Limit {allowance.limit}. Please try again in {allowance.wait_s:.3g}s.",
            retry_after=allowance.wait_s,
        )
