"""The second chat contract of the simulated GigaChat: content parts, named events."""

from __future__ import annotations

from typing import Any

import msgspec

from xrouter.sandbox.generate import last_user_text
from xrouter.sandbox.gigachat.attachments import checked
from xrouter.sandbox.gigachat.chat import PHRASE, Answer, Question
from xrouter.sandbox.gigachat.files import File, Shelf
from xrouter.sandbox.gigachat.models import Model
from xrouter.sandbox.gigachat.v2_checks import built_in, calls_of, functions_of, results_of
from xrouter.sandbox.kit import count_tokens
from xrouter.sandbox.script import phrases, script_of

Body = dict[str, Any]

SOURCE = {"url": "https://example.com/rivers", "title": "Rivers"}
_SEARCH, _DRAW = "web_search", "image_generate"

_encode = msgspec.json.Encoder().encode


def question_of(body: Body, model: Model) -> Question:
    """What is asked, in the terms of the first contract; without files, drawing and cache."""
    options = body.get("model_options") or {}
    config = body.get("tool_config") or {}
    asked: Body = {
        "messages": [one for message in body["messages"] for one in _messages(message)],
        "functions": functions_of(body),
        "function_call": _choice(config),
        "response_format": options.get("response_format"),
        "max_tokens": options.get("max_tokens"),
        "reasoning_effort": (options.get("reasoning") or {}).get("effort"),
    }
    return Question(
        body=asked,
        model=model,
        many=options.get("parallel_tool_calls", False),
        must_draw=config.get("tool_name") == _DRAW,
    )


def files_of(body: Body, model: Model, shelf: Shelf, owner: str) -> list[File]:
    """The files of all messages. Raises Refusal."""
    groups = [
        [
            shelf.find(file["id"], owner)
            for part in message["content"]
            for file in part.get("files", [])
        ]
        for message in body["messages"]
        if message["role"] == "user"
    ]
    return checked(groups, model)


def draws(body: Body) -> bool:
    """Whether pictures may be drawn."""
    return _DRAW in built_in(body) and (body.get("tool_config") or {}).get("mode") != "none"


def completion(answer: Answer, body: Body) -> Body:
    """The whole answer. It has no id."""
    messages: list[Body] = []
    if answer.thought:
        messages.append({"role": "reasoning", "content": [{"text": answer.thought}]})
    parts = [*_pictures(answer), *_text(answer, body, answer.said.text), *_calls(answer)]
    messages.append(_message(answer, body, parts))
    return _head(answer) | {"messages": messages} | _end(answer)


def stream(answer: Answer, body: Body) -> tuple[list[bytes], list[int]]:
    """The frames, and for each how many completion tokens had been sent after it."""
    steps: list[tuple[str, Body, int]] = []
    if answer.said.pictures:
        work = {"name": _DRAW, "seconds_left": 5, "censored": False}
        for status in ("in_progress", "completed"):
            part = {"tool_execution": work | {"status": status}}
            message = _message(answer, body, [part])
            steps.append((f"response.tool.{status}", {"messages": [message]}, 0))
    said: list[tuple[Body, int]] = [
        ({"role": "reasoning", "content": [{"text": part}]}, count_tokens(part))
        for part in phrases(answer.thought, PHRASE)
    ]
    said += [(_message(answer, body, [part]), 0) for part in _pictures(answer)]
    texts = phrases(answer.said.text, PHRASE)
    said += [
        (
            _message(answer, body, _text(answer, body, part, last=part is texts[-1])),
            count_tokens(part),
        )
        for part in texts
    ]
    calls = _calls(answer)
    groups = [[call] for call in calls] if "split" in answer.script.marks else [calls]
    said += [(_message(answer, body, group), 0) for group in groups if group]
    steps += [("response.message.delta", {"messages": [message]}, price) for message, price in said]
    steps.append(("response.message.done", _end(answer), answer.call_tokens))
    frames, costs, cost = [], [], 0
    for event, data, price in steps:
        cost += price
        head = f"event: {event}\ndata: ".encode()
        frames.append(head + _encode(_head(answer) | data) + b"\n\n")
        costs.append(cost)
    return frames, costs


def _messages(message: Body) -> list[Body]:
    """A message in the terms of the first contract; results are a message each."""
    if message["role"] == "tool":
        return [
            {"role": "function", "name": one["name"], "content": _result(one["result"])}
            for one in results_of(message)
        ]
    text = "\n".join(part["text"] for part in message["content"] if "text" in part)
    return [{"role": message["role"], "content": text, "calls": calls_of(message)}]


def _result(value: Any) -> str:
    return value if isinstance(value, str) else _encode(value).decode()


def _choice(config: Body) -> Any:
    mode = config.get("mode", "auto")
    if mode == "forced":
        return {"name": config["function_name"]} if config.get("function_name") else "none"
    return {"any": config["functions_names_any"]} if mode == "any" else mode


def _searches(answer: Answer, body: Body) -> bool:
    config = body.get("tool_config") or {}
    if _SEARCH not in built_in(body) or config.get("mode") == "none":
        return False
    marked = "search" in script_of(last_user_text(_internal(body))).marks
    return answer.said.finish == "stop" and (marked or config.get("tool_name") == _SEARCH)


def _internal(body: Body) -> list[Body]:
    return [one for message in body["messages"] for one in _messages(message)]


def _message(answer: Answer, body: Body, parts: list[Body]) -> Body:
    """A message of the assistant; with tools it has a state, as it was recorded."""
    state = {"tool_state_id": answer.state} if body.get("tools") else {}
    return {"role": "assistant"} | state | {"content": parts}


def _pictures(answer: Answer) -> list[Body]:
    return [
        {"files": [{"id": file_id, "mime": "image/jpeg", "target": "image"}]}
        for file_id in answer.said.pictures
    ]


def _text(answer: Answer, body: Body, text: str, *, last: bool = True) -> list[Body]:
    """A text as a part; what was searched for stands at its end."""
    if not text and answer.said.calls:
        return []
    if not last or not _searches(answer, body):
        return [{"text": text}]
    data = {"images": [], "sources": {"1": SOURCE}}
    return [{"text": f"{text} [sources=[1]].", "inline_data": data}]


def _calls(answer: Answer) -> list[Body]:
    parts: list[Body] = []
    for call in answer.said.calls:
        identity = {} if call.id is None else {"id": call.id}
        named = {"name": call.name, "arguments": call.arguments}
        parts.append({"function_call": identity | named})
    return parts


def _head(answer: Answer) -> Body:
    return {"model": answer.model.shown, "created_at": answer.created}


def _end(answer: Answer) -> Body:
    """Why it ended, and its usage: what came from the cache is counted in the input."""
    finish = answer.said.finish
    return {
        "finish_reason": "request_blacklist" if finish == "blacklist" else finish,
        "usage": {
            "input_tokens": answer.prompt,
            "input_tokens_details": {
                "prompt_tokens": answer.prompt,
                "cached_tokens": answer.cached,
            },
            "output_tokens": answer.completion,
            "total_tokens": answer.prompt + answer.completion,
        },
    }
