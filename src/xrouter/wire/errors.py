"""What can go wrong on the wire, in our words.

Messages are for callers and name no address. Hints are for operators and name the provider's
scheme, host and port, never a path, a query, a header or a body: those may carry credentials.
"""

from __future__ import annotations

import os
import ssl
from typing import TypeVar

from xrouter.domain.errors import (
    UpstreamDenied,
    UpstreamMalformed,
    UpstreamTimeout,
    UpstreamUnreachable,
    XRouterError,
)

_WRONG_NAME = frozenset({62, 64})  # OpenSSL's verify codes: host name, IP address mismatch
_PLAIN_TEXT = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"})

_E = TypeVar("_E", bound=XRouterError)


def addressed(error: _E, where: str) -> _E:
    """Add the origin for the operator: callers need not know it."""
    error.hint = f"The address is {where}." + (f" {error.hint}" if error.hint else "")
    return error


def bad_address(setting: str) -> UpstreamUnreachable:
    """The error for an address that cannot be used. setting: where it is written."""
    return UpstreamUnreachable(
        f"The endpoint's {setting} is not a usable address.",
        hint=f"{setting} must be http:// or https:// with a host and without a user name.",
    )


def not_public() -> UpstreamUnreachable:
    """An address that a stranger gave leads into our own network."""
    return UpstreamUnreachable("The address is not on the public internet.")


def unknown_host(where: str) -> UpstreamUnreachable:
    """DNS does not know the host, or none of its addresses may be used."""
    error = UpstreamUnreachable(
        "The host name of the provider cannot be resolved.",
        hint="Check the host in the endpoint's base_url (or proxy), and the DNS of this machine.",
    )
    return addressed(error, where)


def not_connected(cause: BaseException | None, where: str) -> UpstreamUnreachable:
    """No connection, or none that was ready."""
    if isinstance(cause, ssl.SSLCertVerificationError):
        return _untrusted(cause, where)
    if isinstance(cause, ssl.SSLError):
        return _tls(cause, where)
    why = _system_reason(cause) or ": it hung up before the connection was ready"
    return addressed(UpstreamUnreachable(f"Cannot connect to the provider{why}."), where)


def too_slow(where: str) -> UpstreamTimeout:
    """Connecting took longer than it may."""
    return addressed(
        UpstreamTimeout("No connection to the provider within the connect timeout."), where
    )


def proxy_down(cause: BaseException | None, where: str) -> UpstreamUnreachable:
    """The proxy on the way cannot be reached, or hung up."""
    error = UpstreamUnreachable(
        f"The proxy on the way to the provider cannot be reached{_system_reason(cause)}.",
        hint="Check the endpoint's proxy setting.",
    )
    return addressed(error, where)


def proxy_refused(status: int, where: str) -> UpstreamUnreachable:
    """The proxy is there and does not let us through."""
    error = UpstreamUnreachable(
        f"The proxy refused to connect to the provider (status {status}).",
        hint="Check the endpoint's proxy setting and the proxy's own rules.",
    )
    return addressed(error, where)


def hung_up(cause: BaseException | None, where: str) -> UpstreamUnreachable:
    """The connection ended before the answer was complete. cause: None for a polite end."""
    error = UpstreamUnreachable(
        "The connection to the provider was closed before the answer was complete"
        f"{_system_reason(cause)}.",
        hint=_client_cert_hint(_tls_reason(cause)),
    )
    return addressed(error, where)


def cut(where: str) -> UpstreamMalformed:
    """The body of an answer is damaged, or not whole."""
    return addressed(
        UpstreamMalformed("The answer of the provider is damaged or broke off before its end."),
        where,
    )


def not_http(where: str) -> UpstreamMalformed:
    """The head of an answer cannot be read."""
    return addressed(
        UpstreamMalformed(
            "What the provider answered is not proper HTTP, or its headers are too large."
        ),
        where,
    )


def sent_elsewhere(status: int, where: str) -> UpstreamMalformed:
    """A redirect, or a switch of protocols."""
    error = UpstreamMalformed(
        f"The provider answered with status {status}, which sends us elsewhere.",
        hint="Redirects are not followed; put the final address into the endpoint's base_url.",
        upstream_status=status,
    )
    return addressed(error, where)


def bad_header(where: str) -> UpstreamDenied:
    """A header of ours cannot be sent."""
    error = UpstreamDenied(
        "A header for the provider contains a character that no header may have.",
        hint="Check the endpoint's credential for line breaks and other invisible characters.",
    )
    return addressed(error, where)


def _untrusted(cause: ssl.SSLCertVerificationError, where: str) -> UpstreamUnreachable:
    reason = getattr(cause, "verify_message", "") or "verification failed"
    if getattr(cause, "verify_code", 0) in _WRONG_NAME:
        hint = "The certificate is for another name; check the host in the endpoint's base_url."
    else:
        hint = (
            "If the certificate is signed by a private authority, name the PEM file of that "
            "authority in the endpoint's ca_bundle setting."
        )
    error = UpstreamUnreachable(f"The certificate of the provider is refused: {reason}.", hint=hint)
    return addressed(error, where)


def _tls(cause: ssl.SSLError, where: str) -> UpstreamUnreachable:
    reason = _tls_reason(cause)
    hint = _client_cert_hint(reason)
    if reason in _PLAIN_TEXT:
        hint = "The other side does not speak TLS; check http or https in the endpoint's base_url."
    error = UpstreamUnreachable(
        f"TLS with the provider failed: {reason or 'no reason given'}.", hint=hint
    )
    return addressed(error, where)


def _tls_reason(cause: BaseException | None) -> str:
    """OpenSSL's name of the failure, such as CERTIFICATE_REQUIRED, or ""."""
    return str(getattr(cause, "reason", "") or "") if isinstance(cause, ssl.SSLError) else ""


def _client_cert_hint(reason: str) -> str | None:
    if "CERTIFICATE" in reason or "HANDSHAKE_FAILURE" in reason:
        return "The other side may want a client certificate: client_cert and client_key."
    return None


def _system_reason(cause: BaseException | None) -> str:
    """The operating system's own words for the failure, ": connection refused"."""
    number = cause.errno if isinstance(cause, OSError) else None
    if number is None or isinstance(cause, ssl.SSLError):
        return ""
    return f": {os.strerror(number).lower()}"
