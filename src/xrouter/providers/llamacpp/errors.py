"""llama.cpp's errors: many a mistake of the caller arrives as a 500."""

from __future__ import annotations

import re

from typing_extensions import override

from xrouter.domain.errors import (
    ContextLengthExceeded,
    InvalidRequest,
    ModelNotFound,
    UpstreamOverloaded,
    XRouterError,
)
from xrouter.providers.shapes.openai_errors import ErrorReader, too_long
from xrouter.providers.shapes.openai_problem import Problem

LOADING_STATUS = 503
LOADING_RETRY_S = 5.0
"""Models load in seconds to minutes; nothing in the answer says how long it will take."""

_CALLERS_FAULT = (
    "jinja exception",
    "failed to parse",
    "is not supported",
    "requires --jinja",
    "cannot use both json_schema and grammar",
    "unsupported content[].type",
    "unknown reasoning format",
    "[json.exception.type_error.302]",
)
_TOO_LARGE = re.compile(r"request \((\d+) tokens\) exceeds the available context size \((\d+)")
_BATCH = "is too large to process"
_ROLES = ("roles must alternate", "system message must be at the beginning")
_FIELD = re.compile(r"Field '(\w+)': ")
_REASONING_FORMAT = ("unknown reasoning format", "[json.exception.type_error.302]")
"""How errors about it begin; the second is one that is no text, where other fields are named."""
_NO_MODEL = re.compile(r"model '.*' not found|model is not loaded")


class LlamaCppErrors(ErrorReader):
    """What only this server does."""

    @override
    def special(self, status: int, problem: Problem) -> XRouterError | None:
        context = _context(problem)
        if context is not None:
            return context
        if problem.says(_BATCH):
            return too_long(problem.text, "input")
        if status == LOADING_STATUS and problem.says("loading model"):
            return UpstreamOverloaded(
                "The provider is loading the model.", retry_after=LOADING_RETRY_S
            )
        if problem.says("context size has been exceeded"):
            return UpstreamOverloaded(
                "The provider ran out of context memory and broke off the answers in progress.",
                hint="For the operator: give the server a larger context or fewer slots.",
            )
        if status in (400, 500) and _NO_MODEL.search(problem.text.lower()):
            return ModelNotFound(problem.text, param="model")
        if status in (400, 500) and problem.says(*_ROLES):
            return InvalidRequest(
                problem.text,
                param="messages",
                hint="For the operator: the endpoint's option strict_roles=true puts the "
                "messages into the order that the model's template demands.",
            )
        field = _FIELD.match(problem.text)
        if status == 400 and field is not None:  # noqa: PLR2004 - HTTP
            return InvalidRequest(problem.text, code=problem.code, param=field[1])
        if status == 500 and problem.says(*_CALLERS_FAULT):  # noqa: PLR2004 - HTTP
            return InvalidRequest(problem.text, code=problem.code, param=_param_of(problem))
        if status == 501:  # noqa: PLR2004 - HTTP
            return InvalidRequest(problem.text, code="unsupported_operation")
        return None


def _context(problem: Problem) -> ContextLengthExceeded | None:
    prompt, context = problem.fields.get("n_prompt_tokens"), problem.fields.get("n_ctx")
    if not (isinstance(prompt, int) and isinstance(context, int)):
        found = _TOO_LARGE.search(problem.text)
        if found is None:
            return None
        prompt, context = int(found[1]), int(found[2])
    return ContextLengthExceeded(
        f"This model's maximum context length is {context} tokens. However, your messages "
        f"resulted in {prompt} tokens. Please reduce the length of the messages.",
        param="messages",
    )


def _param_of(problem: Problem) -> str | None:
    if problem.says("failed to parse tools", "tools param"):
        return "tools"
    if problem.says("tool_choice param"):
        return "tool_choice"
    if problem.text.lower().startswith(_REASONING_FORMAT):
        return "reasoning_format"
    if problem.says("json_schema"):
        return "response_format"
    return "messages"
