"""The simulated Anthropic: Messages, token counts, models."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import uuid4

import msgspec
from typing_extensions import override

from xrouter.sandbox.anthropic_checks import check
from xrouter.sandbox.anthropic_history import Refusal
from xrouter.sandbox.anthropic_models import MODELS, Mistake, described, listed
from xrouter.sandbox.anthropic_speech import Said, events, prompt_tokens, said_by, whole
from xrouter.sandbox.kit import Charge, SandboxRequest, SandboxResponse, Simulator, json_response

KEY_PREFIX = "sk-ant-sandbox"
KEY_WITHOUT_CREDIT = "sk-ant-sandbox-empty"
BODY_MAX = 32 << 20
VERSIONS = ("2023-06-01", "2026-10-21")

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class AnthropicSimulator(Simulator):
    """Anthropic's API under /anthropic/v1. Keys start with sk-ant-sandbox.

    The key sk-ant-sandbox-empty has no credit. Marks: [[think:N]] words of thinking when thinking
    is on, [[refuse]] a refusal, [[cached:N]] tokens read from the prompt cache.
    """

    name: ClassVar[str] = "anthropic"
    call_headers: ClassVar[tuple[str, ...]] = ("request-id",)
    stream_type: ClassVar[str] = "text/event-stream; charset=utf-8"
    environment: ClassVar[dict[str, str]] = {
        "ANTHROPIC_API_KEY": "sk-ant-sandbox",
        "ANTHROPIC_BASE_URL": "{origin}/anthropic/v1",
    }

    @override
    async def handle(self, request: SandboxRequest) -> SandboxResponse:
        request_id = _request_id()
        try:
            response = self._route(request)
        except Refusal as refusal:
            response = _refused(refusal.status, str(refusal), request_id)
        response.headers = {"request-id": request_id} | response.headers
        return response

    @override
    def failure(self, status: int, message: str | None = None) -> SandboxResponse:
        return _refused(status, message or "Something went wrong", _request_id())

    @override
    def error_frame(self) -> bytes:
        body = msgspec.json.encode(_envelope(529, "Overloaded", _request_id()))
        return b"event: error\ndata: " + body + b"\n\n"

    def _route(self, request: SandboxRequest) -> SandboxResponse:
        key = _key_of(request)
        version = request.headers.get("anthropic-version")
        if not version:
            raise Refusal("anthropic-version: header is required")
        if version not in VERSIONS:
            raise Refusal(f'anthropic-version: "{version}" is not a valid version')
        path = request.path.rstrip("/")
        if request.method == "GET" and (path + "/").startswith("/v1/models/"):
            return _models(request, path.removeprefix("/v1/models").removeprefix("/"))
        if (request.method, path) == ("POST", "/v1/messages/count_tokens"):
            body = _object(request)
            check(body, version, counting=True)
            return json_response({"input_tokens": prompt_tokens(body)})
        if (request.method, path) == ("POST", "/v1/messages"):
            return self._messages(_object(request), key, version)
        raise Refusal("Not found", 404)

    def _messages(self, body: dict[str, Any], key: str, version: str) -> SandboxResponse:
        check(body, version)
        if key == KEY_WITHOUT_CREDIT:
            raise Refusal("Your credit balance is too low to access the Anthropic API.")
        said = said_by(body)
        if not body.get("stream"):
            self._charge(said, said.tokens_out, key)
            response = json_response(whole(said))
            response.delay = said.pause * said.tokens_out
            return response
        frames, costs = events(said)

        def charge(sent: int) -> None:
            self._charge(said, costs[min(sent, len(costs)) - 1] if sent else 0, key, streamed=True)

        return SandboxResponse(
            headers={"content-type": self.stream_type, "cache-control": "no-cache"},
            frames=frames,
            stream_pause=said.pause,
            on_close=charge,
        )

    def _charge(self, said: Said, tokens_out: int, key: str, *, streamed: bool = False) -> None:
        self.bill.append(
            Charge(self.name, said.model, "chat", said.tokens_in, tokens_out, streamed, key)
        )


def _models(request: SandboxRequest, name: str) -> SandboxResponse:
    if not name:
        try:
            return json_response(listed(request))
        except Mistake as mistake:
            raise Refusal(str(mistake)) from None
    if name not in MODELS:
        raise Refusal(f"model: {name}", 404)
    return json_response(described(name))


def _refused(status: int, message: str, request_id: str) -> SandboxResponse:
    response = json_response(_envelope(status, message, request_id), status)
    response.headers["request-id"] = request_id
    return response


def _envelope(status: int, message: str, request_id: str) -> dict[str, Any]:
    error = {"type": _TYPES.get(status, "api_error"), "message": message}
    return {"type": "error", "error": error, "request_id": request_id}


def _request_id() -> str:
    return f"req_{uuid4().hex[:24]}"


def _key_of(request: SandboxRequest) -> str:
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    key = request.headers.get("x-api-key") or (bearer if scheme.lower() == "bearer" else "")
    if not key:
        raise Refusal("x-api-key header is required", 401)
    if not key.startswith(KEY_PREFIX):
        raise Refusal("invalid x-api-key", 401)
    return key


def _object(request: SandboxRequest) -> dict[str, Any]:
    if len(request.body) > BODY_MAX:
        raise Refusal("Request exceeds the maximum size", 413)
    try:
        body = request.json()
    except ValueError:
        raise Refusal("The request body is not valid JSON") from None
    if not isinstance(body, dict):
        raise Refusal("The request body must be an object")
    return body
