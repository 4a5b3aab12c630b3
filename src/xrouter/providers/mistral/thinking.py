"""Reasoning in the history: OpenAI's and OpenRouter's fields to the provider's thinking chunks."""

from __future__ import annotations

from typing import Any

from xrouter.providers.mistral.content import Dropped, Part

FIELDS = ("reasoning_details", "reasoning_content", "reasoning")


def thinking_of(message: Part, dropped: Dropped, *, thinks: bool) -> list[Part]:
    """The chunks that an assistant's message begins with; [] for a model that does not reason.

    Details are the best: they carry signatures. What they say is said by the plain fields again.
    """
    given = [name for name in FIELDS if message.get(name)]
    if not given:
        return []
    if not thinks:
        dropped.update(f"messages.{name}" for name in given)
        return []
    details = message.get("reasoning_details")
    chunks = _of_details(details, dropped) if isinstance(details, list) else []
    if chunks:
        return chunks
    text = message.get("reasoning_content") or message.get("reasoning")
    return [thinking_chunk(text)] if isinstance(text, str) else []


def thinking_chunk(text: str, signature: str | None = None) -> Part:
    """A whole thought."""
    chunk: Part = {"type": "thinking", "thinking": [{"type": "text", "text": text}]}
    if signature is not None:
        chunk["signature"] = signature
    return {**chunk, "closed": True}


def detail_of(text: str, signature: str | None) -> Part:
    """A thought of an answer, as it is to come back."""
    detail: Part = {"type": "reasoning.text", "text": text}
    return detail if signature is None else {**detail, "signature": signature}


def signature_in(chunks: Any) -> str | None:
    """The signature of the last signed thinking chunk of a content, None for none."""
    if not isinstance(chunks, list):
        return None
    found = (
        chunk.get("signature")
        for chunk in reversed(chunks)
        if isinstance(chunk, dict) and chunk.get("type") == "thinking"
    )
    return next((one for one in found if isinstance(one, str) and one), None)


def _of_details(details: list[Any], dropped: Dropped) -> list[Part]:
    chunks: list[Part] = []
    for detail in details:
        text = detail.get("text") if isinstance(detail, dict) else None
        if not isinstance(text, str) or not text:
            dropped.add("messages.reasoning_details")  # encrypted for another provider
            continue
        signature = detail.get("signature")
        chunks.append(thinking_chunk(text, signature if isinstance(signature, str) else None))
    return chunks
