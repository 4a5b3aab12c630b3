"""What the simulated Anthropic says: whole, or as events in their fixed order."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import msgspec
from msgspec import Struct

from xrouter.sandbox.generate import cut, reply, text_of, tokens_of, words
from xrouter.sandbox.kit import count_tokens
from xrouter.sandbox.schema import example
from xrouter.sandbox.script import Script, arguments_for, mentioned_tools, script_of

_PIECE = 12
_encode = msgspec.json.Encoder().encode


class Said(Struct):
    """An answer, ready to be written. blocks: as they are sent whole."""

    id: str
    model: str
    blocks: list[dict[str, Any]]
    stop_reason: str
    stop_sequence: str | None
    tokens_in: int
    tokens_out: int
    cached: int
    thought: int
    pause: float

    def usage(self, tokens_out: int) -> dict[str, Any]:
        """Token counts: what was cached is beside the input."""
        return {
            "input_tokens": self.tokens_in - self.cached,
            "output_tokens": tokens_out,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": self.cached,
            "output_tokens_details": {"thinking_tokens": min(self.thought, tokens_out)},
        }


def prompt_tokens(body: dict[str, Any]) -> int:
    """Tokens of system, messages and tools."""
    system = body.get("system")
    total = count_tokens(text_of(system)) if system else 0
    for message in body.get("messages") or ():
        content = message.get("content") if isinstance(message, dict) else None
        total += 3 + count_tokens(content if isinstance(content, str) else _flat(content))
    return total + count_tokens(_flat(body.get("tools")))


def said_by(body: dict[str, Any]) -> Said:
    """Answer a checked request."""
    script = script_of(_last_text(body["messages"]))
    tokens_in = prompt_tokens(body)
    thinking = (body.get("thinking") or {}).get("type") in ("enabled", "adaptive")
    blocks: list[dict[str, Any]] = []
    thought = 0
    if thinking:
        thought = script.wish.think or 8
        signature = f"sig-{uuid4().hex}"
        blocks.append({"type": "thinking", "thinking": words(thought), "signature": signature})
    calls = _calls(body, script.wish.text)
    reason, sequence = "tool_use", None
    if not calls or "refuse" in script.marks:
        spoken, reason, sequence = _speak(body, script, thought)
        blocks.append({"type": "text", "text": spoken})
    else:
        blocks += calls
    return Said(
        id=f"msg_{uuid4().hex[:24]}",
        model=body["model"],
        blocks=blocks,
        stop_reason=reason,
        stop_sequence=sequence,
        tokens_in=tokens_in,
        tokens_out=sum(_cost(block) for block in blocks),
        cached=min(script.wish.cached, tokens_in),
        thought=thought,
        pause=script.wish.pause,
    )


def whole(said: Said) -> dict[str, Any]:
    """The message object."""
    return _message(said, said.blocks, said.stop_reason, said.tokens_out) | {
        "stop_sequence": said.stop_sequence
    }


def events(said: Said) -> tuple[list[bytes], list[int]]:
    """The frames, and for each how many output tokens had been sent after it."""
    frames: list[bytes] = []
    costs: list[int] = []
    cost = 0

    def tell(kind: str, price: int = 0, **fields: Any) -> None:
        nonlocal cost
        cost += price
        data = _encode({"type": kind, **fields})
        frames.append(b"event: %b\ndata: %b\n\n" % (kind.encode(), data))
        costs.append(cost)

    tell("message_start", message=_message(said, [], None, 1))
    tell("ping")
    for index, block in enumerate(said.blocks):
        tell("content_block_start", index=index, content_block=_opening(block))
        for delta, price in _deltas(block):
            tell("content_block_delta", price, index=index, delta=delta)
        tell("content_block_stop", index=index)
    ending = {name: value for name, value in whole(said).items() if name.startswith("stop_")}
    tell("message_delta", delta=ending, usage=said.usage(said.tokens_out))
    tell("message_stop")
    return frames, costs


def _message(
    said: Said, blocks: list[dict[str, Any]], reason: str | None, tokens_out: int
) -> dict[str, Any]:
    refused = {"type": "refusal", "category": None, "explanation": None}
    return {
        "id": said.id,
        "type": "message",
        "role": "assistant",
        "model": said.model,
        "content": blocks,
        "stop_reason": reason,
        "stop_sequence": None,
        **({"stop_details": refused} if reason == "refusal" else {}),
        "usage": said.usage(tokens_out),
    }


def _speak(body: dict[str, Any], script: Script, thought: int) -> tuple[str, str, str | None]:
    """The text, why it ended, and at which stop sequence."""
    if "refuse" in script.marks:
        return "I cannot help with that.", "refusal", None
    form = (body.get("output_config") or {}).get("format")
    text = reply(body["model"], script.wish, _results(body["messages"]))
    if form is not None:
        text = _encode(example(form["schema"])).decode()
    elif "valid JSON object" in text_of(body.get("system") or ""):
        text = _encode({"said": text}).decode()
    stops = body.get("stop_sequences") or []
    places = {stop: text.find(stop) for stop in stops if stop in text}
    room = max(1, body["max_tokens"] - thought)
    tokens, finish = cut(text, stops, room)
    if finish == "length":
        return "".join(tokens), "max_tokens", None
    if places:
        return "".join(tokens) or ".", "stop_sequence", min(places, key=places.__getitem__)
    return "".join(tokens), "end_turn", None


def _calls(body: dict[str, Any], text: str) -> list[dict[str, Any]]:
    tools = {tool["name"]: tool for tool in body.get("tools") or ()}
    choice = body.get("tool_choice") or {"type": "auto"}
    kind = choice["type"]
    if not tools or kind == "none" or (kind == "auto" and _results(body["messages"])):
        return []
    names = mentioned_tools(text, list(tools))
    if kind == "tool":
        names = [choice["name"]]
    elif kind == "any" and not names:
        names = list(tools)[:1]
    if choice.get("disable_parallel_tool_use"):
        names = names[:1]
    return [
        {
            "type": "tool_use",
            "id": f"toolu_{uuid4().hex[:24]}",
            "name": name,
            "input": arguments_for(tools[name].get("input_schema")),
        }
        for name in names
    ]


def _opening(block: dict[str, Any]) -> dict[str, Any]:
    if block["type"] == "text":
        return {"type": "text", "text": ""}
    if block["type"] == "thinking":
        return {"type": "thinking", "thinking": "", "signature": ""}
    return block | {"input": {}}


def _deltas(block: dict[str, Any]) -> list[tuple[dict[str, Any], int]]:
    if block["type"] == "text":
        return [({"type": "text_delta", "text": one}, 1) for one in tokens_of(block["text"])]
    if block["type"] == "thinking":
        said = tokens_of(block["thinking"])
        deltas: list[tuple[dict[str, Any], int]] = [
            ({"type": "thinking_delta", "thinking": one}, 1) for one in said
        ]
        return [*deltas, ({"type": "signature_delta", "signature": block["signature"]}, 0)]
    text = _encode(block["input"]).decode()
    pieces = [text[place : place + _PIECE] for place in range(0, len(text), _PIECE)]
    deltas = [({"type": "input_json_delta", "partial_json": piece}, 0) for piece in ["", *pieces]]
    deltas[-1] = (deltas[-1][0], _cost(block))
    return deltas if block["input"] else deltas[:1]


def _cost(block: dict[str, Any]) -> int:
    if block["type"] == "tool_use":
        return 0 if not block["input"] else count_tokens(_encode(block["input"]).decode())
    return len(tokens_of(block.get("text") or block.get("thinking") or ""))


def _last_text(messages: list[dict[str, Any]]) -> str:
    for message in reversed(messages):
        if message["role"] == "user":
            content = message["content"]
            if isinstance(content, str):
                return content
            text = "\n".join(block["text"] for block in content if block["type"] == "text")
            if text:
                return text
    return ""


def _results(messages: list[dict[str, Any]]) -> list[str]:
    """What tools said in the last message."""
    content = messages[-1]["content"]
    if isinstance(content, str):
        return []
    return [text_of(block.get("content")) for block in content if block["type"] == "tool_result"]


def _flat(value: Any) -> str:
    return "" if value is None else _encode(value).decode()
