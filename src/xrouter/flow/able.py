"""Whether a model can do what a request needs: refused here, before anything is sent."""

from __future__ import annotations

from collections.abc import Iterator

from xrouter.domain.abilities import Feature
from xrouter.domain.catalog import Model
from xrouter.domain.chat import ChatRequest, Message
from xrouter.domain.errors import InvalidRequest
from xrouter.domain.snapshot import Snapshot

REFUSED = "refused"
_SUGGESTED = 3
_PARTS: dict[str, Feature] = {
    "image_url": "vision",
    "input_image": "vision",
    "file": "files",
    "input_file": "files",
    "input_audio": "audio_input",
}
_FORMATS: dict[str, Feature] = {"json_object": "json_object", "json_schema": "json_schema"}
_CHOICES: dict[str, Feature] = {"required": "tool_choice_required", "any": "tool_choice_required"}

Need = tuple[Feature, str]
"""A feature, and the parameter that asks for it."""


def check_able(request: ChatRequest, model: Model, snapshot: Snapshot) -> None:
    """Raise InvalidRequest that names the parameter and the models that could do it."""
    abilities = model.abilities
    limit, wanted = abilities.max_output, request.output_limit
    if limit is not None and wanted is not None and wanted > limit:
        raise InvalidRequest(
            f"max_tokens is too large: {wanted}. This model supports at most {limit} completion "
            "tokens.",
            code="invalid_value",
            param="max_completion_tokens" if request.max_completion_tokens else "max_tokens",
        )
    features = abilities.features
    if REFUSED not in features.values():
        return
    for feature, param in needs(request):
        if features.get(feature) == REFUSED:
            raise InvalidRequest(
                f"The model '{model.model_id}' does not support '{param}' ({feature}).",
                code="unsupported_parameter",
                param=param,
                hint=_able(feature, model, snapshot),
            )


def does_all(model: Model) -> bool:
    """Whether there is nothing that a request could ask for in vain."""
    abilities = model.abilities
    return abilities.max_output is None and REFUSED not in abilities.features.values()


def needs(request: ChatRequest) -> Iterator[Need]:
    """What the request asks for that not every model has."""
    yield from _tool_needs(request)
    yield from _answer_needs(request)
    for index, message in enumerate(request.messages):
        if isinstance(message.content, list):
            yield from _content_needs(message, index)


def _answer_needs(request: ChatRequest) -> Iterator[Need]:
    if request.response_format is not None:
        asked = _FORMATS.get(str(request.response_format.get("type")))
        if asked is not None:
            yield asked, "response_format"
    if request.n is not None and request.n > 1:
        yield "n", "n"
    if request.stop:
        yield "stop", "stop"
    if request.logprobs:
        yield "logprobs", "logprobs"
    if request.logit_bias:
        yield "logit_bias", "logit_bias"
    if request.modalities is not None and "audio" in request.modalities:
        yield "audio_output", "modalities"
    if request.reasoning_effort not in (None, "none"):
        yield "reasoning", "reasoning_effort"


def _tool_needs(request: ChatRequest) -> Iterator[Need]:
    if request.tools:
        yield "tools", "tools"
        if any(tool.get("type") == "custom" for tool in request.tools):
            yield "custom_tools", "tools"
    elif request.functions:
        yield "tools", "functions"
    choice = request.tool_choice
    if isinstance(choice, str):
        if choice in _CHOICES:
            yield _CHOICES[choice], "tool_choice"
    elif choice is not None:
        yield "tool_choice_named", "tool_choice"


def _content_needs(message: Message, index: int) -> Iterator[Need]:
    if not isinstance(message.content, list):
        return
    for number, part in enumerate(message.content):
        feature = _PARTS.get(str(part.get("type")))
        if feature is not None:
            yield feature, f"messages[{index}].content[{number}]"


def _able(feature: Feature, model: Model, snapshot: Snapshot) -> str | None:
    """Models of the same kind that have the feature, those of the same provider first."""
    found = [
        other
        for other in snapshot.models.values()
        if other.kind == model.kind
        and other.is_available
        and other.abilities.features.get(feature) in ("native", "emulated")
    ]
    found.sort(key=lambda other: other.provider != model.provider)
    names = ", ".join(other.model_id for other in found[:_SUGGESTED])
    return f"Models that can: {names}." if names else None
