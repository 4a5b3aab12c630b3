"""The one place where the HTTP library's exceptions become ours.

Messages are for callers and name no address. Hints are for operators and name the provider's
scheme, host and port, never a path, a query, a header or a body: those may carry credentials.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from xrouter.domain.errors import (
    UpstreamDenied,
    UpstreamError,
    UpstreamMalformed,
    UpstreamTimeout,
    UpstreamUnreachable,
    XRouterError,
)

FOREIGN = (aiohttp.ClientError, HttpProcessingError, asyncio.TimeoutError, OSError, ValueError)
"""What the HTTP library raises on purpose. The rest are defects and pass."""

PROVIDER = "the provider"

_WRONG_NAME = frozenset({62, 64})  # OpenSSL's verify codes: host name, IP address mismatch


def origin(url: URL) -> str:
    """Scheme, host and port: what may be shown of an address."""
    return f"{url.scheme}://{url.host}:{url.port}"


def translate(error: Exception, where: str) -> XRouterError:
    """Our error for one of FOREIGN. where: the origin that was called, for the hint."""
    for kind, make in _TABLE:
        if isinstance(error, kind):
            return addressed(make(error, PROVIDER), where)
    return addressed(UpstreamUnreachable(f"The connection to {PROVIDER} failed."), where)


def addressed(error: XRouterError, where: str) -> XRouterError:
    """Add the address for the operator: callers need not know it."""
    error.hint = f"The address is {where}." + (f" {error.hint}" if error.hint else "")
    return error


def _untrusted(error: Exception, where: str) -> UpstreamError:
    cause = getattr(error, "certificate_error", None)
    reason = getattr(cause, "verify_message", "") or "verification failed"
    if getattr(cause, "verify_code", 0) in _WRONG_NAME:
        hint = "The certificate is for another name; check the host in the endpoint's base_url."
    else:
        hint = (
            "If the certificate is signed by a private authority, name the PEM file of that "
            "authority in the endpoint's ca_bundle setting."
        )
    return UpstreamUnreachable(f"The certificate of {where} is refused: {reason}.", hint=hint)


def _tls(error: Exception, where: str) -> UpstreamError:
    reason = _tls_reason(error)
    hint = _client_cert_hint(reason)
    if reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"):
        hint = "The other side does not speak TLS; check http or https in the endpoint's base_url."
    return UpstreamUnreachable(
        f"TLS with {where} failed: {reason or 'no reason given'}.", hint=hint
    )


def _dns(_error: Exception, where: str) -> UpstreamError:
    return UpstreamUnreachable(
        f"The host name of {where} cannot be resolved.",
        hint="Check the host in the endpoint's base_url (or proxy), and the DNS of this machine.",
    )


def _proxy_down(error: Exception, where: str) -> UpstreamError:
    return UpstreamUnreachable(
        f"The proxy on the way to {where} cannot be reached{_system_reason(error)}.",
        hint="Check the endpoint's proxy setting.",
    )


def _proxy_refused(error: Exception, where: str) -> UpstreamError:
    status = getattr(error, "status", 0)
    return UpstreamUnreachable(
        f"The proxy refused to connect to {where} (status {status}).",
        hint="Check the endpoint's proxy setting and the proxy's own rules.",
    )


def _refused(error: Exception, where: str) -> UpstreamError:
    why = _system_reason(error) or ": it hung up before the connection was ready"
    return UpstreamUnreachable(f"Cannot connect to {where}{why}.")


def _slow(_error: Exception, where: str) -> UpstreamError:
    return UpstreamTimeout(f"No connection to {where} within the connect timeout.")


def _cut(_error: Exception, where: str) -> UpstreamError:
    return UpstreamMalformed(f"The answer of {where} is damaged or broke off before its end.")


def _not_http(_error: Exception, where: str) -> UpstreamError:
    return UpstreamMalformed(
        f"What {where} answered is not proper HTTP, or its headers are too large."
    )


def _bad_address(_error: Exception, _where: str) -> UpstreamError:
    return bad_address("base_url")


def _hung_up(error: Exception, where: str) -> UpstreamError:
    return UpstreamUnreachable(
        f"The connection to {where} was closed before the answer was complete"
        f"{_system_reason(error)}.",
        hint=_client_cert_hint(_tls_reason(error)),
    )


def _bad_header(_error: Exception, where: str) -> XRouterError:
    return UpstreamDenied(
        f"A header for {where} contains a character that no header may have.",
        hint="Check the endpoint's credential for line breaks and other invisible characters.",
    )


def bad_address(setting: str) -> UpstreamError:
    """The error for an address that cannot be used. setting: where it is written."""
    return UpstreamUnreachable(
        f"The endpoint's {setting} is not a usable address.",
        hint=f"{setting} must be http:// or https:// with a host and without a user name.",
    )


def _tls_reason(error: Exception) -> str:
    """OpenSSL's name of the failure, such as CERTIFICATE_REQUIRED, or ""."""
    for candidate in (error, getattr(error, "os_error", None), error.__cause__):
        # The library's own error has the base class but not its attributes.
        reason = getattr(candidate, "reason", None)
        if isinstance(candidate, ssl.SSLError) and reason:
            return str(reason)
    text = str(error.args[1]) if len(error.args) > 1 else ""
    if text.startswith("[SSL: "):
        return text.removeprefix("[SSL: ").partition("]")[0]
    return ""


def _client_cert_hint(reason: str) -> str | None:
    if "CERTIFICATE" in reason or "HANDSHAKE_FAILURE" in reason:
        return "The other side may want a client certificate: client_cert and client_key."
    return None


def _system_reason(error: Exception) -> str:
    """The operating system's own words for the failure, ": connection refused"."""
    number = error.errno if isinstance(error, OSError) else None
    if number is None or _tls_reason(error):
        return ""
    return f": {os.strerror(number).lower()}"


_TABLE: list[tuple[type[Exception], Callable[[Exception, str], XRouterError]]] = [
    # From the special to the general: the first that fits is taken.
    (aiohttp.ClientConnectorCertificateError, _untrusted),
    (aiohttp.ClientConnectorSSLError, _tls),
    (aiohttp.ClientConnectorDNSError, _dns),
    (aiohttp.ClientProxyConnectionError, _proxy_down),
    (aiohttp.ClientHttpProxyError, _proxy_refused),
    (aiohttp.ClientConnectorError, _refused),
    (asyncio.TimeoutError, _slow),
    (aiohttp.ClientPayloadError, _cut),
    (aiohttp.ClientResponseError, _not_http),
    (HttpProcessingError, _not_http),
    (aiohttp.InvalidURL, _bad_address),
    (aiohttp.ClientConnectionError, _hung_up),
    (OSError, _hung_up),
    (ValueError, _bad_header),
]
