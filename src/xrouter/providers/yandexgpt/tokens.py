"""The provider's tokenizer, which is free and knows only the provider's own chat models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from xrouter.domain.answer import ChatDelta, Usage
from xrouter.domain.chat import FunctionCall
from xrouter.domain.counting import TokenCount
from xrouter.domain.errors import UpstreamMalformed, XRouterError
from xrouter.providers.yandexgpt.payload import read_object
from xrouter.wire.types import Errand, WireReply, WireRequest

Post = Callable[[str, dict[str, Any]], WireRequest]
"""Makes a native request of a method's name and a body."""

Refuse = Callable[[WireReply], XRouterError]

_MOST_CHARS = 100_000
"""What the tokenizer is sent of an answer: longer texts are refused there (inferred)."""


class Tokenizer:
    """Of one model. refuse: reads an answer of status >= 300."""

    def __init__(self, post: Post, refuse: Refuse, uri: str) -> None:
        self._post = post
        self._refuse = refuse
        self._uri = uri

    def texts(self, texts: Sequence[str]) -> Errand[TokenCount]:
        """Tokens of each text, asked one by one; an empty text is not sent, it has none."""
        parts: list[int] = []
        for text in texts:
            tokens = (yield from self._ask(self._text(text))) if text else 0
            parts.append(tokens)
        return TokenCount(tuple(parts))

    def prompt(self, body: dict[str, Any]) -> Errand[TokenCount]:
        """Tokens of the prompt that a completion's body makes, the chat template included."""
        tokens = yield from self._ask(self._post("tokenizeCompletion", body))
        return TokenCount((tokens,))

    def usage(
        self, body: Callable[[], dict[str, Any]], text: str, calls: Sequence[FunctionCall]
    ) -> Errand[list[ChatDelta]]:
        """The usage of an answer that told none, [] when it cannot be found out.

        body: makes the body that the same request would have as a native completion.
        How calls are written for the model is not known: with them it is an estimate.
        """
        said = text + "".join(f"{call.name}\n{call.arguments}\n" for call in calls)
        if len(said) > _MOST_CHARS:
            return []
        try:
            prompt = yield from self._ask(self._post("tokenizeCompletion", body()))
            answer = (yield from self._ask(self._text(said))) if said else 0
        except XRouterError:
            return []
        usage = Usage(prompt_tokens=prompt, completion_tokens=answer, estimated=bool(calls))
        return [ChatDelta(usage=usage)]

    def _text(self, text: str) -> WireRequest:
        return self._post("tokenize", {"modelUri": self._uri, "text": text})

    def _ask(self, wire: WireRequest) -> Errand[int]:
        reply = yield wire
        if reply.status >= 300:  # noqa: PLR2004 - HTTP
            raise self._refuse(reply)
        tokens = read_object(reply.body).get("tokens")
        if not isinstance(tokens, list):
            raise UpstreamMalformed("The provider's tokenizer answered without tokens.")
        return len(tokens)
