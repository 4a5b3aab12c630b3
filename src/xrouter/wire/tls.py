"""TLS contexts: whom to trust, and who we are. Verification is never switched off."""

from __future__ import annotations

import asyncio
import ssl

from xrouter.domain.errors import UpstreamUnreachable
from xrouter.wire.types import Route

MAX_CONTEXTS = 64


class TlsContexts:
    """Makes one context for each set of PEM files, on first use, and keeps it."""

    def __init__(self) -> None:
        self._contexts: dict[tuple[str | None, str | None, str | None], ssl.SSLContext] = {}

    async def get(self, route: Route) -> ssl.SSLContext:
        """The context for a route. Reads files in a thread. Raises UpstreamUnreachable."""
        key = (route.ca_bundle, route.client_cert, route.client_key)
        context = self._contexts.get(key)
        if context is None:
            made = await asyncio.to_thread(build_context, *key)
            if len(self._contexts) >= MAX_CONTEXTS:
                self._contexts.pop(next(iter(self._contexts)))
            context = self._contexts.setdefault(key, made)
        return context


def build_context(
    ca_bundle: str | None, client_cert: str | None, client_key: str | None
) -> ssl.SSLContext:
    """The system's trust store, plus the authorities of `ca_bundle`, plus our own certificate.

    Raises UpstreamUnreachable that names the setting at fault.
    """
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    if ca_bundle is not None:
        try:
            context.load_verify_locations(cafile=ca_bundle)
        except (OSError, ValueError) as error:
            raise _unusable("ca_bundle", error) from None
    if client_key is not None and client_cert is None:
        raise UpstreamUnreachable(
            "The endpoint has a client_key but no client_cert.",
            hint="Set both client_cert and client_key, or neither.",
        )
    if client_cert is not None:
        try:
            context.load_cert_chain(client_cert, client_key, password=_no_password)
        except (OSError, ValueError) as error:
            raise _unusable("client_cert or client_key", error) from None
    return context


def _no_password() -> bytes:
    """Instead of a prompt on the terminal: an encrypted key is refused."""
    return b""


def _unusable(setting: str, error: Exception) -> UpstreamUnreachable:
    if isinstance(error, ssl.SSLError | ValueError):
        why = "is not a valid, unencrypted PEM file (or does not belong to the other one)"
    else:
        why = f"cannot be read ({type(error).__name__})"
    return UpstreamUnreachable(
        f"The endpoint's TLS setting {setting} cannot be used.",
        hint=f"The file named by {setting} {why}.",
    )
