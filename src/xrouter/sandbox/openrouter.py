"""The simulated OpenRouter: many authors' models behind one key, priced in US dollars."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from decimal import Decimal
from typing import Any, ClassVar
from uuid import uuid4

from msgspec import Struct
from typing_extensions import override

from xrouter.sandbox.kit import Charge, SandboxRequest, SandboxResponse, Simulator, json_response
from xrouter.sandbox.openai_errors import ApiError
from xrouter.sandbox.openrouter_chat import PROCESSING, Chat, error_frame
from xrouter.sandbox.openrouter_errors import Failure, of_api
from xrouter.sandbox.openrouter_media import pictures, speech, vectors
from xrouter.sandbox.openrouter_models import MODELS, Listed, page

KEY_PREFIX = "sk-or-v1-sandbox"
KEY_WITHOUT_CREDITS = "sk-or-v1-sandbox-empty"
KEY_IN_FLIGHT = "sk-or-v1-sandbox-busy"
MANAGEMENT_KEY = "sk-or-v1-sandbox-management"
GENERATION = "x-generation-id"

_CREDITS = 100.0
_GENERATIONS_MAX = 200


class OpenRouterSimulator(Simulator):
    """OpenRouter's API under /openrouter/api/v1.

    Chat, embeddings, pictures, speech; models with prices, the key, credits, generations.
    Keys start with sk-or-v1-sandbox; ...-empty has no credits, ...-busy has too much running,
    ...-management sees the credits and may ask no model. A generation is told to the key that has
    asked for it, when it is over, and not the first time that it is asked for: it takes a moment to
    be written down. The mark [[fail:N]] in what the user says
    makes an answer fail with code N under status 200, whole or in the stream; [[moderated]]: 403.
    """

    name: ClassVar[str] = "openrouter"
    call_headers: ClassVar[tuple[str, ...]] = (GENERATION,)
    environment: ClassVar[dict[str, str]] = {
        "OPENROUTER_API_KEY": "sk-or-v1-sandbox",
        "OPENROUTER_BASE_URL": "{origin}/openrouter/api/v1",
    }

    def __init__(self, bill: list[Charge]) -> None:
        super().__init__(bill)
        self._spent = Decimal(0)
        self._generations: OrderedDict[str, _Generation] = OrderedDict()
        self._reads: dict[str, Callable[[SandboxRequest, str], SandboxResponse]] = {
            "/key": self._account,
            "/auth/key": self._account,
            "/credits": self._credits,
            "/generation": self._generation,
        }
        self._works: dict[str, Callable[[dict[str, Any], str], SandboxResponse]] = {
            "/chat/completions": self._chat,
            "/embeddings": self._embeddings,
            "/images": self._images,
            "/audio/speech": self._speech,
        }

    @override
    async def handle(self, request: SandboxRequest) -> SandboxResponse:
        try:
            return self._route(request)
        except Failure as failure:
            return failure.response()
        except ApiError as error:
            return of_api(error).response()

    @override
    def failure(self, status: int, message: str | None = None) -> SandboxResponse:
        return Failure(status, message or "Provider returned error").response()

    @override
    def error_frame(self) -> bytes:
        error = Failure(502, "Provider disconnected unexpectedly").envelope["error"]
        return error_frame(f"gen-{uuid4().hex}", next(iter(MODELS.values())), error)

    def _route(self, request: SandboxRequest) -> SandboxResponse:
        path = request.path.rstrip("/").removeprefix("/api/v1")
        if (request.method, path) == ("GET", "/models"):
            return json_response(page(request.query))
        read, work = self._reads.get(path), self._works.get(path)
        if read is None and work is None:
            raise Failure(404, "Not Found")
        key = _key_of(request)
        if read is not None and request.method == "GET":
            return read(request, key)
        if work is None or request.method != "POST":
            raise Failure(405, "Method Not Allowed")
        if key == MANAGEMENT_KEY:
            raise Failure(403, "Management keys cannot be used for completion requests.")
        body = _object(request)
        _check_money(key)
        return work(body, key)

    def _account(self, _request: SandboxRequest, key: str) -> SandboxResponse:
        empty = key == KEY_WITHOUT_CREDITS
        management = key == MANAGEMENT_KEY
        told = {
            "label": key[:12] + "...",
            "limit": None,
            "limit_remaining": 0 if empty else None,
            "limit_reset": None,
            "include_byok_in_limit": False,
            "usage": float(self._spent),
            "is_free_tier": empty,
            "is_management_key": management,
            "is_provisioning_key": management,
            "rate_limit": {"requests": -1, "interval": "10s", "note": "This field is deprecated"},
            "expires_at": None,
        }
        return json_response({"data": told})

    def _credits(self, _request: SandboxRequest, key: str) -> SandboxResponse:
        if key != MANAGEMENT_KEY:
            raise Failure(403, "Only management keys can perform this operation")
        return json_response(
            {"data": {"total_credits": _CREDITS, "total_usage": float(self._spent)}}
        )

    def _generation(self, request: SandboxRequest, key: str) -> SandboxResponse:
        name = request.query.get("id", "")
        if not name:
            raise Failure(400, "Invalid input")
        found = self._generations.get(name)
        if found is None or found.key != key or not found.is_written:
            if found is not None and found.key == key:
                found.is_written = True
            raise Failure(404, f"Generation {name} not found")
        return json_response({"data": found.data})

    def _chat(self, body: dict[str, Any], key: str) -> SandboxResponse:
        chat = Chat(body)
        turn, model = chat.turn, chat.model
        headers = {GENERATION: turn.id}
        if not chat.streamed:
            response = json_response(chat.whole(), headers=headers)
            if chat.fails is None:
                self._charge(key, model, "chat", turn.prompt, chat.spent, generation=turn.id)
                response.delay = turn.wish.pause * chat.spent
            return response
        frames, costs = chat.frames()

        def charge(sent: int) -> None:
            told = max(0, min(sent - 1, len(costs)))
            spent = costs[told - 1] if told else 0
            self._charge(key, model, "chat", turn.prompt, spent, generation=turn.id, streamed=True)
            self._generations[turn.id].data["cancelled"] = told < len(costs)

        return SandboxResponse(
            headers={"content-type": self.stream_type} | headers,
            frames=[PROCESSING, *frames],
            stream_pause=turn.wish.pause,
            on_close=charge,
        )

    def _embeddings(self, body: dict[str, Any], key: str) -> SandboxResponse:
        answer, model, tokens = vectors(body)
        self._charge(key, model, "embeddings", tokens, 0)
        return json_response(answer)

    def _images(self, body: dict[str, Any], key: str) -> SandboxResponse:
        answer, model, tokens = pictures(body)
        self._charge(key, model, "images", 0, tokens)
        return json_response(answer)

    def _speech(self, body: dict[str, Any], key: str) -> SandboxResponse:
        response, model, tokens = speech(body)
        generation = f"gen-tts-{uuid4().hex}"
        self._charge(key, model, "speech", tokens, 0, generation=generation)
        response.headers[GENERATION] = generation
        return response

    def _charge(
        self,
        key: str,
        model: Listed,
        operation: str,
        tokens_in: int,
        tokens_out: int,
        *,
        generation: str | None = None,
        streamed: bool = False,
    ) -> None:
        cost = model.cost(tokens_in, tokens_out)
        self._spent += cost
        self.bill.append(
            Charge(self.name, model.id, operation, tokens_in, tokens_out, streamed, key)
        )
        if generation is None:
            return
        data = {
            "id": generation,
            "model": model.id,
            "provider_name": model.author,
            "api_type": "completions",
            "streamed": streamed,
            "cancelled": False,
            "tokens_prompt": tokens_in,
            "tokens_completion": tokens_out,
            "native_tokens_prompt": tokens_in,
            "native_tokens_completion": tokens_out,
            "native_tokens_cached": 0,
            "total_cost": float(cost),
            "usage": float(cost),
            "is_byok": False,
        }
        self._generations[generation] = _Generation(key, data)
        if len(self._generations) > _GENERATIONS_MAX:
            self._generations.popitem(last=False)


class _Generation(Struct):
    """Of whom it is, and what is told of it."""

    key: str
    data: dict[str, Any]
    is_written: bool = False


def _key_of(request: SandboxRequest) -> str:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key:
        raise Failure(401, "No auth credentials found")
    if not key.startswith(KEY_PREFIX):
        raise Failure(401, "User not found.")
    return key


def _check_money(key: str) -> None:
    if key == KEY_WITHOUT_CREDITS:
        source = {"limit_source": "openrouter_credits"}
        raise Failure(402, "Insufficient credits. Add more.", metadata=source)
    if key == KEY_IN_FLIGHT:
        source = {"limit_source": "openrouter_in_flight_budget"}
        raise Failure(402, "Too much is running on this account.", metadata=source, retry_after=2)


def _object(request: SandboxRequest) -> dict[str, Any]:
    try:
        body = request.json()
    except ValueError:
        raise Failure(400, "Invalid JSON") from None
    if not isinstance(body, dict):
        raise Failure(400, "Invalid input")
    return body
