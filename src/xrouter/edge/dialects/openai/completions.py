"""Legacy completions: a prompt is put to the model as what a user says."""

from __future__ import annotations

import time
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct
from typing_extensions import override

from xrouter.domain.answer import ChatAnswer, ChatDelta, Choice, Usage
from xrouter.domain.chat import ChatRequest, Fields
from xrouter.domain.errors import InvalidRequest, XRouterError
from xrouter.domain.ports import Served
from xrouter.edge.dialects.openai.chat import read_chat
from xrouter.edge.mistakes import DECODE_ERRORS, explain, missing
from xrouter.edge.voice import Voice, encode

DEFAULT_TOKENS = 16
"""OpenAI's, for requests that name no limit."""

DONE = b"data: [DONE]\n\n"
_OBJECT = "text_completion"
_OURS = frozenset({"prompt", "suffix", "echo", "best_of", "logprobs", "max_tokens"})


class CompletionBody(Struct, kw_only=True):
    """A prompt to be continued. prompt: one text. logprobs: how many alternatives to tell."""

    model: Annotated[str, Meta(min_length=1, max_length=512)]
    prompt: Any = None
    suffix: str | None = None
    echo: bool | None = None
    best_of: int | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    logprobs: Annotated[int, Meta(ge=0, le=5)] | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    stream: bool | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None


class Asked(Struct):
    """A chat request that stands for the prompt. echo: what is put before each answer."""

    chat: ChatRequest
    echo: str


class CompletionText(Struct, kw_only=True):
    """One alternative."""

    text: str
    index: int
    logprobs: Any = None
    finish_reason: str | None


class TextCompletion(Struct, kw_only=True):
    """A whole answer. created: unix seconds."""

    id: str
    object: str = _OBJECT
    created: int
    model: str
    choices: list[CompletionText]
    usage: dict[str, Any] | None = None


_body = msgspec.json.Decoder(CompletionBody)
_fields = msgspec.json.Decoder(Fields)


def read_completion(body: bytes) -> Asked:
    """A checked request. Raises InvalidRequest that names the parameter at fault."""
    try:
        if not body.isascii():
            body.decode()
        fields = _fields.decode(body)
        parsed = _body.decode(body)
    except DECODE_ERRORS as error:
        raise explain(error) from None
    prompt = _prompt(parsed.prompt)
    if parsed.suffix:
        raise _unsupported("suffix", "Text cannot be filled in before a suffix here.")
    if parsed.best_of is not None and parsed.best_of > (parsed.n or 1):
        raise _unsupported("best_of", "'best_of' beyond 'n' is not supported.")
    chat: dict[str, Any] = {name: value for name, value in fields.items() if name not in _OURS}
    chat["messages"] = [{"role": "user", "content": prompt}]
    chat["max_tokens"] = parsed.max_tokens or DEFAULT_TOKENS
    if parsed.logprobs is not None:
        chat |= {"logprobs": True, "top_logprobs": parsed.logprobs}
    return Asked(read_chat(encode(chat)), prompt if parsed.echo else "")


def completion_voice(asked: Asked, serial: str) -> Voice:
    """The voice for one request. serial: the ULID of the visit."""
    name = "cmpl-" + serial
    return StreamVoice(name, asked) if asked.chat.streaming else WholeVoice(name, asked.echo)


def _prompt(given: Any) -> str:
    if given is None:
        raise missing("prompt")
    if isinstance(given, list) and len(given) == 1:
        given = given[0]
    if isinstance(given, str) and given:
        return given
    if isinstance(given, list) and given and all(isinstance(one, str) for one in given):
        raise _unsupported("prompt", "Only one prompt a request is supported.")
    raise _unsupported("prompt", "'prompt' must be a text that is not empty; tokens are not read.")


def _unsupported(param: str, message: str) -> InvalidRequest:
    return InvalidRequest(message, code="unsupported_value", param=param)


class WholeVoice(Voice):
    """Answers with one object."""

    def __init__(self, name: str, echo: str) -> None:
        self._name = name
        self._echo = echo

    @override
    def answer(self, answer: ChatAnswer, served: Served) -> bytes:
        return encode(
            TextCompletion(
                id=self._name,
                created=int(time.time()),
                model=served.model,
                choices=[self._choice(choice) for choice in answer.choices],
                usage=None if answer.usage is None else answer.usage.openai(),
            )
        )

    def _choice(self, choice: Choice) -> CompletionText:
        return CompletionText(
            text=self._echo + (choice.message.content or ""),
            index=choice.index,
            logprobs=_likelihoods(choice.logprobs),
            finish_reason=choice.finish_reason,
        )


class StreamVoice(Voice):
    """Answers with chunks of the same shape."""

    streaming = True

    def __init__(self, name: str, asked: Asked) -> None:
        self._name = name
        self._echo = asked.echo
        self._with_usage = asked.chat.include_usage
        self._created = int(time.time())
        self._model = asked.chat.model
        self._begun: set[int] = set()

    @override
    def start(self, served: Served) -> bytes:
        self._model = served.model
        return b""

    @override
    def deltas(self, deltas: list[ChatDelta]) -> bytes:
        return b"".join(self._frame([self._choice(delta)]) for delta in deltas if _says(delta))

    @override
    def end(self, usage: Usage | None) -> bytes:
        last = self._frame([], usage) if self._with_usage and usage is not None else b""
        return last + DONE

    @override
    def fail(self, error: XRouterError) -> bytes:
        return b"data: %b\n\n" % encode(error.body()) + DONE

    def _choice(self, delta: ChatDelta) -> CompletionText:
        echo = "" if delta.choice in self._begun else self._echo
        self._begun.add(delta.choice)
        return CompletionText(
            text=echo + (delta.text or ""),
            index=delta.choice,
            logprobs=_likelihoods(delta.logprobs),
            finish_reason=delta.finish_reason,
        )

    def _frame(self, choices: list[CompletionText], usage: Usage | None = None) -> bytes:
        chunk = TextCompletion(
            id=self._name,
            created=self._created,
            model=self._model,
            choices=choices,
            usage=None if usage is None else usage.openai(),
        )
        return b"data: %b\n\n" % encode(chunk)


def _says(delta: ChatDelta) -> bool:
    return bool(delta.text) or delta.finish_reason is not None


def _likelihoods(given: Any) -> dict[str, Any] | None:
    """Chat's log probabilities in the older shape; offsets count characters of the answer."""
    content = given.get("content") if isinstance(given, dict) else None
    if not isinstance(content, list):
        return None
    told: dict[str, list[Any]] = {
        "tokens": [],
        "token_logprobs": [],
        "top_logprobs": [],
        "text_offset": [],
    }
    offset = 0
    for each in content:
        token = str(each.get("token", ""))
        told["tokens"].append(token)
        told["token_logprobs"].append(each.get("logprob"))
        top = each.get("top_logprobs") or ()
        told["top_logprobs"].append({str(one.get("token")): one.get("logprob") for one in top})
        told["text_offset"].append(offset)
        offset += len(token)
    return told
