"""YandexART simulated: requests, refusals, and always the same small picture.

Marks in the prompt: [[policy]] is refused at once, [[policy_later]] by the operation.
"""

from __future__ import annotations

from typing import Any

from xrouter.sandbox.script import script_of
from xrouter.sandbox.yandex.errors import INVALID, Refusal
from xrouter.sandbox.yandex.models import ART, Chosen, chosen_by
from xrouter.sandbox.yandex.proto import double, int64, message, repeated, text

RESPONSE = (
    "type.googleapis.com/yandex.cloud.ai.foundation_models.v1.image_generation"
    ".ImageGenerationResponse"
)
JPEG = (
    "/9j/2wBDAAMCAgICAgMCAgIDAwMDBAYEBAQEBAgGBgUGCQgKCgkICQkKDA8MCgsOCwkJDRENDg8QEBEQCgwSExIQEw8Q"
    "EBD/yQALCAABAAEBAREA/8wABgAQEAX/2gAIAQEAAD8A0s8g/9k="
)
"""A picture of one pixel in base64."""

_PROMPT_CHARS = 500
_ETHICS = (
    "it is not possible to generate an image from this request because it may violate the terms of"
    " use"
)
_RATIO = message({"widthRatio": int64, "heightRatio": int64})
_REQUEST = message(
    {
        "modelUri": text,
        "messages": repeated(message({"text": text, "weight": double})),
        "generationOptions": message({"mimeType": text, "seed": int64, "aspectRatio": _RATIO}),
    }
)


class Order:
    """What is to be drawn. refusal: the operation ends in it."""

    def __init__(self, chosen: Chosen, refusal: Refusal | None) -> None:
        self.chosen = chosen
        self.refusal = refusal

    def response(self) -> dict[str, Any]:
        """The response of the operation."""
        return {"@type": RESPONSE, "image": JPEG, "modelVersion": ""}


def read_order(value: Any) -> Order:
    """Read a request. Raises Refusal."""
    body = _REQUEST(value, "")
    chosen = chosen_by(body.get("modelUri"), ART, Refusal(INVALID, "invalid model_uri"))
    prompts = body.get("messages", [])
    prompt = " ".join(one.get("text", "") for one in prompts)
    if not prompt:
        raise Refusal(INVALID, "messages must not be empty")
    if len(prompt) > _PROMPT_CHARS:
        raise Refusal(INVALID, f"prompt length must be no more than {_PROMPT_CHARS} characters")
    if any(one.get("weight", 1) < 0 for one in prompts):
        raise Refusal(INVALID, "negative weights are not supported")
    options = body.get("generationOptions", {})
    if options.get("mimeType", "image/jpeg") != "image/jpeg":
        raise Refusal(INVALID, "mimeType must be image/jpeg")
    if options.get("seed", 0) < 0:
        raise Refusal(INVALID, "seed must not be negative")
    ratio = options.get("aspectRatio")
    if ratio is not None and min(ratio.get("widthRatio", 0), ratio.get("heightRatio", 0)) < 1:
        raise Refusal(INVALID, "aspectRatio must be positive")
    marks = script_of(prompt).marks
    if "policy" in marks:
        raise Refusal(INVALID, _ETHICS)
    return Order(chosen, Refusal(INVALID, _ETHICS) if "policy_later" in marks else None)
