"""The models that the simulated llama.cpp servers have loaded: their facts and tokens."""

from __future__ import annotations

import time
from typing import Any

from msgspec import Struct

from xrouter.sandbox.generate import tokens_of
from xrouter.sandbox.llamacpp_templates import (
    CHATML,
    GEMMA_2,
    GEMMA_3,
    NEMO,
    NO_TOOLS,
    Template,
)

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


class Loaded(Struct, frozen=True):
    """A model that a server has."""

    name: str
    template: Template = CHATML
    vision: bool = False


QWEN = Loaded(ALIAS)
ROUTED = {
    model.name: model
    for model in (
        QWEN,
        Loaded("gemma-2-9b-it", GEMMA_2),
        Loaded("gemma-3-4b-it", GEMMA_3, vision=True),
        Loaded("nemo-12b-instruct", NEMO),
        Loaded("tinyllama-1.1b-chat", NO_TOOLS),
    )
}
"""The models of a server that has several."""


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
    entry = _entry(QWEN)
    named = {"name": ALIAS, "model": ALIAS, "capabilities": ["completion"]}
    return {"models": [named], "object": "list", "data": [entry]}


def routed_models() -> dict[str, Any]:
    """GET /v1/models of a server of several, which all are loaded."""
    return {"object": "list", "data": [_routed(model) for model in ROUTED.values()]}


def _routed(model: Loaded) -> dict[str, Any]:
    seen = ["text", "image"] if model.vision else ["text"]
    return _entry(model) | {
        "aliases": [],
        "status": {"value": "loaded", "args": ["llama-server", "--alias", model.name]},
        "architecture": {"input_modalities": seen, "output_modalities": ["text"]},
        "source": "models_dir",
        "can_remove": False,
    }


def _entry(model: Loaded) -> dict[str, Any]:
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
    return {
        "id": model.name,
        "aliases": [model.name],
        "tags": [],
        "object": "model",
        "created": _STARTED,
        "owned_by": "llamacpp",
        "meta": meta,
    }


def router_props() -> dict[str, Any]:
    """GET /props of a server of several models, when none is named."""
    return {
        "role": "router",
        "max_instances": 4,
        "models_autoload": True,
        "model_alias": "llama-server",
        "model_path": "none",
        "default_generation_settings": {"params": None, "n_ctx": 0},
        "ui_settings": {},
        "build_info": BUILD,
        "cors_proxy_enabled": False,
    }


def props(model: Loaded) -> dict[str, Any]:
    """GET /props."""
    return {
        "default_generation_settings": {"params": settings({}), "n_ctx": CONTEXT},
        "total_slots": SLOTS,
        "model_alias": model.name,
        "model_path": f"/models/{model.name}-Q4_K_M.gguf",
        "model_ftype": "Q4_K - Medium",
        "modalities": {"vision": model.vision, "audio": False, "video": False},
        "media_marker": "<__media__>",
        "chat_template": model.template.source,
        "chat_template_caps": model.template.caps,
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
