"""The simulated Mistral: routes, keys, headers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar
from uuid import uuid4

import msgspec
from typing_extensions import override

from xrouter.sandbox.kit import Charge, SandboxRequest, SandboxResponse, Simulator, json_response
from xrouter.sandbox.mistral.chat import Turn, completion, compose, stream
from xrouter.sandbox.mistral.checks import check
from xrouter.sandbox.mistral.errors import (
    ApiError,
    Wrong,
    failure_of,
    invalid,
    no_capacity,
    no_model,
    refused,
)
from xrouter.sandbox.mistral.models import MODELS, Job, Model
from xrouter.sandbox.mistral.others import Answer, embed, form_of, moderate, transcribe

KEY_PREFIX = "mistral-sandbox"
KEY_WITHOUT_ALLOWANCE = "mistral-sandbox-no-allowance"
_CHAT = "/v1/chat/completions"

_JOBS: dict[str, tuple[Job, Callable[[dict[str, Any], Model], Answer]]] = {
    "/v1/embeddings": ("embed", embed),
    "/v1/moderations": ("moderate", moderate),
    "/v1/audio/transcriptions": ("transcribe", transcribe),
}


class MistralSimulator(Simulator):
    """La Plateforme under /mistral/v1. Keys start with mistral-sandbox.

    The key mistral-sandbox-no-allowance is right, but its limit is 0. The mark [[capacity]] in a
    user's text makes the model too busy.
    """

    name: ClassVar[str] = "mistral"
    call_headers: ClassVar[tuple[str, ...]] = ("mistral-correlation-id",)
    environment: ClassVar[dict[str, str]] = {
        "MISTRAL_API_KEY": KEY_PREFIX,
        "MISTRAL_BASE_URL": "{origin}/mistral/v1",
    }

    @override
    async def handle(self, request: SandboxRequest) -> SandboxResponse:
        """Answer as api.mistral.ai does."""
        headers = _ids()
        try:
            response = self._route(request, _key_of(request))
        except ApiError as error:
            response = error.response({})
            if error.status == 429 and _bearer(request) == KEY_WITHOUT_ALLOWANCE:  # noqa: PLR2004 - HTTP
                headers |= _limits(0, 0)
        response.headers = headers | response.headers
        return response

    @override
    def failure(self, status: int, message: str | None = None) -> SandboxResponse:
        """The error of this status."""
        return failure_of(status, message).response(_ids())

    @override
    def error_frame(self) -> bytes:
        """An error in a stream."""
        return b"data: " + msgspec.json.encode(failure_of(500, None).body) + b"\n\n"

    def _route(self, request: SandboxRequest, key: str) -> SandboxResponse:
        path = request.path.rstrip("/")
        if path == "/v1/models" and request.method == "GET":
            return json_response(
                {"object": "list", "data": [MODELS[name].shown(name) for name in MODELS]}
            )
        if path.startswith("/v1/models/") and request.method == "GET":
            name = path.removeprefix("/v1/models/")
            if name not in MODELS:
                raise no_model(name)
            return json_response(MODELS[name].shown(name))
        if path != _CHAT and path not in _JOBS:
            raise failure_of(404, None)
        if request.method != "POST":
            raise ApiError(405, {"detail": "Method Not Allowed"})
        if key == KEY_WITHOUT_ALLOWANCE:
            raise failure_of(429, None)
        if path == _CHAT:
            return self._chat(_json(request), key)
        return self._other(request, path, key)

    def _chat(self, body: dict[str, Any], key: str) -> SandboxResponse:
        model = _model(body, "chat")
        check(body, model)
        turn = compose(body, model)
        if "capacity" in turn.script.marks:
            raise no_capacity()
        if body.get("stream"):
            return self._stream(turn, model, key)
        self._charge(model, "chat", turn.prompt, turn.spoken, key)
        response = json_response(completion(turn), headers=_limits(turn.prompt + turn.spoken))
        response.delay = turn.script.wish.pause * turn.spoken
        return response

    def _stream(self, turn: Turn, model: Model, key: str) -> SandboxResponse:
        frames, costs = stream(turn)

        def charge(sent: int) -> None:
            spent = costs[min(sent, len(costs)) - 1] if sent else 0
            self._charge(model, "chat", turn.prompt, spent, key, streamed=True)

        return SandboxResponse(
            headers={"content-type": self.stream_type} | _limits(turn.prompt),
            frames=frames,
            stream_pause=turn.script.wish.pause,
            on_close=charge,
        )

    def _other(self, request: SandboxRequest, path: str, key: str) -> SandboxResponse:
        job, work = _JOBS[path]
        if job == "transcribe":
            body = form_of(request.headers.get("content-type", ""), request.body)
        else:
            body = _json(request)
        model = _model(body, job)
        answer, tokens = work(body, model)
        self._charge(model, path.removeprefix("/v1/"), tokens, 0, key)
        return json_response(answer, headers=_limits(tokens))

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


def _bearer(request: SandboxRequest) -> str:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def _key_of(request: SandboxRequest) -> str:
    key = _bearer(request)
    if not key.startswith(KEY_PREFIX):
        raise failure_of(401, None)
    return key


def _json(request: SandboxRequest) -> dict[str, Any]:
    try:
        body = request.json()
    except ValueError:
        wrong = Wrong("json_invalid", (0,), "JSON decode error")
        raise invalid([wrong]) from None
    if not isinstance(body, dict):
        text = "Input should be a valid dictionary or object to extract fields from"
        raise invalid([Wrong("model_attributes_type", (), text, body)])
    return body


def _model(body: dict[str, Any], job: Job) -> Model:
    name = body.get("model")
    if not isinstance(name, str):
        raise invalid([Wrong("missing", ("model",), "Field required", None)])
    if name not in MODELS:
        raise no_model(name)
    model = MODELS[name]
    if model.job != job:
        raise refused(f"Model {name} cannot be used here", "invalid_model", "1500")
    return model


def _ids() -> dict[str, str]:
    one = str(uuid4())
    return {"mistral-correlation-id": one, "x-kong-request-id": one}


def _limits(tokens: int, limit: int = 500_000) -> dict[str, str]:
    """The headers of the limits; there is none that says when they end."""
    left = max(0, limit - tokens)
    return {
        "x-ratelimit-limit-req-minute": str(limit and 360),
        "x-ratelimit-remaining-req-minute": str(limit and 359),
        "x-ratelimit-limit-tokens-minute": str(limit),
        "x-ratelimit-remaining-tokens-minute": str(left),
        "x-ratelimit-limit-tokens-month": str(limit * 1000),
        "x-ratelimit-remaining-tokens-month": str(left * 1000),
        "x-ratelimit-tokens-query-cost": str(tokens),
    }
