"""The models of the simulated OpenRouter, and what they cost."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from msgspec import Struct

_USUAL = [
    "temperature", "top_p", "max_tokens", "seed", "stop", "frequency_penalty", "presence_penalty",
    "response_format", "structured_outputs", "tools", "tool_choice", "logprobs", "logit_bias",
]  # fmt: skip


class Listed(Struct, frozen=True, kw_only=True):
    """A model. Prices: US dollars a token, as text. longest: most tokens of an answer."""

    id: str
    name: str
    author: str
    context: int
    created: int
    prompt: str
    completion: str
    longest: int = 16_384
    inputs: tuple[str, ...] = ("text",)
    parameters: tuple[str, ...] = tuple(_USUAL)

    def cost(self, tokens_in: int, tokens_out: int) -> Decimal:
        """US dollars."""
        return tokens_in * Decimal(self.prompt) + tokens_out * Decimal(self.completion)


_ALL = (
    Listed(
        id="openai/gpt-4o-mini",
        name="OpenAI: GPT-4o-mini",
        author="OpenAI",
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
        context=163_840,
        created=1_755_779_628,
        prompt="0",
        completion="0",
        parameters=("temperature", "top_p", "max_tokens", "stop", "seed"),
    ),
)
MODELS = {model.id: model for model in _ALL}


def listed() -> list[dict[str, Any]]:
    """The entries of GET /models."""
    return [_entry(model) for model in _ALL]


def _entry(model: Listed) -> dict[str, Any]:
    inputs = list(model.inputs)
    return {
        "id": model.id,
        "canonical_slug": model.id.partition(":")[0],
        "name": model.name,
        "created": model.created,
        "description": "A model of the sandbox.",
        "context_length": model.context,
        "architecture": {
            "modality": f"{'+'.join(inputs)}->text",
            "input_modalities": inputs,
            "output_modalities": ["text"],
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
