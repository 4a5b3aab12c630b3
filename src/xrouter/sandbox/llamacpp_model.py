"""The model that the simulated llama.cpp server has loaded: its facts, tokens and template."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from xrouter.sandbox.generate import text_of, tokens_of

ALIAS = "qwen3-8b"
EMBEDDER = "nomic-embed-text-v1.5"
BUILD = "b6700-0c1e57098"
SLOTS = 4
CONTEXT = 8_192
BATCH = 512
DIMENSIONS = 768
VOCABULARY = 151_936
_BYTES = 256
_STARTED = int(time.time())


class Vocabulary:
    """Tokens as numbers and back: ids are given in the order in which pieces are first met.

    The first 256 ids are bytes; they are used for what has no piece, and when all ids are given.
    """

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}
        self._pieces: list[str] = []

    def encode(self, text: str) -> list[int]:
        """The ids of a text."""
        ids: list[int] = []
        for piece in tokens_of(text) or list(text):
            known = self._id_of(piece)
            ids += [known] if known is not None else piece.encode()
        return ids

    def decode(self, ids: list[int]) -> str:
        """The text of ids; unknown ones say nothing."""
        return b"".join(map(self.piece, ids)).decode(errors="replace")

    def piece(self, token: int) -> bytes:
        """The bytes of one token."""
        if 0 <= token < _BYTES:
            return bytes([token])
        place = token - _BYTES
        return self._pieces[place].encode() if 0 <= place < len(self._pieces) else b""

    def _id_of(self, piece: str) -> int | None:
        known = self._ids.get(piece)
        if known is None and len(self._pieces) < VOCABULARY - _BYTES:
            known = self._ids[piece] = len(self._pieces) + _BYTES
            self._pieces.append(piece)
        return known


def rendered(messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> str:
    """The prompt as the template (ChatML) writes it; a last assistant message stays open."""
    turns = []
    if tools:
        listed = "\n".join(msgspec.json.encode(tool).decode() for tool in tools)
        turns.append(f"<|im_start|>system\n# Tools\n{listed}<|im_end|>\n")
    for message in messages:
        role = "system" if message["role"] == "developer" else message["role"]
        calls = [msgspec.json.encode(call["function"]).decode() for call in calls_of(message)]
        said = "\n".join([text_of(message.get("content")), *calls])
        turns.append(f"<|im_start|>{role}\n{said}<|im_end|>\n")
    if messages and messages[-1]["role"] == "assistant":
        return "".join(turns).removesuffix("<|im_end|>\n")
    return "".join(turns) + "<|im_start|>assistant\n"


def calls_of(message: dict[str, Any]) -> list[Any]:
    """The calls of a message, in whatever they came: a list, an object, or one thing alone."""
    calls = message.get("tool_calls")
    if isinstance(calls, dict):
        return list(calls.values())
    return calls if isinstance(calls, list) else [] if calls is None else [calls]


def timings(prompt: int, cached: int, predicted: int) -> dict[str, Any]:
    """How long it would have taken: half a millisecond for a prompt token, ten for a new one."""
    fresh = prompt - cached
    return {
        "cache_n": cached,
        "prompt_n": fresh,
        "prompt_ms": fresh * 0.5,
        "prompt_per_token_ms": 0.5,
        "prompt_per_second": 2000.0,
        "predicted_n": predicted,
        "predicted_ms": predicted * 10.0,
        "predicted_per_token_ms": 10.0,
        "predicted_per_second": 100.0,
    }


def models() -> dict[str, Any]:
    """GET /v1/models: both shapes in one."""
    meta = {
        "vocab_type": 2,
        "n_vocab": VOCABULARY,
        "n_ctx": CONTEXT,
        "n_ctx_train": 40_960,
        "n_embd": 4_096,
        "n_params": 8_190_735_360,
        "size": 5_021_650_944,
        "ftype": "Q4_K - Medium",
    }
    entry = {
        "id": ALIAS,
        "aliases": [ALIAS],
        "tags": [],
        "object": "model",
        "created": _STARTED,
        "owned_by": "llamacpp",
        "meta": meta,
    }
    named = {"name": ALIAS, "model": ALIAS, "capabilities": ["completion"]}
    return {"models": [named], "object": "list", "data": [entry]}


def props() -> dict[str, Any]:
    """GET /props."""
    caps = {
        "supports_string_content": True,
        "supports_typed_content": False,
        "supports_tools": True,
        "supports_tool_calls": True,
        "supports_parallel_tool_calls": True,
        "supports_system_role": True,
        "supports_preserve_reasoning": False,
        "supports_reasoning_effort": False,
        "supports_object_arguments": True,
    }
    return {
        "default_generation_settings": {"params": settings({}), "n_ctx": CONTEXT},
        "total_slots": SLOTS,
        "model_alias": ALIAS,
        "model_path": f"/models/{ALIAS}-Q4_K_M.gguf",
        "model_ftype": "Q4_K - Medium",
        "modalities": {"vision": False, "audio": False, "video": False},
        "media_marker": "<__media__>",
        "chat_template": "{% for message in messages %}...{% endfor %}",
        "chat_template_caps": caps,
        "bos_token": ",",
        "eos_token": "<|im_end|>",
        "build_info": BUILD,
        "is_sleeping": False,
        "endpoint_slots": True,
        "endpoint_props": False,
        "endpoint_metrics": False,
    }


def settings(body: dict[str, Any]) -> dict[str, Any]:
    """The sampling settings in force for a request."""
    usual = {
        "seed": -1,
        "temperature": 0.8,
        "top_k": 40,
        "top_p": 0.95,
        "min_p": 0.05,
        "repeat_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "n_predict": -1,
        "stop": [],
        "stream": False,
        "n_probs": 0,
    }
    return usual | {name: body[name] for name in usual if name in body}


def slots(busy: int) -> list[dict[str, Any]]:
    """GET /slots."""
    return [
        {
            "id": index,
            "n_ctx": CONTEXT,
            "speculative": False,
            "is_processing": index < busy,
            "params": settings({}),
            "next_token": [{"has_next_token": index < busy, "n_remain": -1, "n_decoded": 0}],
        }
        for index in range(SLOTS)
    ]
