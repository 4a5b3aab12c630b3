"""The provider's errors in our tree. Five shapes, one reader.

    native            {"error": {"grpcCode", "httpCode", "message", "httpStatus", "details"}}
    native, unary     {"error": "<text>", "code": 3, "message": "<text>", "details": []}
    compatible        {"error": {"message", "type"}}, in streams {"error": {"error": "<text>"}}
    IAM               {"code": 16, "message": "<text>", "details": []}
    a proxy's page    HTML

The folder's id, cloud ids and keys are taken out of every text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from xrouter.domain.errors import (
    ContextLengthExceeded,
    InvalidRequest,
    ModelNotFound,
    PayloadTooLarge,
    UpstreamDenied,
    UpstreamFailed,
    UpstreamMalformed,
    UpstreamOverloaded,
    UpstreamQuotaExhausted,
    UpstreamRateLimited,
    UpstreamTimeout,
    XRouterError,
)
from xrouter.providers.yandexgpt.payload import as_text, read_object
from xrouter.wire.types import WireReply

_HTTP_OF_GRPC = {
    3: 400, 4: 504, 5: 404, 7: 403, 8: 429, 9: 400, 11: 400, 12: 501, 13: 500, 14: 503, 16: 401,
}  # fmt: skip

_UNAVAILABLE_MODEL = ("failed to get model", "failed to parse model uri", "invalid model_uri")
_TOO_LONG = re.compile(r"number of input tokens must be no more than (\d+)(?:, got (\d+))?")
_OUT_OF_RANGE = re.compile(r"text length is (\d+), which is outside the range \(0, (\d+)\]")
_RESOURCE_ID = re.compile(r"\b(?:b1g|aje|ajk)[a-z0-9]{17}\b")
_SESSION = re.compile(r"\b(?:internal_id|request_id|folder_id)=[^&\s]*&?")
_ADDRESS = re.compile(r"\b(?:gpt|emb|art|cls|ds)://[^/\s'\"]+")
_TOKEN = re.compile(r"\b(?:AQVN[\w-]{8,}|t1\.[\w.-]{8,})")
_MAX_TEXT = 400
_RETRY_AFTER = 1.0
"""Seconds. None is documented; the provider's own client begins with one second."""

_DENIED_HINTS = (
    ("expired", "The key or the token has expired: issue a new one and update the endpoint."),
    ("unknown api key", "The provider does not know the API key: check the endpoint's credential."),
    ("does not match", "Set `folder_id` to the folder of the credential's service account."),
)
_DENIED_HINT = (
    "Check the endpoint's credential, the role ai.languageModels.user on its folder, and the "
    "key's scope (yc.ai.foundationModels.execute covers all models)."
)


class ErrorReader:
    """Reads errors of one endpoint; `secrets` are texts that must never be shown."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = sorted((text for text in secrets if text), key=len, reverse=True)

    def from_reply(self, reply: WireReply) -> XRouterError:
        """The error of a reply of status >= 300."""
        error = self.make(reply.status, text_in(reply), _retry_after(reply.headers))
        error.upstream_status = reply.status
        error.upstream_request_id = reply.headers.get("x-request-id") or reply.headers.get(
            "x-server-trace-id"
        )
        return error

    def from_object(self, body: dict[str, Any]) -> XRouterError:
        """The error of an object that came with status 200, in a stream or whole."""
        status, text = problem_of(body)
        error = self.make(status or 500, text, None)
        error.upstream_status = status
        return error

    def make(self, status: int, text: str | None, retry_after: float | None) -> XRouterError:
        """Status and text to an error; `text` None when the body was no error of theirs."""
        shown = self.clean(text or f"status {status} without an explanation")
        lowered = (text or "").lower()
        known = None if status == 429 else _by_text(lowered)  # noqa: PLR2004 - HTTP
        if known is not None:
            return known
        if status in (401, 403):
            return _denied(lowered, shown)
        if status in (400, 422) and text is not None:
            return InvalidRequest(f"The provider refused the request: {shown}")
        if status == 404 and text is None:  # noqa: PLR2004 - HTTP
            return UpstreamMalformed(
                "There is no such API at the endpoint's address.",
                hint="Check the endpoint's base URL: it is the root of the host.",
            )
        return _by_status(status, shown, retry_after)

    def clean(self, text: str) -> str:
        """The text without secrets, ids of clouds and folders, and without an end to its length."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        for pattern in (_SESSION, _ADDRESS, _RESOURCE_ID, _TOKEN):
            text = pattern.sub("***", text)
        text = " ".join(text.split())
        return text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + "..."


def problem_of(body: dict[str, Any]) -> tuple[int | None, str | None]:
    """HTTP status (None when it names none) and text of an error object."""
    error = body.get("error")
    inner = error if isinstance(error, dict) else body
    texts = (inner.get("message"), inner.get("error"), body.get("message"))
    text = next((found for found in map(as_text, texts) if found), None)
    for key in ("httpCode", "http_code", "grpcCode", "grpc_code", "code"):
        code = inner.get(key)
        if isinstance(code, int) and not isinstance(code, bool):
            status = _HTTP_OF_GRPC.get(code, code)
            if 300 <= status < 600:  # noqa: PLR2004 - HTTP
                return status, text
    return None, text


def text_in(reply: WireReply) -> str | None:
    """What an error's body says; None when it is no error of theirs. Not cleaned."""
    try:
        return problem_of(read_object(reply.body))[1]
    except UpstreamMalformed:
        return None


def _by_text(lowered: str) -> XRouterError | None:
    """Errors that a status alone does not tell."""
    too_long = _too_long(lowered)
    if too_long is not None:
        return too_long
    if any(phrase in lowered for phrase in _UNAVAILABLE_MODEL):
        return ModelNotFound(
            "The model or its version does not exist at the provider, or is not open to us.",
            param="model",
        )
    if "does not match with service account folder" in lowered:
        return _denied(lowered, "the folder of the model is not that of the credential.")
    if "billing" in lowered:
        return UpstreamQuotaExhausted(
            "The account at the provider is not paid up or not active.",
            hint="Check the billing account of the endpoint's cloud.",
        )
    return None


def _too_long(lowered: str) -> ContextLengthExceeded | None:
    tokens = _TOO_LONG.search(lowered)
    if tokens is not None:
        got = f" However, your messages resulted in {tokens[2]} tokens." if tokens[2] else ""
        message = f"This model's maximum context length is {tokens[1]} tokens.{got}"
        return ContextLengthExceeded(f"{message} Please reduce the length.", param="messages")
    chars = _OUT_OF_RANGE.search(lowered)
    if chars is not None and chars[1] != "0":
        message = f"This model's maximum context length is {chars[2]} characters."
        return ContextLengthExceeded(
            f"{message} However, your messages have {chars[1]}.", param="messages"
        )
    if "maximum context length" in lowered:
        return ContextLengthExceeded(
            "The messages are longer than this model's maximum context length is.",
            param="messages",
        )
    return None


def _denied(lowered: str, shown: str) -> UpstreamDenied:
    hint = next((hint for word, hint in _DENIED_HINTS if word in lowered), _DENIED_HINT)
    return UpstreamDenied(f"The provider refused our credential: {shown}", hint=hint)


def _by_status(status: int, shown: str, retry_after: float | None) -> XRouterError:
    if status == 402:  # noqa: PLR2004 - HTTP
        return UpstreamQuotaExhausted("The account at the provider is used up.")
    if status == 404:  # noqa: PLR2004 - HTTP
        return ModelNotFound("The provider does not have this model.", param="model")
    if status == 413:  # noqa: PLR2004 - HTTP
        return PayloadTooLarge("The request is larger than the provider accepts.")
    if status == 429:  # noqa: PLR2004 - HTTP
        return UpstreamRateLimited(
            f"The provider's limit is reached: {shown}", retry_after=retry_after or _RETRY_AFTER
        )
    if status in (408, 504):
        return UpstreamTimeout("The provider did not answer in time.")
    if status == 503:  # noqa: PLR2004 - HTTP
        return UpstreamOverloaded(
            f"The provider is not available: {shown}", retry_after=retry_after
        )
    if status < 500:  # noqa: PLR2004 - HTTP
        return UpstreamMalformed(f"The provider answered in an unexpected way: {shown}")
    return UpstreamFailed(f"The provider failed: {shown}")


def _retry_after(headers: dict[str, str]) -> float | None:
    value = headers.get("retry-after", "")
    return float(value) if value.isascii() and value.isdigit() and len(value) < 6 else None  # noqa: PLR2004 - up to a day
