"""The simulated llama.cpp server's own routes: completion, tokens, embeddings."""

from __future__ import annotations

import base64
from array import array
from typing import Any

import msgspec

from xrouter.sandbox.generate import (
    Wish,
    cut,
    little_endian,
    number_of,
    reply,
    vector,
    wish_of,
)
from xrouter.sandbox.kit import count_tokens
from xrouter.sandbox.llamacpp_chat import count_of, room, stops_of
from xrouter.sandbox.llamacpp_errors import ServerError
from xrouter.sandbox.llamacpp_model import (
    ALIAS,
    BATCH,
    DIMENSIONS,
    EMBEDDER,
    Vocabulary,
    settings,
    timings,
)

Body = dict[str, Any]


class Completion:
    """One native completion: text is continued with what the simulator has to say."""

    def __init__(self, body: Body, prompt: str, index: int) -> None:
        self.body = body
        self.prompt = prompt
        self.index = index
        self.wish: Wish = wish_of(prompt)
        self.evaluated = count_tokens(prompt)
        limit = room(body, self.evaluated)
        text = reply(ALIAS, self.wish, [])
        stops = stops_of(body)
        self.tokens, self.finish = cut(text, stops, limit)
        found = [stop for stop in stops if stop and stop in text]
        self._word = min(found, key=text.find) if found and self.finish == "stop" else ""

    def whole(self, content: str | None = None) -> Body:
        """The full object; a stream's last frame has it with empty content."""
        done = "word" if self._word else "eos"
        numbers = timings(self.evaluated, min(self.wish.cached, self.evaluated), len(self.tokens))
        return {
            "index": self.index,
            "content": "".join(self.tokens) if content is None else content,
            "tokens": [],
            "id_slot": self.index,
            "stop": True,
            "model": ALIAS,
            "tokens_predicted": len(self.tokens),
            "tokens_evaluated": self.evaluated,
            "generation_settings": settings(self.body),
            "prompt": self.prompt,
            "has_new_line": "\n" in "".join(self.tokens),
            "truncated": False,
            "stop_type": "limit" if self.finish == "length" else done,
            "stopping_word": self._word,
            "tokens_cached": self.evaluated + len(self.tokens),
            "timings": numbers,
        }

    def frames(self) -> list[bytes]:
        """One frame for each token, and the full object; there is no [DONE] on this route."""
        pieces = [self._piece(count, token) for count, token in enumerate(self.tokens, 1)]
        return [_frame(chunk) for chunk in [*pieces, self.whole("")]]

    def _piece(self, count: int, token: str) -> Body:
        return {
            "index": self.index,
            "content": token,
            "tokens": [number_of(token) % 100_000],
            "stop": False,
            "id_slot": self.index,
            "tokens_predicted": count,
            "tokens_evaluated": self.evaluated,
        }


def _frame(chunk: Body) -> bytes:
    return b"data: " + msgspec.json.encode(chunk) + b"\n\n"


def completions(body: Body, vocabulary: Vocabulary) -> list[Completion]:
    """A completion for each prompt, `n` times. Raises ServerError."""
    if "prompt" not in body:
        raise ServerError(400, "[json.exception.out_of_range.403] key 'prompt' not found")
    given = body["prompt"]
    if given == []:
        raise ServerError(400, '"prompt" must not be empty')
    many = isinstance(given, list) and bool(given) and not any(isinstance(p, int) for p in given)
    prompts = given if many and isinstance(given, list) else [given]
    texts = [_prompt(one, vocabulary) for one in prompts for _ in range(count_of(body))]
    return [Completion(body, text, index) for index, text in enumerate(texts)]


def _prompt(given: Any, vocabulary: Vocabulary) -> str:
    """A prompt is text, tokens, both mixed, or an object with `prompt_string`."""
    if isinstance(given, str):
        return given
    if isinstance(given, dict) and isinstance(given.get("prompt_string"), str):
        return str(given["prompt_string"])
    if isinstance(given, list):
        return "".join(
            vocabulary.decode([part]) if isinstance(part, int) else str(part) for part in given
        )
    raise ServerError(
        400,
        '"prompt" elements must be a string, a list of tokens, a JSON object containing a prompt'
        " string, or a list of mixed strings & tokens.",
    )


def tokenize(body: Body, vocabulary: Vocabulary) -> Body:
    """POST /tokenize."""
    ids = vocabulary.encode(_text(body.get("content", "")))
    if not body.get("with_pieces"):
        return {"tokens": ids}
    return {"tokens": [{"id": one, "piece": _shown(vocabulary.piece(one))} for one in ids]}


def detokenize(body: Body, vocabulary: Vocabulary) -> Body:
    """POST /detokenize."""
    tokens = body.get("tokens", [])
    if not isinstance(tokens, list) or not all(isinstance(one, int) for one in tokens):
        raise ServerError(500, '"tokens" must be an array of integers')
    return {"content": vocabulary.decode(tokens)}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _shown(piece: bytes) -> str | list[int]:
    """Text, or the bytes where they are no text alone."""
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return list(piece)


def embeddings(body: Body, vocabulary: Vocabulary) -> tuple[list[list[float]], list[int]]:
    """Vectors and token counts. Raises ServerError."""
    given = body.get("input", body.get("content"))
    if given is None:
        raise ServerError(400, '"input" or "content" must be provided')
    one = not isinstance(given, list) or (bool(given) and isinstance(given[0], int))
    texts = [_prompt(part, vocabulary) for part in ([given] if one else given)]
    if not texts or not all(texts):
        raise ServerError(400, "Input content cannot be empty")
    counts = [count_tokens(text) for text in texts]
    if max(counts) > BATCH:
        raise ServerError(
            500,
            f"input ({max(counts)} tokens) is too large to process. increase the physical batch"
            f" size (current batch size: {BATCH})",
        )
    return [vector(text, DIMENSIONS, DIMENSIONS).tolist() for text in texts], counts


def openai_embeddings(body: Body, vectors: list[list[float]], total: int) -> Body:
    """The vectors in OpenAI's shape; base64 entries say so themselves."""
    coded = body.get("encoding_format") == "base64"
    data = []
    for index, floats in enumerate(vectors):
        entry: Body = {"embedding": floats, "index": index, "object": "embedding"}
        if coded:
            entry |= {"embedding": _base64(floats), "encoding_format": "base64"}
        data.append(entry)
    usage = {"prompt_tokens": total, "total_tokens": total}
    return {"model": EMBEDDER, "object": "list", "usage": usage, "data": data}


def _base64(floats: list[float]) -> str:
    return base64.b64encode(little_endian(array("f", floats))).decode()
