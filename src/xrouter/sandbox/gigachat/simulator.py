"""The simulated GigaChat: routes, tokens, slots, packages. Chats are in `chat`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any, ClassVar
from uuid import uuid4

from typing_extensions import override

from xrouter.sandbox.generate import vector
from xrouter.sandbox.gigachat.chat import PHRASE, Answer, completion, compose, stream
from xrouter.sandbox.gigachat.checks import check_chat
from xrouter.sandbox.gigachat.errors import INVALID_JSON, Refusal, invalid
from xrouter.sandbox.gigachat.models import MODELS, Model, model_named
from xrouter.sandbox.gigachat.oauth import Account, TokenOffice
from xrouter.sandbox.gigachat.sessions import SessionCache
from xrouter.sandbox.kit import (
    Charge,
    SandboxRequest,
    SandboxResponse,
    Simulator,
    count_tokens,
    json_response,
)
from xrouter.sandbox.script import Slots, phrases

PACKAGE = 1_000_000_000
"""Tokens of each model that a prepaid account begins with."""
_API = "/api/v1"
_OAUTH = "/api/v2/oauth"
_EXPIRE = "/_tokens/expire"

Body = dict[str, Any]
Work = Callable[[SandboxRequest, Account], SandboxResponse]


class GigaChatSimulator(Simulator):
    """GigaChat under /gigachat/api/v1, keys at /gigachat/api/v2/oauth: base64 of any-id:sandbox.

    Accounts are told by the beginning of the client id: pers-, b2b-, corp- (others are pers);
    one ending in -empty has no tokens left. POST /gigachat/_tokens/expire ends all access tokens.
    """

    name: ClassVar[str] = "gigachat"
    environment: ClassVar[dict[str, str]] = {
        "GIGACHAT_CREDENTIALS": "YjJiLWRlbW86c2FuZGJveA==",
        "GIGACHAT_SCOPE": "GIGACHAT_API_B2B",
        "GIGACHAT_BASE_URL": "{origin}/gigachat/api/v1",
        "GIGACHAT_AUTH_URL": "{origin}/gigachat/api/v2/oauth",
    }

    def __init__(self, bill: list[Charge], clock: Callable[[], float] = time.time) -> None:
        super().__init__(bill)
        self.tokens = TokenOffice(clock)
        self.slots = Slots()
        self._sessions = SessionCache()
        self._spent: Counter[tuple[str, str]] = Counter()
        self._works: dict[str, Work] = {
            "/chat/completions": self._chat,
            "/embeddings": self._embeddings,
            "/tokens/count": self._count,
        }

    @override
    async def handle(self, request: SandboxRequest) -> SandboxResponse:
        """Answer as the real service does."""
        try:
            response = self._route(request)
        except Refusal as refusal:
            response = refusal.response()
        response.headers = _headers(request) | response.headers
        return response

    @override
    def failure(self, status: int, message: str | None = None) -> SandboxResponse:
        """The API's error of this status."""
        response = Refusal(status, message).response()
        response.headers["x-request-id"] = str(uuid4())
        return response

    @override
    def error_frame(self) -> bytes:
        """The API's error in a stream."""
        return b"data: " + Refusal(500).response().body + b"\n\n"

    def _route(self, request: SandboxRequest) -> SandboxResponse:
        if request.path == _OAUTH:
            _only(request, "POST")
            return self.tokens.issue(request)
        if request.path == _EXPIRE:
            _only(request, "POST")
            return json_response({"expired": self.tokens.expire_all()})
        if not request.path.startswith(f"{_API}/"):
            raise Refusal(404, "Not Found")
        account = self.tokens.account_of(request)
        path = request.path.removeprefix(_API)
        if path.partition("/")[2].partition("/")[0] == "files":
            raise Refusal(404, "No such file")
        if path in self._works:
            _only(request, "POST")
            return self._in_slot(request, account, self._works[path])
        _only(request, "GET")
        return self._read(path, account)

    def _read(self, path: str, account: Account) -> SandboxResponse:
        if path == "/models":
            rows = [model.row() for model in MODELS.values()]
            return json_response({"object": "list", "data": rows})
        if path.startswith("/models/"):
            return json_response(model_named(path.removeprefix("/models/")).row())
        if path == "/balance":
            return json_response({"balance": self._balance(account)})
        raise Refusal(404, "Not Found")

    def _balance(self, account: Account) -> list[Body]:
        if not account.prepaid:
            raise Refusal(403)
        package = 0 if account.empty else PACKAGE
        return [
            {"usage": name, "value": max(0, package - self._spent[account.id, name])}
            for name, model in MODELS.items()
            if model.kind in ("chat", "embedder") and not model.serves
        ]

    def _in_slot(self, request: SandboxRequest, account: Account, work: Work) -> SandboxResponse:
        response = self.slots.hold(account.id, account.streams, lambda: work(request, account))
        if response is None:
            raise Refusal(429)
        return response

    def _chat(self, request: SandboxRequest, account: Account) -> SandboxResponse:
        body = _body(request)
        model = model_named(body.get("model"), "chat")
        check_chat(body)
        if account.empty:
            raise Refusal(402)
        session = request.headers.get("x-session-id")
        cached = 0
        if session:
            cached = self._sessions.known((account.id, session, model.id), body["messages"])
        answer = compose(body, model, cached)
        if body.get("stream"):
            return self._stream(answer, account)
        self._charge_chat(account, answer, answer.completion, streamed=False)
        response = json_response(completion(answer))
        response.delay = answer.script.wish.pause * len(phrases(answer.text, PHRASE))
        return response

    def _stream(self, answer: Answer, account: Account) -> SandboxResponse:
        frames, costs = stream(answer)

        def charge(sent: int) -> None:
            spoken = costs[min(sent, len(costs)) - 1] if sent else 0
            self._charge_chat(account, answer, spoken, streamed=True)

        return SandboxResponse(
            headers={"content-type": self.stream_type},
            frames=frames,
            stream_pause=answer.script.wish.pause,
            on_close=charge,
        )

    def _embeddings(self, request: SandboxRequest, account: Account) -> SandboxResponse:
        body = _body(request)
        model = model_named(body.get("model"), "embedder")
        texts = _texts(body)
        if account.empty:
            raise Refusal(402)
        data = [_embedding(index, text, model) for index, text in enumerate(texts)]
        tokens = sum(map(count_tokens, texts))
        self._spent[account.id, model.id] += tokens
        self.bill.append(Charge(self.name, model.id, "embeddings", tokens, 0, key=account.id))
        return json_response({"object": "list", "model": model.id, "data": data})

    def _count(self, request: SandboxRequest, _: Account) -> SandboxResponse:
        body = _body(request)
        model_named(body.get("model"))
        rows = [
            {"object": "tokens", "tokens": count_tokens(text), "characters": len(text)}
            for text in _texts(body)
        ]
        return json_response(rows)

    def _charge_chat(
        self, account: Account, answer: Answer, spoken: int, *, streamed: bool
    ) -> None:
        """Write it on the bill; what came from the cache is not taken from the package."""
        served = answer.model.serves or answer.model.id
        self._spent[account.id, served] += answer.prompt - answer.cached + spoken
        self.bill.append(
            Charge(self.name, served, "chat", answer.prompt, spoken, streamed, account.id)
        )


def _headers(request: SandboxRequest) -> dict[str, str]:
    return {
        "x-request-id": request.headers.get("x-request-id") or str(uuid4()),
        "x-session-id": request.headers.get("x-session-id") or str(uuid4()),
    }


def _only(request: SandboxRequest, method: str) -> None:
    if request.method != method:
        raise Refusal(405)


def _body(request: SandboxRequest) -> Body:
    try:
        body = request.json()
    except ValueError:
        raise Refusal(400, INVALID_JSON) from None
    if not isinstance(body, dict):
        raise Refusal(400, INVALID_JSON)
    return body


def _texts(body: Body) -> list[str]:
    """The input: texts, or one text."""
    given = body.get("input")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts:
        raise invalid("input must be a non-empty array of strings")
    if not all(isinstance(text, str) for text in texts):
        raise invalid("input must be an array of strings")
    return texts


def _embedding(index: int, text: str, model: Model) -> Body:
    tokens = count_tokens(text)
    if tokens > model.context:
        raise Refusal(413)
    floats = vector(f"{model.id} {text}", model.dimensions, model.dimensions)
    return {
        "object": "embedding",
        "index": index,
        "embedding": floats.tolist(),
        "usage": {"prompt_tokens": tokens},
    }
