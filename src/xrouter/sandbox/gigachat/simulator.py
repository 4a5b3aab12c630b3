"""The simulated GigaChat: hosts, routes, tokens, slots, packages. Chats are in `chat` and `v2`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar
from uuid import uuid4

from msgspec import Struct
from typing_extensions import override

from xrouter.sandbox.generate import vector
from xrouter.sandbox.gigachat import speech, v2, v2_checks
from xrouter.sandbox.gigachat.attachments import attached
from xrouter.sandbox.gigachat.chat import PHRASE, Answer, Question, compose
from xrouter.sandbox.gigachat.checks import check_chat
from xrouter.sandbox.gigachat.errors import INVALID_JSON, Refusal, invalid
from xrouter.sandbox.gigachat.extras import (
    check_ai,
    check_filter,
    convert_functions,
    validate_function,
)
from xrouter.sandbox.gigachat.files import Shelf
from xrouter.sandbox.gigachat.jpeg import picture
from xrouter.sandbox.gigachat.models import MODELS, OLD_MODELS, Model, model_named
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
CHAT_MAX = 20 << 20
"""Bytes of a request."""
_OLD, _NEW = "/api/v1", "/v1"
_SECOND = "/v2/chat/completions"
_OAUTH = "/api/v2/oauth"
_EXPIRE = "/_tokens/expire"

Body = dict[str, Any]


class Asking(Struct):
    """A request, whose it is, and the models of the host it came to."""

    request: SandboxRequest
    account: Account
    models: dict[str, Model]


Work = Callable[[Asking], SandboxResponse]


class GigaChatSimulator(Simulator):
    """GigaChat: its old host under /gigachat/api/v1, its new one under /gigachat/v1 and /v2.

    The new host has the models of the third generation, which alone know `response_format`, and
    the second chat contract; the old one gives tokens for users and passwords. Keys are taken at
    /gigachat/api/v2/oauth: base64 of any-id:sandbox; users have the password `sandbox`.
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
        self.shelf = Shelf(clock)
        self._sessions = SessionCache()
        self._spent: Counter[tuple[str, str]] = Counter()
        self._works: dict[str, Work] = {
            "/chat/completions": self._chat,
            "/embeddings": self._embeddings,
            "/tokens/count": self._count,
            "/ai/check": lambda asking: check_ai(_body(asking.request), asking.models),
            "/filter/check": lambda asking: check_filter(_body(asking.request), asking.models),
            "/functions/validate": lambda asking: validate_function(_body(asking.request)),
            "/functions/convert": lambda asking: convert_functions(asking.request),
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
        if request.path == f"{_OLD}/token":
            _only(request, "POST")
            return self.tokens.issue_to_user(request)
        if request.path == _SECOND:
            return self._work(self._asking(request, MODELS), self._second_chat)
        for base, models in ((_OLD, OLD_MODELS), (_NEW, MODELS)):
            if request.path.startswith(f"{base}/"):
                return self._first(self._asking(request, models), request.path.removeprefix(base))
        raise Refusal(404, "Not Found")

    def _asking(self, request: SandboxRequest, models: dict[str, Model]) -> Asking:
        return Asking(request, self.tokens.account_of(request), models)

    def _first(self, asking: Asking, path: str) -> SandboxResponse:
        """What belongs to the first contract, and to both."""
        if path == "/files" or path.startswith("/files/"):
            return self.shelf.answer(asking.request, path, asking.account.id)
        if path in self._works:
            return self._work(asking, self._works[path])
        _only(asking.request, "GET")
        if path == "/models":
            rows = [model.row() for model in asking.models.values()]
            return json_response({"object": "list", "data": rows})
        if path.startswith("/models/"):
            name = path.removeprefix("/models/")
            return json_response(model_named(asking.models, name).row())
        if path == "/balance":
            return json_response({"balance": self._balance(asking)})
        raise Refusal(404, "Not Found")

    def _balance(self, asking: Asking) -> list[Body]:
        account = asking.account
        if not account.prepaid:
            raise Refusal(403)
        package = 0 if account.empty else PACKAGE
        return [
            {"usage": name, "value": max(0, package - self._spent[account.id, name])}
            for name, model in asking.models.items()
            if model.kind in ("chat", "embedder") and not model.serves
        ]

    def _work(self, asking: Asking, work: Work) -> SandboxResponse:
        """Do it in one of the account's slots."""
        _only(asking.request, "POST")
        account = asking.account
        response = self.slots.hold(account.id, account.streams, lambda: work(asking))
        if response is None:
            raise Refusal(429)
        return response

    def _chat(self, asking: Asking) -> SandboxResponse:
        body = _chat_body(asking.request)
        model = model_named(asking.models, body.get("model"), "chat")
        check_chat(body, model)
        own = body.get("function_call") == "auto" and not body.get("functions")
        question = Question(
            body=body,
            model=model,
            files=attached(body["messages"], model, self.shelf, asking.account.id),
            draw=self._artist(asking) if own else None,
        )
        answer = self._compose(asking, question)
        if body.get("stream"):
            return self._stream(asking, answer, *speech.stream(answer))
        return self._whole(asking, answer, speech.completion(answer))

    def _second_chat(self, asking: Asking) -> SandboxResponse:
        body = _chat_body(asking.request)
        model = model_named(asking.models, body.get("model"), "chat")
        v2_checks.check_chat(body, model)
        question = v2.question_of(body, model)
        question.files = v2.files_of(body, model, self.shelf, asking.account.id)
        question.draw = self._artist(asking) if v2.draws(body) else None
        answer = self._compose(asking, question)
        if body.get("stream"):
            return self._stream(asking, answer, *v2.stream(answer, body))
        return self._whole(asking, answer, v2.completion(answer, body))

    def _compose(self, asking: Asking, question: Question) -> Answer:
        if asking.account.empty:
            raise Refusal(402)
        session = asking.request.headers.get("x-session-id")
        if session:
            known = (asking.account.id, session, question.model.id)
            question.cached = self._sessions.known(known, question.body["messages"])
        return compose(question)

    def _artist(self, asking: Asking) -> Callable[[str], str]:
        client = asking.request.headers.get("x-client-id")
        add = partial(self.shelf.add_picture, account=asking.account.id, client=client)
        return lambda text: add(picture(text))

    def _whole(self, asking: Asking, answer: Answer, told: Body) -> SandboxResponse:
        self._charge_chat(asking.account, answer, answer.completion, streamed=False)
        response = json_response(told)
        response.delay = answer.script.wish.pause * len(phrases(answer.said.text, PHRASE))
        return response

    def _stream(
        self, asking: Asking, answer: Answer, frames: list[bytes], costs: list[int]
    ) -> SandboxResponse:
        def charge(sent: int) -> None:
            spoken = costs[min(sent, len(costs)) - 1] if sent else 0
            self._charge_chat(asking.account, answer, spoken, streamed=True)

        return SandboxResponse(
            headers={"content-type": self.stream_type},
            frames=frames,
            stream_pause=answer.script.wish.pause,
            on_close=charge,
        )

    def _embeddings(self, asking: Asking) -> SandboxResponse:
        body, account = _body(asking.request), asking.account
        model = model_named(asking.models, body.get("model"), "embedder")
        texts = _texts(body)
        if account.empty:
            raise Refusal(402)
        data = [_embedding(index, text, model) for index, text in enumerate(texts)]
        tokens = sum(map(count_tokens, texts))
        self._spent[account.id, model.id] += tokens
        self.bill.append(Charge(self.name, model.id, "embeddings", tokens, 0, key=account.id))
        return json_response({"object": "list", "model": model.id, "data": data})

    def _count(self, asking: Asking) -> SandboxResponse:
        body = _body(asking.request)
        model_named(asking.models, body.get("model"))
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
    client = request.headers.get("x-client-id")
    return {
        "x-request-id": request.headers.get("x-request-id") or str(uuid4()),
        "x-session-id": request.headers.get("x-session-id") or str(uuid4()),
    } | ({"x-client-id": client} if client else {})


def _only(request: SandboxRequest, method: str) -> None:
    if request.method != method:
        raise Refusal(405)


def _chat_body(request: SandboxRequest) -> Body:
    if len(request.body) > CHAT_MAX:
        raise Refusal(413)
    return _body(request)


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
