"""The simulated Yandex Cloud: routes of its APIs, slots and prices."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Any, ClassVar
from uuid import uuid4

import msgspec
from typing_extensions import override

from xrouter.sandbox.kit import (
    Charge,
    SandboxRequest,
    SandboxResponse,
    Simulator,
    count_tokens,
    json_response,
)
from xrouter.sandbox.script import Slots, phrases
from xrouter.sandbox.yandex import compatible, native
from xrouter.sandbox.yandex.accounts import Accounts, AuthorizedKey, check_folder_header
from xrouter.sandbox.yandex.compatible_read import read_chat, read_embeddings
from xrouter.sandbox.yandex.drawing import read_order
from xrouter.sandbox.yandex.errors import (
    DENIED,
    EXHAUSTED,
    INVALID,
    NOT_FOUND,
    Refusal,
    Shape,
    of_status,
    plain,
    response_of,
    streaming,
    unary,
)
from xrouter.sandbox.yandex.errors import compatible as compatible_shape
from xrouter.sandbox.yandex.models import FOLDER, OPEN, Chosen, rows
from xrouter.sandbox.yandex.native_read import read_completion, read_embedding, read_tokenize
from xrouter.sandbox.yandex.operations import Operations
from xrouter.sandbox.yandex.speech import Ask, Said, say, too_long

ANSWERS_AT_ONCE = 10
"""Generations of the folder that may run at the same time."""
METADATA = "/computeMetadata/v1/instance/service-accounts/default/token"
_NATIVE = "/foundationModels/v1/"
_QUOTA = (
    "ai.textGenerationCompletionSessionsCount.count gauge quota limit exceed:"
    f" allowed {ANSWERS_AT_ONCE} requests"
)

Body = dict[str, Any]
Work = Callable[[SandboxRequest], SandboxResponse]


class YandexSimulator(Simulator):
    """Yandex AI Studio under /yandex: native, compatible and IAM APIs; keys: AQVN-sandbox...

    The metadata service of a machine with a service account is there, too.

    GET /yandex/_accounts/key is an authorized key to sign a JWT with; POST /yandex/_accounts
    registers another; POST /yandex/_accounts/expire ends all IAM tokens. A native stream is lines
    of JSON, a compatible one events.
    """

    name: ClassVar[str] = "yandex"
    call_headers: ClassVar[tuple[str, ...]] = ("x-request-id", "x-server-trace-id")
    environment: ClassVar[dict[str, str]] = {
        "YANDEX_API_KEY": "AQVN-sandbox",
        "YANDEX_FOLDER_ID": "b1gsandbox0000000000",
        "YANDEX_BASE_URL": "{origin}/yandex",
        "YANDEX_IAM_URL": "{origin}/yandex/iam/v1/tokens",
    }
    stream_type: ClassVar[str] = "application/json"

    def __init__(self, bill: list[Charge], clock: Callable[[], float] = time.time) -> None:
        super().__init__(bill)
        self.accounts = Accounts(clock)
        self.slots = Slots()
        self._operations = Operations(clock)
        self._works: dict[str, tuple[str, Work]] = {
            f"{_NATIVE}completion": ("POST", self._completion),
            f"{_NATIVE}completionAsync": ("POST", self._completion_async),
            f"{_NATIVE}imageGenerationAsync": ("POST", self._draw),
            f"{_NATIVE}tokenize": ("POST", self._tokenize),
            f"{_NATIVE}tokenizeCompletion": ("POST", self._tokenize_completion),
            f"{_NATIVE}textEmbedding": ("POST", self._text_embedding),
            "/v1/models": ("GET", self._models),
            "/v1/chat/completions": ("POST", self._chat),
            "/v1/embeddings": ("POST", self._embeddings),
            "/iam/v1/tokens": ("POST", self._iam_token),
            METADATA: ("GET", self._metadata_token),
            "/_accounts": ("POST", self._register),
            "/_accounts/key": ("GET", self._own_key),
            "/_accounts/expire": ("POST", self._expire),
        }

    @override
    async def handle(self, request: SandboxRequest) -> SandboxResponse:
        """Answer as the real service does."""
        try:
            response = self._route(request)
        except Refusal as refusal:
            response = response_of(refusal, _shape_of(request.path))
        headers = _headers(request.headers.get("x-client-request-id", "")) | response.headers
        response.headers = {name: value for name, value in headers.items() if value}
        return response

    @override
    def failure(self, status: int, message: str | None = None) -> SandboxResponse:
        """The error of this status, in the shape of native completions."""
        response = response_of(of_status(status, message), streaming)
        response.headers |= _headers("")
        return response

    @override
    def error_frame(self) -> bytes:
        """The error in a stream: as a line for the native one, then as an event for the other.

        Each reader knows its own: to a reader of events the line is a field without a meaning,
        and a reader of lines has ended before the event.
        """
        refusal = of_status(500)
        event = {"error": {"error": refusal.message}}
        line = msgspec.json.encode(streaming(refusal))
        return line + b"\ndata: " + msgspec.json.encode(event) + b"\n\n"

    def _route(self, request: SandboxRequest) -> SandboxResponse:
        if request.path.startswith("/operations/") and request.method == "GET":
            return self._operation(request)
        method, work = self._works.get(request.path, ("", None))
        if work is None or method != request.method:
            raise Refusal(NOT_FOUND)
        return work(request)

    def _in_slot(self, work: Callable[[], SandboxResponse]) -> SandboxResponse:
        response = self.slots.hold(FOLDER, ANSWERS_AT_ONCE, work)
        if response is None:
            raise Refusal(EXHAUSTED, _QUOTA)
        return response

    def _completion(self, request: SandboxRequest) -> SandboxResponse:
        key = self.accounts.of_native(request)
        return self._in_slot(lambda: self._answer_natively(request, key))

    def _answer_natively(self, request: SandboxRequest, key: str) -> SandboxResponse:
        ask, streamed = read_completion(_json(request))
        said = say(ask)
        charge = self._charge(ask, said, "chat", key, streamed=streamed)
        if not streamed:
            self.bill.append(charge)
            return _slow(json_response({"result": native.completion(ask, said)}), ask, said)
        return self._streamed(native.stream(ask, said), self.stream_type, ask, charge)

    def _completion_async(self, request: SandboxRequest) -> SandboxResponse:
        key = self.accounts.of_native(request)
        ask, streamed = read_completion(_json(request))
        if streamed:
            raise Refusal(INVALID, "stream is not supported in async mode")
        said = say(ask)
        self.bill.append(self._charge(ask, said, "chat_async", key))
        response = {"@type": native.RESPONSE} | native.completion(ask, said)
        return json_response(self._operations.start(key, "Async GPT Completion", response))

    def _draw(self, request: SandboxRequest) -> SandboxResponse:
        key = self.accounts.of_native(request)
        order = read_order(_json(request))
        if order.refusal is None:
            model = f"{order.chosen.model.name}/{order.chosen.branch}"
            self.bill.append(Charge(self.name, model, "images", 0, 0, key=key))
        return json_response(self._operations.start(key, "", order.refusal or order.response()))

    def _operation(self, request: SandboxRequest) -> SandboxResponse:
        self.accounts.of_native(request)
        operation_id, _, verb = request.path.removeprefix("/operations/").partition(":")
        if verb not in ("", "cancel"):
            raise Refusal(NOT_FOUND)
        act = self._operations.cancel if verb else self._operations.show
        return json_response(act(operation_id))

    def _tokenize(self, request: SandboxRequest) -> SandboxResponse:
        self.accounts.of_native(request)
        chosen, text = read_tokenize(_json(request))
        return json_response(native.tokens(chosen, text))

    def _tokenize_completion(self, request: SandboxRequest) -> SandboxResponse:
        self.accounts.of_native(request)
        ask, _ = read_completion(_json(request))
        text = ask.script.wish.text
        template = ask.prompt - count_tokens(text)
        return json_response(native.tokens(ask.chosen, text, template))

    def _text_embedding(self, request: SandboxRequest) -> SandboxResponse:
        key = self.accounts.of_native(request)
        chosen, text = read_embedding(_json(request))
        tokens = self._embed(chosen, text, key)
        floats = native.embedding(chosen, text)
        answer = {"embedding": floats, "numTokens": str(tokens), "modelVersion": chosen.version}
        return json_response(answer)

    def _models(self, request: SandboxRequest) -> SandboxResponse:
        self._compatible_key(request)
        return json_response({"object": "list", "data": rows()})

    def _chat(self, request: SandboxRequest) -> SandboxResponse:
        key = self._compatible_key(request)
        return self._in_slot(lambda: self._answer_compatibly(request, key))

    def _answer_compatibly(self, request: SandboxRequest, key: str) -> SandboxResponse:
        body = _json(request)
        ask = read_chat(body)
        said = say(ask)
        turn = compatible.turn_of(ask, said)
        streamed: bool = body.get("stream") or False
        charge = self._charge(ask, said, "chat", key, streamed=streamed)
        if streamed:
            response = self._streamed(compatible.stream(turn), "text/event-stream", ask, charge)
        else:
            self.bill.append(charge)
            response = _slow(json_response(compatible.completion(turn)), ask, said)
        if turn.family == OPEN:
            response.headers["x-request-id"] = ""
        return response

    def _embeddings(self, request: SandboxRequest) -> SandboxResponse:
        key = self._compatible_key(request)
        chosen, text = read_embeddings(_json(request))
        tokens = self._embed(chosen, text, key)
        floats = native.embedding(chosen, text)
        return json_response(
            {
                "object": "list",
                "model": chosen.uri,
                "data": [{"index": 0, "embedding": floats, "object": "embedding"}],
                "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
            }
        )

    def _compatible_key(self, request: SandboxRequest) -> str:
        try:
            check_folder_header(request, "openai-project")
        except Refusal:
            raise Refusal(DENIED, "Forbidden") from None
        return self.accounts.of_compatible(request)

    def _iam_token(self, request: SandboxRequest) -> SandboxResponse:
        return json_response(self.accounts.exchange(_json(request)))

    def _metadata_token(self, request: SandboxRequest) -> SandboxResponse:
        return json_response(self.accounts.of_the_machine(request))

    def _register(self, request: SandboxRequest) -> SandboxResponse:
        try:
            key = msgspec.json.decode(request.body, type=AuthorizedKey)
        except ValueError as error:
            raise Refusal(INVALID, str(error)) from error
        self.accounts.register(key)
        return json_response({"folder_id": FOLDER, "id": key.id}, 201)

    def _own_key(self, _: SandboxRequest) -> SandboxResponse:
        return json_response(self.accounts.own_key())

    def _expire(self, _: SandboxRequest) -> SandboxResponse:
        return json_response({"expired": self.accounts.expire_all()})

    def _embed(self, chosen: Chosen, text: str, key: str) -> int:
        """Charge for a text's vector; answers its tokens."""
        tokens = count_tokens(text)
        if tokens > chosen.model.context:
            raise too_long(chosen.model.context, tokens)
        model = chosen.model.name
        self.bill.append(Charge(self.name, model, "embeddings", tokens, 0, key=key))
        return tokens

    def _charge(
        self, ask: Ask, said: Said, operation: str, key: str, *, streamed: bool = False
    ) -> Charge:
        model = f"{ask.chosen.model.name}/{ask.chosen.branch}"
        return Charge(self.name, model, operation, ask.prompt, said.tokens, streamed, key)

    def _streamed(
        self, frames: list[bytes], content_type: str, ask: Ask, charge: Charge
    ) -> SandboxResponse:
        """A stream; it is charged in full even when the client leaves."""
        return SandboxResponse(
            headers={"content-type": content_type},
            frames=frames,
            stream_pause=ask.script.wish.pause,
            on_close=lambda _: self.bill.append(charge),
        )


def _shape_of(path: str) -> Shape:
    """The shape of errors on this path."""
    if path.startswith("/v1/"):
        return compatible_shape
    if path.startswith("/iam/"):
        return plain
    return streaming if path == f"{_NATIVE}completion" else unary


def _headers(client_request_id: str) -> dict[str, str]:
    """Those of every answer; empty ones are not sent."""
    return {
        "server": "ycalb",
        "x-request-id": str(uuid4()),
        "x-server-trace-id": f"{secrets.token_hex(8)}:{secrets.token_hex(8)}:0:1",
        "x-client-request-id": client_request_id,
    }


def _json(request: SandboxRequest) -> Body:
    try:
        body = request.json()
    except ValueError as error:
        raise Refusal(INVALID, f"invalid JSON: {error}") from error
    if not isinstance(body, dict):
        raise Refusal(INVALID, "the body must be a JSON object")
    return body


def _slow(response: SandboxResponse, ask: Ask, said: Said) -> SandboxResponse:
    """The response after the pauses that its stream would have had."""
    response.delay = ask.script.wish.pause * len(phrases(said.text, native.PHRASE))
    return response
