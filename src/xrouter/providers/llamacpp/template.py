"""What a model's chat template can take: asked of the server, and learned from its errors."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any
from urllib.parse import quote

import msgspec
from msgspec import Struct

from xrouter.domain.chat import ChatRequest, first_other_part
from xrouter.domain.errors import InvalidRequest, UpstreamOverloaded, XRouterError
from xrouter.providers.shapes.openai_errors import ErrorReader
from xrouter.wire.types import Errand, WireRequest

MAX_MODELS = 256
USES = 1000
"""Chats after which a model is asked about anew: another may stand behind the same name."""

_NOT_SERVED = (403, 404, 405, 501)
_TURNS = "must alternate"
_NINE = "length 9"
_FIRST = ("system message must be at the beginning",)
_NO_SYSTEM = ("system role not supported",)


class Template(Struct, frozen=True):
    """What it takes. The default is one that takes everything.

    system: has system messages; late_system: also after the beginning. turns: demands user and
    assistant in turns. tools: knows them. nine: ids of calls are nine letters and digits.
    vision, audio: the model sees, hears.
    """

    system: bool = True
    late_system: bool = True
    turns: bool = False
    tools: bool = True
    nine: bool = False
    vision: bool = True
    audio: bool = True


ANY = Template()


def template_of(body: bytes) -> Template:
    """What `GET /props` says; what it does not say is taken as possible."""
    try:
        props = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return ANY
    given: dict[str, Any] = props if isinstance(props, dict) else {}
    texts = [given.get(name) for name in ("chat_template", "chat_template_tool_use")]
    text = "\n".join(one for one in texts if isinstance(one, str))
    lowered = text.lower()
    caps, modes = given.get("chat_template_caps"), given.get("modalities")
    caps = caps if isinstance(caps, dict) else _guessed(text)
    modes = modes if isinstance(modes, dict) else {}
    turns = _TURNS in lowered
    system = caps.get("supports_system_role") is not False
    return Template(
        system=system,
        late_system=system and not turns and not any(words in lowered for words in _FIRST),
        turns=turns,
        tools=_knows_tools(caps, isinstance(texts[1], str)),
        nine=_NINE in lowered,
        vision=modes.get("vision") is not False,
        audio=modes.get("audio") is not False,
    )


def _guessed(text: str) -> dict[str, Any]:
    """What older servers, which do not tell, would say of the template."""
    if not text:
        return {}
    knows = "tools" in text
    return {
        "supports_system_role": not any(words in text.lower() for words in _NO_SYSTEM),
        "supports_tools": knows,
        "supports_tool_calls": knows,
    }


def _knows_tools(caps: dict[str, Any], own_template: bool) -> bool:  # noqa: FBT001
    """own_template: the model has another template for requests with tools."""
    names = ("supports_tools", "supports_tool_calls")
    return own_template or all(caps.get(name) is not False for name in names)


def matters(request: ChatRequest) -> bool:
    """Whether it depends on the template how this is to be asked.

    It does not for an optional system message and plain turns that begin with the user: those all
    templates take, and where they do not, the server itself sees to it.
    """
    if request.tools and request.tool_choice != "none":
        return True
    messages = request.messages
    first = messages[0]
    lead = first.role in ("system", "developer")
    turns = messages[1:] if lead else messages
    if not turns or (lead and not isinstance(turns[0].content, str)):
        return True
    for place, message in enumerate(turns):
        if message.role != ("assistant" if place % 2 else "user") or message.tool_calls:
            return True
        if first_other_part(message.content) is not None:
            return True
    return False


class TemplateBook:
    """The templates of the models of one server."""

    def __init__(self, root: str, reader: ErrorReader, *, learns: bool) -> None:
        """root: the server's address without /v1. learns: whether errors are told to it."""
        self._root = root
        self.reader = reader
        self._learns = learns
        self._known: OrderedDict[str, tuple[Template, int]] = OrderedDict()

    def known(self, model: str) -> Template | None:
        """What is known of a model, for one more chat."""
        found = self._known.get(model)
        if found is None:
            return None
        template, uses = found
        if uses == 1:
            del self._known[model]
        else:
            self._known[model] = template, uses - 1
        return template

    def ask(self, model: str) -> Errand[Template]:
        """Ask the server. Raises what keeps it from chatting, too; else nothing is known then."""
        headers = {"accept": "application/json"}
        url = f"{self._root}/props?model={quote(model, safe='')}"
        reply = yield WireRequest("GET", url, headers)
        if reply.status < 300:  # noqa: PLR2004 - HTTP
            return self._put(model, template_of(reply.body))
        if reply.status in _NOT_SERVED:
            return self._put(model, ANY)
        error = self.reader.of_reply(reply)
        if isinstance(error, UpstreamOverloaded):
            raise error
        return ANY

    def learn(self, model: str, known: Template, error: XRouterError) -> Template | None:
        """What an error tells of a template beyond what was known; None if nothing."""
        if not self._learns or not isinstance(error, InvalidRequest):
            return None
        said = error.message.lower()
        changes: dict[str, bool] = {}
        if _TURNS in said:
            changes |= {"turns": True, "late_system": False}
        if _NINE in said:
            changes["nine"] = True
        if any(words in said for words in _NO_SYSTEM):
            changes |= {"system": False, "late_system": False}
        if any(words in said for words in _FIRST):
            changes["late_system"] = False
        learned = msgspec.structs.replace(known, **changes)
        return None if learned == known else self._put(model, learned)

    def forget(self) -> None:
        """The server was started anew: maybe with another model."""
        self._known.clear()

    def _put(self, model: str, template: Template) -> Template:
        self._known[model] = template, USES
        self._known.move_to_end(model)
        while len(self._known) > MAX_MODELS:
            self._known.popitem(last=False)
        return template
