"""The simulated OpenAI: routes, keys, headers and prices. Chats are in `openai_chat`."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar
from uuid import uuid4

import msgspec
from typing_extensions import override

from xrouter.sandbox.kit import Charge, SandboxRequest, SandboxResponse, Simulator, json_response
from xrouter.sandbox.openai_chat import Turn, completion, compose, stream
from xrouter.sandbox.openai_checks import check
from xrouter.sandbox.openai_embeddings import embed
from xrouter.sandbox.openai_errors import (
    ApiError,
    failure_of,
    invalid_type,
    invalid_value,
    missing,
    model_not_found,
)
from xrouter.sandbox.openai_media import draw, hear, moderate, speak
from xrouter.sandbox.openai_models import MODELS, Model

KEY_PREFIX = "sk-sandbox"
KEY_WITHOUT_QUOTA = "sk-sandbox-no-quota"
REQUESTS_A_MINUTE = 10_000
TOKENS_A_MINUTE = 2_000_000


class OpenAISimulator(Simulator):
    """OpenAI's API under /openai/v1: chat, embeddings, pictures, audio, moderations, models.

    Keys start with sk-sandbox. The key sk-sandbox-no-quota is right, but nobody has paid for it.
    """

    name: ClassVar[str] = "openai"
    environment: ClassVar[dict[str, str]] = {
        "OPENAI_API_KEY": "sk-sandbox",
        "OPENAI_BASE_URL": "{origin}/openai/v1",
    }
    stream_type: ClassVar[str] = "text/event-stream; charset=utf-8"

    def __init__(self, bill: list[Charge]) -> None:
        super().__init__(bill)
        self._others: dict[str, Callable[[SandboxRequest, str], SandboxResponse]] = {
            "/v1/images/generations": self._images,
            "/v1/audio/speech": self._speech,
            "/v1/audio/transcriptions": self._transcript,
            "/v1/audio/translations": self._transcript,
            "/v1/moderations": self._moderation,
        }

    @override
    async def handle(self, request: SandboxRequest) -> SandboxResponse:
        """Answer as api.openai.com does."""
        started = time.perf_counter()
        try:
            key = _key_of(request)
            response = self._route(request, key)
        except ApiError as error:
            response = json_response(error.envelope, error.status)
        response.headers = _headers(started) | response.headers
        return response

    @override
    def failure(self, status: int, message: str | None = None) -> SandboxResponse:
        """The error of this status in OpenAI's envelope."""
        error = failure_of(status, message)
        return json_response(error.envelope, status, _headers(time.perf_counter()))

    @override
    def error_frame(self) -> bytes:
        """OpenAI's error in a stream."""
        return b"data: " + msgspec.json.encode(failure_of(500, None).envelope) + b"\n\n"

    def _route(self, request: SandboxRequest, key: str) -> SandboxResponse:
        path = request.path.rstrip("/")
        if path == "/v1/chat/completions":
            return self._chat(_paid(request, key), key)
        if path == "/v1/embeddings":
            return self._embeddings(_paid(request, key), key)
        if path in self._others:
            return self._others[path](request, key)
        if path == "/v1/models":
            _only(request, "GET")
            return json_response({"object": "list", "data": [_shown(name) for name in MODELS]})
        if path.startswith("/v1/models/"):
            _only(request, "GET")
            name = path.removeprefix("/v1/models/")
            if name not in MODELS:
                raise model_not_found(name)
            return json_response(_shown(name))
        raise ApiError(
            f"Unknown request URL: {request.method} {request.path}. Please check the URL for typos,"
            " or see the docs at https://platform.openai.com/docs/api-reference/.",
            status=404,
            code="unknown_url",
        )

    def _chat(self, body: dict[str, Any], key: str) -> SandboxResponse:
        model = _model(body)
        if "messages" not in body:
            raise missing("messages")
        check(body, model)
        if model.kind != "chat":
            raise ApiError(
                "This is not a chat model and thus not supported in the v1/chat/completions"
                " endpoint.",
                status=404,
                param="model",
            )
        turn = compose(body, model)
        if body.get("stream"):
            return self._stream(turn, body, key)
        tokens = turn.spoken + turn.thought
        self._charge(model, "chat", turn.prompt, tokens, key)
        response = json_response(completion(turn), headers=_limits(turn.prompt))
        response.delay = turn.wish.pause * tokens
        return response

    def _stream(self, turn: Turn, body: dict[str, Any], key: str) -> SandboxResponse:
        options = body.get("stream_options") or {}
        frames, costs = stream(
            turn,
            usage=options.get("include_usage") is True,
            padded=options.get("include_obfuscation") is not False,
        )

        def charge(sent: int) -> None:
            spent = costs[min(sent, len(costs)) - 1] if sent else 0
            self._charge(turn.model, "chat", turn.prompt, spent, key, streamed=True)

        headers = {"content-type": self.stream_type, "cache-control": "no-cache"}
        return SandboxResponse(
            headers=headers | _limits(turn.prompt),
            frames=frames,
            stream_pause=turn.wish.pause,
            on_close=charge,
        )

    def _embeddings(self, body: dict[str, Any], key: str) -> SandboxResponse:
        model = _model(body)
        if not model.dimensions:
            raise ApiError("You are not allowed to generate embeddings from this model", status=403)
        answer, tokens = embed(body, model)
        self._charge(model, "embeddings", tokens, 0, key)
        return json_response(answer, headers=_limits(tokens))

    def _images(self, request: SandboxRequest, key: str) -> SandboxResponse:
        body = _paid(request, key)
        model = _model_for("images", body)
        answer, tokens_in, tokens_out = draw(body, model)
        self._charge(model, "images", tokens_in, tokens_out, key)
        return json_response(answer)

    def _speech(self, request: SandboxRequest, key: str) -> SandboxResponse:
        body = _paid(request, key)
        model = _model_for("speech", body)
        response, tokens = speak(body, model)
        self._charge(model, "speech", tokens, 0, key)
        return response

    def _transcript(self, request: SandboxRequest, key: str) -> SandboxResponse:
        _check_paid(request, key)
        response, model, tokens = hear(request, partial(_model_for, "transcription"))
        self._charge(model, "transcription", *tokens, key)
        return response

    def _moderation(self, request: SandboxRequest, key: str) -> SandboxResponse:
        body = _paid(request, key)
        model = _model_for("moderation", {"model": "omni-moderation-latest"} | body)
        answer, tokens = moderate(body, model)
        self._charge(model, "moderation", tokens, 0, key)
        return json_response(answer)

    def _charge(
        self,
        model: Model,
        operation: str,
        tokens_in: int,
        tokens_out: int,
        key: str,
        *,
        streamed: bool = False,
    ) -> None:
        self.bill.append(
            Charge(self.name, model.id, operation, tokens_in, tokens_out, streamed, key)
        )


def go_duration(seconds: float) -> str:
    """Seconds as Go writes a duration: `12ms`, `1.5s`, `6m0s`, `1h2m3.5s`."""
    if seconds < 1:
        return f"{round(seconds * 1000)}ms"
    hours, rest = divmod(seconds, 3600)
    minutes, rest = divmod(rest, 60)
    text = f"{hours:.0f}h" if hours else ""
    text += f"{minutes:.0f}m" if hours or minutes else ""
    return f"{text}{round(rest, 3):g}s"


def _key_of(request: SandboxRequest) -> str:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    key = key.strip()
    if scheme.lower() != "bearer" or not key:
        raise ApiError(
            "You didn't provide an API key. It goes into the Authorization header using Bearer auth"
            " (i.e. Authorization: Bearer YOUR_KEY).",
            status=401,
        )
    if not key.startswith(KEY_PREFIX):
        shown = f"{key[:5]}***{key[-2:]}" if len(key) > 12 else "***"  # noqa: PLR2004 - shorter ones would be shown whole
        raise ApiError(
            f"Incorrect API key provided: {shown}. You can find your API key at"
            " https://platform.openai.com/account/api-keys.",
            status=401,
            code="invalid_api_key",
        )
    return key


def _paid(request: SandboxRequest, key: str) -> dict[str, Any]:
    """The body's fields of a POST, null the same as absent, from a key that can pay."""
    _check_paid(request, key)
    try:
        body = request.json()
    except ValueError:
        raise ApiError(
            "We could not parse the JSON body of your request. (HINT: This likely means you aren't"
            " using your HTTP library correctly. The OpenAI API expects a JSON payload, but what"
            " was sent was not valid JSON.)"
        ) from None
    if not isinstance(body, dict):
        raise ApiError("Invalid body: expected a JSON object.")
    return {name: value for name, value in body.items() if value is not None}


def _check_paid(request: SandboxRequest, key: str) -> None:
    """That it is a POST from a key that can pay."""
    _only(request, "POST")
    if key == KEY_WITHOUT_QUOTA:
        raise ApiError(
            "You exceeded your current quota, please check your plan and billing details.",
            status=429,
            kind="insufficient_quota",
            code="insufficient_quota",
        )


def _only(request: SandboxRequest, method: str) -> None:
    if request.method != method:
        raise ApiError(
            f"Not allowed to {request.method} on {request.path}. (HINT: Perhaps you meant to use a"
            " different HTTP method?)",
            status=405,
            code="method_not_supported",
        )


def _model(body: dict[str, Any]) -> Model:
    name = body.get("model")
    if name is None or name == "":
        raise ApiError("you must provide a model parameter")
    if not isinstance(name, str):
        raise invalid_type("model", "a string", name)
    if name not in MODELS:
        raise model_not_found(name)
    return MODELS[name]


def _model_for(kind: str, body: dict[str, Any]) -> Model:
    """The model of a call that takes models of one kind."""
    model = _model(body)
    if model.kind != kind:
        known = tuple(one.id for one in MODELS.values() if one.kind == kind)
        raise invalid_value("model", model.id, known)
    return model


def _shown(name: str) -> dict[str, Any]:
    created = MODELS[name].created
    return {"id": name, "object": "model", "created": created, "owned_by": "system"}


def _headers(started: float) -> dict[str, str]:
    return {
        "x-request-id": f"req_{uuid4().hex}",
        "openai-processing-ms": str(round((time.perf_counter() - started) * 1000)),
        "openai-version": "2020-10-01",
        "openai-organization": "org-sandbox",
    }


def _limits(tokens: int) -> dict[str, str]:
    """The rate headers as if this were the minute's only request."""
    return {
        "x-ratelimit-limit-requests": str(REQUESTS_A_MINUTE),
        "x-ratelimit-limit-tokens": str(TOKENS_A_MINUTE),
        "x-ratelimit-remaining-requests": str(REQUESTS_A_MINUTE - 1),
        "x-ratelimit-remaining-tokens": str(max(0, TOKENS_A_MINUTE - tokens)),
        "x-ratelimit-reset-requests": go_duration(60 / REQUESTS_A_MINUTE),
        "x-ratelimit-reset-tokens": go_duration(60 * tokens / TOKENS_A_MINUTE),
    }
