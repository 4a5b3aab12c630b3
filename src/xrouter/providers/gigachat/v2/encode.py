"""From a chat request to the body of `POST /v2/chat/completions`, and what is asked around it."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct
from typing_extensions import override

from xrouter.domain.answer import ChatDelta
from xrouter.domain.chat import ChatRequest
from xrouter.domain.errors import InvalidRequest, UpstreamMalformed, XRouterError
from xrouter.domain.plan import Target
from xrouter.providers.gigachat import parameters
from xrouter.providers.gigachat.decode import Reading
from xrouter.providers.gigachat.encode import Memory
from xrouter.providers.gigachat.files import as_part, attach, attach_known, download, is_lost_file
from xrouter.providers.gigachat.forms import (
    Asking,
    Form,
    Way,
    ask,
    first_way,
    is_unknown_form,
    read_form,
)
from xrouter.providers.gigachat.media import check_together
from xrouter.providers.gigachat.messages import History, note_unknown, read_history
from xrouter.providers.gigachat.sessions import SESSION, session_of
from xrouter.providers.gigachat.v2.decode import GigaChatV2Exchange
from xrouter.providers.gigachat.v2.messages import group_sizes, wire_messages
from xrouter.providers.gigachat.v2.parameters import Settings, read_settings
from xrouter.providers.gigachat.v2.tools import Toolbox, forcing, read_toolbox
from xrouter.wire.types import Errand, WireRequest

_JSON = {"accept": "application/json", "content-type": "application/json"}
_STREAM = {"accept": "text/event-stream", "content-type": "application/json"}


class Place(Struct, frozen=True, kw_only=True):
    """Where things are asked. chats: URL of the chats; files: base URL of the files."""

    chats: str
    files: str
    memory: Memory


class Asked(Struct, kw_only=True):
    """A request, translated but for the form of its answer. sizes: see `wire_messages`.

    session: the name of the conversation.
    """

    place: Place
    model: str
    settings: Settings
    history: History
    sizes: list[int]
    tools: Toolbox
    form: Form
    reading: Reading
    streaming: bool
    copies: int
    session: str

    def way_without_schema(self) -> Way:
        """Another way than `response_format`: a forced function, or words beside other tools."""
        return "instruction" if self.tools.tools else "function"

    def body(self, asking: Asking) -> dict[str, Any]:
        """The body, with the files that are known by now."""
        instructions = [] if asking.instruction is None else [asking.instruction]
        options = dict(self.settings.options)
        tools = self.tools
        if "response_format" in asking.fields:
            options["response_format"] = asking.fields["response_format"]
        if "functions" in asking.fields:
            (function,) = asking.fields["functions"]
            tools = forcing(function)
        body: dict[str, Any] = {
            **self.settings.root,
            "model": self.model,
            "messages": wire_messages(self.history, self.sizes, instructions),
        }
        if options:
            body["model_options"] = options
        if tools.tools:
            body["tools"] = tools.tools
        if tools.config is not None:
            body["tool_config"] = tools.config
        if self.streaming:
            body["stream"] = True
        return body


class GigaChatV2Chat(GigaChatV2Exchange):
    """One chat call, with the uploads before it and the downloads after it."""

    def __init__(self, asked: Asked, way: Way) -> None:
        self._asked = asked
        self._way = way
        self._asking = ask(asked.form, way)
        self._reused = [media.name for media in asked.history.media if media.url is None]
        self._attached = attach_known(asked.history.media, asked.place.memory.files)
        wire = WireRequest(
            "POST",
            asked.place.chats,
            {**(_STREAM if asked.streaming else _JSON), SESSION: asked.session},
            msgspec.json.encode(asked.body(self._asking)),
        )
        dropped = (*asked.settings.dropped, *asked.tools.dropped, *asked.history.dropped)
        reading = msgspec.structs.replace(
            asked.reading, json=asked.form.json, call_is_text=way == "function"
        )
        super().__init__(wire, (*dropped, *self._asking.dropped), reading)
        self.copies = asked.copies

    @override
    def before(self) -> Errand[None] | None:
        return None if self._attached else self._upload()

    @override
    def after(self) -> Errand[list[ChatDelta]] | None:
        return self._complete() if self.pictures else None

    @override
    def instead(self, error: XRouterError) -> GigaChatV2Chat | None:
        memory = self._asked.place.memory
        if self._way == "native" and is_unknown_form(error):
            memory.learn_schemaless(self._asked.model)
            try:
                return GigaChatV2Chat(self._asked, self._asked.way_without_schema())
            except InvalidRequest:
                return None
        if self._attached and self._reused and is_lost_file(error):
            for name in self._reused:
                memory.files.forget(name)
            return GigaChatV2Chat(self._asked, self._way)
        return None

    @override
    def not_json(self) -> UpstreamMalformed:
        if self._way == "native":  # the field was passed over in silence
            self._asked.place.memory.learn_schemaless(self._asked.model)
        return super().not_json()

    def _upload(self) -> Errand[None]:
        place = self._asked.place
        yield from attach(self._asked.history.media, place.memory.files, place.files)
        self.wire.body = msgspec.json.encode(self._asked.body(self._asking))

    def _complete(self) -> Errand[list[ChatDelta]]:
        pictures = yield from download(self.pictures, self._asked.place.files)
        images = [as_part(typed, data) for typed, data in pictures]
        return [ChatDelta(extra={"images": images})]


def encode(request: ChatRequest, target: Target, place: Place, *, fetch: bool) -> GigaChatV2Chat:
    """Translate. Raises InvalidRequest, naming the parameter, for what cannot be said.

    fetch: whether images may be named by http address.
    """
    request, lost = parameters.at_home(request)
    settings = read_settings(request)
    settings.dropped.extend(lost)
    history = read_history(request.messages, fetch_images=fetch)
    note_unknown(history, request.fields)
    check_together(history.media)
    tools = read_toolbox(request, searching=settings.searching)
    form = read_form(request)
    model = target.version.upstream
    asked = Asked(
        place=place,
        model=model,
        settings=settings,
        history=history,
        sizes=group_sizes(request.messages),
        tools=tools,
        form=form,
        reading=Reading(
            stops=request.stops,
            legacy=not request.tools and bool(request.functions),
            must_call=tools.must_call,
        ),
        streaming=request.streaming,
        copies=request.n or 1,
        session=session_of(request, model, target.endpoint.id),
    )
    way = first_way(form, native=model not in place.memory.schemaless)
    if way == "function":
        way = asked.way_without_schema()
    return GigaChatV2Chat(asked, way)
