"""The models of the simulated OpenRouter, what they cost, and which of them serves a request."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from msgspec import Struct

from xrouter.sandbox.openrouter_errors import Failure, unavailable

_USUAL = (
    "temperature", "top_p", "max_tokens", "seed", "stop", "frequency_penalty", "presence_penalty",
    "response_format", "structured_outputs", "tools", "tool_choice", "logprobs", "top_logprobs",
    "logit_bias",
)  # fmt: skip
_FEW = ("temperature", "top_p", "max_tokens", "stop")
_KNOWN_BY_NAME = frozenset(_USUAL) | {"reasoning"}
_MILLION = 1_000_000
_PAGE, _PAGE_MAX = 500, 1000


class Listed(Struct, frozen=True, kw_only=True):
    """A model and its one endpoint. Prices: US dollars a token, as text.

    author: the endpoint's name for people; tag: its slug. longest: most tokens of an answer.
    trains: whether it learns from what it is sent. dimensions: of embeddings, else 0.
    strict: whether it is particular about the order of messages and the ids of calls.
    """

    id: str
    name: str
    author: str
    tag: str
    context: int
    created: int
    prompt: str
    completion: str
    longest: int | None = 16_384
    inputs: tuple[str, ...] = ("text",)
    outputs: tuple[str, ...] = ("text",)
    parameters: tuple[str, ...] = _USUAL
    quantization: str = "unknown"
    trains: bool = False
    dimensions: int = 0
    strict: bool = False

    def cost(self, tokens_in: int, tokens_out: int) -> Decimal:
        """US dollars."""
        return tokens_in * Decimal(self.prompt) + tokens_out * Decimal(self.completion)

    def lacks(self, body: dict[str, Any]) -> list[str]:
        """The parameters of the request that it does not know."""
        return sorted(
            name
            for name, value in body.items()
            if value is not None and name in _KNOWN_BY_NAME and name not in self.parameters
        )


_ALL = (
    Listed(
        id="openai/gpt-4o-mini",
        name="OpenAI: GPT-4o-mini",
        author="OpenAI",
        tag="openai",
        context=128_000,
        created=1_721_260_800,
        prompt="0.00000015",
        completion="0.0000006",
        inputs=("text", "image", "file"),
    ),
    Listed(
        id="anthropic/claude-sonnet-4.5",
        name="Anthropic: Claude Sonnet 4.5",
        author="Anthropic",
        tag="anthropic",
        context=1_000_000,
        created=1_759_161_676,
        prompt="0.000003",
        completion="0.000015",
        longest=64_000,
        inputs=("text", "image", "file"),
        parameters=(*_USUAL, "reasoning", "include_reasoning"),
    ),
    Listed(
        id="deepseek/deepseek-chat-v3.1:free",
        name="DeepSeek: DeepSeek V3.1 (free)",
        author="DeepInfra",
        tag="deepinfra/fp8",
        context=163_840,
        created=1_755_779_628,
        prompt="0",
        completion="0",
        parameters=_FEW,
        quantization="fp8",
        trains=True,
    ),
    Listed(
        id="openai/text-embedding-3-small",
        name="OpenAI: Text Embedding 3 Small",
        author="OpenAI",
        tag="openai",
        context=8_192,
        created=1_706_000_000,
        prompt="0.00000002",
        completion="0",
        longest=None,
        outputs=("embeddings",),
        parameters=(),
        dimensions=1536,
    ),
    Listed(
        id="bytedance-seed/seedream-4.5",
        name="ByteDance Seed: Seedream 4.5",
        author="Seed",
        tag="seed",
        context=4_096,
        created=1_764_000_000,
        prompt="0",
        completion="0.00000958",
        longest=None,
        inputs=("text", "image"),
        outputs=("image",),
        parameters=("seed",),
    ),
    Listed(
        id="openai/gpt-4o-mini-tts",
        name="OpenAI: GPT-4o mini TTS",
        author="OpenAI",
        tag="openai",
        context=2_000,
        created=1_765_000_000,
        prompt="0.0000006",
        completion="0",
        longest=None,
        outputs=("speech",),
        parameters=(),
    ),
    Listed(
        id="cognitivecomputations/dolphin-mixtral-8x22b",
        name="Dolphin 2.9.2 Mixtral 8x22B",
        author="Novita",
        tag="novita",
        context=65_536,
        created=1_717_804_800,
        prompt="0.0000009",
        completion="0.0000009",
        strict=True,
    ),
)
MODELS = {model.id: model for model in _ALL}


def served(body: dict[str, Any], output: str = "text") -> Listed:
    """The first of the models asked for that there is, and that the preferences allow."""
    asked = [name for name in (body.get("model"), *(body.get("models") or [])) if name is not None]
    refused: Failure | None = None
    for name in asked:
        known = MODELS.get(str(name)) or MODELS.get(str(name).rpartition(":")[0])
        if known is None:
            continue
        if output not in known.outputs:
            message = f"{known.id} does not put out {output}"
            refused = refused or unavailable(400, "wrong_endpoint", message, asked)
            continue
        excluded = _excluded(known, body.get("provider") or {}, body)
        if excluded is None:
            return known
        refused = unavailable(
            404,
            "privacy_restricted" if excluded.startswith("data_policy") else "constraint_filtered",
            "No endpoints found that fit the request's constraints.",
            asked,
            excluded_by=[excluded],
        )
    if refused is not None:
        raise refused
    if not asked:
        raise Failure(400, "No models provided")
    raise unavailable(400, "model_not_found", f"{asked[0]} is not a valid model ID", asked)


def _excluded(model: Listed, wanted: dict[str, Any], body: dict[str, Any]) -> str | None:
    """Why the preferences leave the model's endpoint out, None when they do not."""
    allowed = wanted.get("only")
    if wanted.get("allow_fallbacks") is False and wanted.get("order"):
        allowed = [*(allowed or []), *wanted["order"]]
    if (allowed and not _named(model, allowed)) or _named(model, wanted.get("ignore") or []):
        return "allowed_providers"
    if model.trains and (wanted.get("data_collection") == "deny" or wanted.get("zdr")):
        return "data_policy:training"
    if wanted.get("quantizations") and model.quantization not in wanted["quantizations"]:
        return "quantization"
    if wanted.get("require_parameters") and model.lacks(body):
        return "require_parameters"
    for kind, price in (("prompt", model.prompt), ("completion", model.completion)):
        most = (wanted.get("max_price") or {}).get(kind)
        if most is not None and Decimal(price) * _MILLION > Decimal(str(most)):
            return "max_price"
    return None


def _named(model: Listed, slugs: list[str]) -> bool:
    """By its whole tag, or by the name before the slash."""
    return model.tag in slugs or model.tag.partition("/")[0] in slugs


def page(query: dict[str, str]) -> dict[str, Any]:
    """GET /models: those that write text, unless others are asked for; by pages."""
    wanted = query.get("output_modalities", "text").split(",")
    needs = query.get("supported_parameters", "")
    found = [
        model
        for model in _ALL
        if ("all" in wanted or set(wanted) & set(model.outputs))
        and all(name in model.parameters for name in needs.split(",") if name)
    ]
    offset = _natural(query, "offset", 0)
    limit = _natural(query, "limit", _PAGE)
    if not 0 < limit <= _PAGE_MAX:
        raise Failure(400, "limit: must be from 1 to 1000")
    links: dict[str, Any] = {"next": None}
    if offset + limit < len(found):
        rest = urlencode({**query, "offset": offset + limit, "limit": limit})
        links["next"] = f"/api/v1/models?{rest}"
    data = [_entry(model) for model in found[offset : offset + limit]]
    return {"data": data, "total_count": len(found), "links": links}


def listed() -> list[dict[str, Any]]:
    """The entries of all models."""
    return [_entry(model) for model in _ALL]


def _natural(query: dict[str, str], name: str, usual: int) -> int:
    text = query.get(name, str(usual))
    if not text.isdecimal():
        raise Failure(400, f"{name}: expected a number")
    return int(text)


def _entry(model: Listed) -> dict[str, Any]:
    inputs, outputs = list(model.inputs), list(model.outputs)
    return {
        "id": model.id,
        "canonical_slug": model.id.partition(":")[0],
        "name": model.name,
        "created": model.created,
        "description": "A model of the sandbox.",
        "context_length": model.context,
        "architecture": {
            "modality": f"{'+'.join(inputs)}->{'+'.join(outputs)}",
            "input_modalities": inputs,
            "output_modalities": outputs,
            "tokenizer": "GPT",
            "instruct_type": None,
        },
        "pricing": {"prompt": model.prompt, "completion": model.completion, "request": "0"},
        "top_provider": {
            "context_length": model.context,
            "max_completion_tokens": model.longest,
            "is_moderated": False,
        },
        "per_request_limits": None,
        "supported_parameters": list(model.parameters),
        "default_parameters": None,
    }
