"""The simulated OpenRouter: many authors' models behind one key, priced in US dollars."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, ClassVar
from uuid import uuid4

import msgspec
from typing_extensions import override

from xrouter.sandbox.kit import Charge, SandboxRequest, SandboxResponse, Simulator, json_response
from xrouter.sandbox.openai_chat import Turn, completion, compose, stream
from xrouter.sandbox.openai_checks import check
from xrouter.sandbox.openai_errors import ApiError
from xrouter.sandbox.openai_models import Model
from xrouter.sandbox.openrouter_models import MODELS, Listed, listed

KEY_PREFIX = "sk-or-v1-sandbox"
KEY_WITHOUT_CREDITS = "sk-or-v1-sandbox-empty"
PROCESSING = b": OPENROUTER PROCESSING\n\n"

_MAX_FALLBACKS = 10
_PREFERENCES = frozenset(
    {
        "order", "only", "ignore", "allow_fallbacks", "require_parameters", "data_collection",
        "zdr", "enforce_distillable_text", "quantizations", "sort", "preferred_min_throughput",
        "preferred_max_latency", "max_price", "options",
    }
)  # fmt: skip
_EXTRAS = frozenset(
    {
        "models", "provider", "route", "plugins", "transforms", "reasoning", "include_reasoning",
        "usage", "top_k", "min_p", "top_a", "repetition_penalty", "session_id", "trace", "preset",
        "debug", "cache_control", "image_config", "verbosity", "prompt_cache_options",
    }
)  # fmt: skip


class OpenRouterSimulator(Simulator):
    """OpenRouter's API under /openrouter/api/v1: chat, models with prices, the key, credits.

    Keys start with sk-or-v1-sandbox; sk-or-v1-sandbox-empty has no credits. The mark [[fail:N]] in
    what the user says makes a whole answer fail with code N under status 200; [[moderated]] is 403.
    """

    name: ClassVar[str] = "openrouter"
    environment: ClassVar[dict[str, str]] = {
        "OPENROUTER_API_KEY": "sk-or-v1-sandbox",
        "OPENROUTER_BASE_URL": "{origin}/openrouter/api/v1",
    }

    def __init__(self, bill: list[Charge]) -> None:
        super().__init__(bill)
        self._spent = Decimal(0)

    @override
    async def handle(self, request: SandboxRequest) -> SandboxResponse:
        try:
            return self._route(request)
        except Failure as failure:
            return failure.response()
        except ApiError as error:
            return Failure(error.status, str(error.envelope["error"]["message"])).response()

    @override
    def failure(self, status: int, message: str | None = None) -> SandboxResponse:
        return Failure(status, message or "Provider returned error").response()

    @override
    def error_frame(self) -> bytes:
        choice = {"index": 0, "delta": {"content": ""}, "finish_reason": "error"}
        chunk = {
            "id": f"gen-{uuid4().hex}",
            "object": "chat.completion.chunk",
            "created": 1_700_000_000,
            "model": "openai/gpt-4o-mini",
            "provider": "OpenAI",
            "error": {"code": 502, "message": "Provider disconnected unexpectedly"},
            "choices": [choice],
        }
        return b"data: " + msgspec.json.encode(chunk) + b"\n\n"

    def _route(self, request: SandboxRequest) -> SandboxResponse:
        path = request.path.rstrip("/").removeprefix("/api/v1")
        if (request.method, path) == ("GET", "/models"):
            return json_response({"data": listed(), "total_count": len(MODELS), "links": {}})
        key = _key_of(request)
        if (request.method, path) == ("GET", "/key"):
            return json_response({"data": self._account(key)})
        if (request.method, path) == ("GET", "/credits"):
            spent = float(self._spent)
            return json_response({"data": {"total_credits": 100.0, "total_usage": spent}})
        if (request.method, path) == ("POST", "/chat/completions"):
            return self._chat(_object(request), key)
        raise Failure(404, "Not Found")

    def _account(self, key: str) -> dict[str, Any]:
        empty = key == KEY_WITHOUT_CREDITS
        return {
            "label": key[:12] + "...",
            "limit": None,
            "limit_remaining": 0 if empty else None,
            "usage": float(self._spent),
            "is_free_tier": empty,
            "is_management_key": False,
        }

    def _chat(self, body: dict[str, Any], key: str) -> SandboxResponse:
        if key == KEY_WITHOUT_CREDITS:
            metadata = {"limit_source": "openrouter_credits", "error_type": "payment_required"}
            raise Failure(402, "Insufficient credits. Add more.", {"metadata": metadata})
        _check_extras(body)
        served = _served(body)
        plain = {name: value for name, value in body.items() if name not in _EXTRAS}
        if plain.get("messages") is None:
            raise Failure(400, 'Input required: specify "prompt" or "messages"')
        model = _as_openai(served)
        check(plain | {"model": served.id}, model)
        said = json.dumps(plain["messages"])
        if "[[moderated]]" in said:
            flagged: dict[str, Any] = {"reasons": ["violence"], "provider_name": served.author}
            raise Failure(403, "The input was flagged.", {"metadata": flagged})
        turn = compose(plain, model)
        turn.id = f"gen-{uuid4().hex}"
        headers = {"x-generation-id": turn.id}
        if plain.get("stream"):
            return self._stream(turn, served, key, headers)
        tokens = turn.spoken + turn.thought
        if (code := _number_of("fail", said)) is not None:
            return json_response(Failure(code, "Provider returned error").envelope, 200, headers)
        self._charge(served, turn.prompt, tokens, key)
        answer = _told(completion(turn), served)
        answer["usage"] |= _usage(served, turn.prompt, tokens)
        response = json_response(answer, headers=headers)
        response.delay = turn.wish.pause * tokens
        return response

    def _stream(
        self, turn: Turn, served: Listed, key: str, headers: dict[str, str]
    ) -> SandboxResponse:
        frames, costs = stream(turn, usage=True, padded=False)
        chunks = [_retold(frame, served, turn) for frame in frames]

        def charge(sent: int) -> None:
            told = max(0, min(sent - 1, len(costs)))
            spent = costs[told - 1] if told else 0
            self._charge(served, turn.prompt, spent, key, streamed=True)

        return SandboxResponse(
            headers={"content-type": self.stream_type} | headers,
            frames=[PROCESSING, *chunks],
            stream_pause=turn.wish.pause,
            on_close=charge,
        )

    def _charge(
        self, served: Listed, tokens_in: int, tokens_out: int, key: str, *, streamed: bool = False
    ) -> None:
        self._spent += served.cost(tokens_in, tokens_out)
        self.bill.append(Charge(self.name, served.id, "chat", tokens_in, tokens_out, streamed, key))


class Failure(Exception):
    """An error of OpenRouter: its code is a number, and the same as the status."""

    def __init__(self, status: int, message: str, more: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.envelope: dict[str, Any] = {
            "error": {"code": status, "message": message} | (more or {})
        }

    def response(self) -> SandboxResponse:
        """As it is sent before anything was generated."""
        return json_response(self.envelope, self.status)


def _key_of(request: SandboxRequest) -> str:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key:
        raise Failure(401, "No auth credentials found")
    if not key.startswith(KEY_PREFIX):
        raise Failure(401, "User not found.")
    return key


def _object(request: SandboxRequest) -> dict[str, Any]:
    try:
        body = request.json()
    except ValueError:
        raise Failure(400, "Invalid JSON") from None
    if not isinstance(body, dict):
        raise Failure(400, "Invalid input")
    return body


def _check_extras(body: dict[str, Any]) -> None:
    preferences = body.get("provider")
    if preferences is not None:
        if not isinstance(preferences, dict):
            raise Failure(400, "provider: expected object")
        strange = preferences.keys() - _PREFERENCES
        if strange:
            raise Failure(400, f"provider: unrecognized key {min(strange)!r}")
    models = body.get("models")
    if models is not None and (
        not isinstance(models, list)
        or len(models) > _MAX_FALLBACKS
        or not all(isinstance(name, str) for name in models)
    ):
        raise Failure(400, "models: expected an array of model names")


def _served(body: dict[str, Any]) -> Listed:
    """The first of the models asked for that there is."""
    asked = [body.get("model"), *(body.get("models") or [])]
    for name in asked:
        known = MODELS.get(str(name)) or MODELS.get(str(name).rpartition(":")[0])
        if known is not None:
            return known
    state = {"code": "model_not_found", "retryable": False, "requested_models": asked[:1]}
    raise Failure(400, f"{asked[0]} is not a valid model ID", {"availability": state})


def _as_openai(served: Listed) -> Model:
    return Model(id=served.id, snapshot=served.id, context=served.context, created=served.created)


def _told(answer: dict[str, Any], served: Listed) -> dict[str, Any]:
    for choice in answer["choices"]:
        choice["native_finish_reason"] = choice["finish_reason"]
    return answer | {"model": served.id, "provider": served.author}


def _retold(frame: bytes, served: Listed, turn: Turn) -> bytes:
    data = frame.removeprefix(b"data: ").strip()
    if data == b"[DONE]":
        return frame
    chunk = _told(msgspec.json.decode(data), served)
    if chunk.get("usage") is not None:
        chunk["usage"] |= _usage(served, turn.prompt, turn.spoken + turn.thought)
    return b"data: " + msgspec.json.encode(chunk) + b"\n\n"


def _usage(served: Listed, tokens_in: int, tokens_out: int) -> dict[str, Any]:
    return {"cost": float(served.cost(tokens_in, tokens_out)), "is_byok": False}


def _number_of(mark: str, text: str) -> int | None:
    start = text.find(f"[[{mark}:")
    digits = text[start + len(mark) + 3 :].partition("]]")[0] if start >= 0 else ""
    return int(digits) if digits.isdecimal() else None
