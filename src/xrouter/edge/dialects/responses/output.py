"""The output items of a response, grown from deltas, and the events that tell of their growth.

Text and reasoning are open one at a time; calls may be open side by side, each with its place in
the output. An event is a plain object with its `type`; numbers of sequence are given elsewhere.
"""

from __future__ import annotations

from typing import Any

from typing_extensions import override

from xrouter.domain.answer import ChatDelta, ToolCallDelta
from xrouter.domain.usage import new_id
from xrouter.edge.dialects.responses.kept import item_id
from xrouter.edge.dialects.responses.reasoning import Thought, packed
from xrouter.edge.dialects.responses.tools import Tooling, input_of

Event = dict[str, Any]
Item = dict[str, Any]

COMPLETED = "completed"
IN_PROGRESS = "in_progress"


class Output:
    """items: so far; an open one's `status` is in_progress.

    name: the id of the response; those of the items are made of it. summarised: reasoning is told
    as a summary, for clients that asked for one. sealed: its items hold `encrypted_content`.
    """

    def __init__(self, name: str, tooling: Tooling, *, summarised: bool, sealed: bool) -> None:
        self.items: list[Item] = []
        self.name = name
        self.seals: dict[str, str] = {}
        self._tooling = tooling
        self._summarised = summarised
        self._sealed = sealed
        self._text: _Text | None = None
        self._thinking: _Thinking | None = None
        self._calls: dict[int, _Call] = {}

    def grow(self, delta: ChatDelta) -> list[Event]:
        """What the delta adds."""
        events: list[Event] = []
        details = (delta.extra or {}).get("reasoning_details")
        if delta.reasoning or details:
            events += self._think(delta.reasoning or "", details or [])
        if delta.text:
            events += self._say("output_text", delta.text, delta.logprobs)
        if delta.refusal:
            events += self._say("refusal", delta.refusal, None)
        for piece in delta.tool_calls or ():
            events += self._call(piece)
        return events

    def close(self, status: str = COMPLETED) -> list[Event]:
        """Nothing more comes."""
        events = self._close_speech(status)
        for call in self._calls.values():
            events += call.close(status)
        self._calls.clear()
        return events

    def sealed(self) -> list[Item]:
        """The items, each reasoning with its `encrypted_content`: as they must come back."""
        seals = self.seals
        return [
            {**item, "encrypted_content": seals[item["id"]]} if item["id"] in seals else item
            for item in self.items
        ]

    def _think(self, text: str, details: list[dict[str, Any]]) -> list[Event]:
        events: list[Event] = []
        if self._thinking is None:
            events += self._close_speech()
            self._thinking = _Thinking(self, summarised=self._summarised, sealed=self._sealed)
            events += self._thinking.open()
        return events + self._thinking.grow(text, details)

    def _say(self, kind: str, text: str, logprobs: Any) -> list[Event]:
        events: list[Event] = []
        if self._text is None:
            events += self._close_speech()
            self._text = _Text(self)
            events += self._text.open()
        return events + self._text.grow(kind, text, logprobs)

    def _call(self, piece: ToolCallDelta) -> list[Event]:
        events: list[Event] = []
        call = self._calls.get(piece.index)
        if call is None:
            events += self._close_speech()
            call = self._calls[piece.index] = _Call(self, piece, self._tooling)
            events += call.open()
        return events + call.grow(piece.arguments)

    def _close_speech(self, status: str = COMPLETED) -> list[Event]:
        events: list[Event] = []
        if self._thinking is not None:
            events += self._thinking.close(status)
            self._thinking = None
        if self._text is not None:
            events += self._text.close(status)
            self._text = None
        return events


class _Grown:
    """An item on its way, at its place in the output."""

    def __init__(self, output: Output, prefix: str, item: Item) -> None:
        place = len(output.items)
        self.item: Item = {"id": item_id(prefix, output.name, place), **item}
        self.place = {"output_index": place}
        output.items.append(self.item)

    def open(self) -> list[Event]:
        return [self._event("output_item.added", item=dict(self.item))]

    def _done(self) -> Event:
        return self._event("output_item.done", item=self.item)

    def _event(self, kind: str, **more: Any) -> Event:
        return {"type": f"response.{kind}", **self.place, **more}

    def _inside(self, kind: str, **more: Any) -> Event:
        return self._event(kind, item_id=self.item["id"], **more)


class _Text(_Grown):
    """A message: text and refusals, each a part of its own."""

    def __init__(self, output: Output) -> None:
        message: Item = {
            "type": "message",
            "role": "assistant",
            "status": IN_PROGRESS,
            "content": [],
        }
        super().__init__(output, "msg_", message)
        self._parts: list[dict[str, Any]] = message["content"]
        self._pieces: list[str] = []
        self._kind = ""

    @override
    def open(self) -> list[Event]:
        return [self._event("output_item.added", item={**self.item, "content": []})]

    def grow(self, kind: str, text: str, logprobs: Any) -> list[Event]:
        events: list[Event] = []
        if kind != self._kind:
            events += self._close_part()
            self._kind = kind
            events.append(self._part("content_part.added", part=_part(kind, "", [])))
            self._parts.append(_part(kind, "", []))
        self._pieces.append(text)
        if kind == "refusal":
            events.append(self._part("refusal.delta", delta=text))
            return events
        likely = _likelihoods(logprobs)
        self._parts[-1]["logprobs"] += likely
        events.append(self._part("output_text.delta", delta=text, logprobs=likely))
        return events

    def close(self, status: str) -> list[Event]:
        events = self._close_part()
        self.item["status"] = status
        return [*events, self._done()]

    def _close_part(self) -> list[Event]:
        if not self._kind:
            return []
        kind, self._kind = self._kind, ""
        part = self._parts[-1]
        text = "".join(self._pieces)
        self._pieces.clear()
        key = "refusal" if kind == "refusal" else "text"
        part[key] = text
        more = {} if kind == "refusal" else {"logprobs": part["logprobs"]}
        told = {key: text, **more}
        index = {"content_index": len(self._parts) - 1}
        return [
            self._inside(f"{kind}.done", **index, **told),
            self._inside("content_part.done", **index, part=part),
        ]

    def _part(self, kind: str, **more: Any) -> Event:
        index = len(self._parts) - (kind != "content_part.added")
        return self._inside(kind, content_index=index, **more)


class _Thinking(_Grown):
    """A reasoning item with one part: its text, or a summary, whichever the client reads."""

    def __init__(self, output: Output, *, summarised: bool, sealed: bool) -> None:
        super().__init__(output, "rs_", {"type": "reasoning", "summary": []})
        self._seals = output.seals
        self._thought = Thought()
        self._pieces: list[str] = []
        self._sealed = sealed
        self._opened = False
        if summarised:
            self._names = ("reasoning_summary_part", "reasoning_summary_text", "summary_text")
            self._index = {"summary_index": 0}
            self._key = "summary"
        else:
            self._names = ("content_part", "reasoning_text", "reasoning_text")
            self._index = {"content_index": 0}
            self._key = "content"

    def grow(self, text: str, details: list[dict[str, Any]]) -> list[Event]:
        self._thought.details += details
        if not text:
            return []
        events: list[Event] = []
        part, delta, kind = self._names
        if not self._opened:
            self._opened = True
            empty = {"type": kind, "text": ""}
            events.append(self._inside(f"{part}.added", **self._index, part=empty))
        self._pieces.append(text)
        events.append(self._inside(f"{delta}.delta", **self._index, delta=text))
        return events

    def close(self, _status: str) -> list[Event]:
        events: list[Event] = []
        text = self._thought.text = "".join(self._pieces)
        if self._opened:
            part, delta, kind = self._names
            whole = {"type": kind, "text": text}
            self.item[self._key] = [whole]
            events.append(self._inside(f"{delta}.done", **self._index, text=text))
            events.append(self._inside(f"{part}.done", **self._index, part=whole))
        seal = self._seals[self.item["id"]] = packed(self._thought)
        if self._sealed:
            self.item["encrypted_content"] = seal
        return [*events, self._done()]


class _Call(_Grown):
    """A call of a function, or of a custom tool: its text is in the arguments, told at the end."""

    def __init__(self, output: Output, piece: ToolCallDelta, tooling: Tooling) -> None:
        name = piece.name or ""
        self._custom = name in tooling.custom
        item: Item = {
            "type": "custom_tool_call" if self._custom else "function_call",
            "status": IN_PROGRESS,
            "call_id": piece.id or new_id("call_"),
            "name": name,
            "input" if self._custom else "arguments": "",
        }
        if name in tooling.namespaces:
            item["namespace"] = tooling.namespaces[name]
        super().__init__(output, "ctc_" if self._custom else "fc_", item)
        self._pieces: list[str] = []

    def grow(self, arguments: str) -> list[Event]:
        if not arguments:
            return []
        self._pieces.append(arguments)
        if self._custom:
            return []
        return [self._inside("function_call_arguments.delta", delta=arguments)]

    def close(self, status: str) -> list[Event]:
        arguments = "".join(self._pieces)
        events: list[Event] = []
        if self._custom:
            text = self.item["input"] = input_of(arguments)
            events.append(self._inside("custom_tool_call_input.delta", delta=text))
            events.append(self._inside("custom_tool_call_input.done", input=text))
        else:
            self.item["arguments"] = arguments
            done = {"name": self.item["name"], "arguments": arguments}
            events.append(self._inside("function_call_arguments.done", **done))
        self.item["status"] = status
        return [*events, self._done()]


def _part(kind: str, text: str, logprobs: list[Any]) -> dict[str, Any]:
    if kind == "refusal":
        return {"type": kind, "refusal": text}
    return {"type": kind, "text": text, "annotations": [], "logprobs": logprobs}


def _likelihoods(logprobs: Any) -> list[Any]:
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    return content if isinstance(content, list) else []
