"""From a chat request to the body of `POST /chat/completions`, and what must be asked around it."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct
from typing_extensions import override

from xrouter.domain.answer import ChatDelta
from xrouter.domain.chat import ChatRequest
from xrouter.domain.errors import (
    InvalidRequest,
    UpstreamMalformed,
    XRouterError,
)
from xrouter.domain.plan import Target
from xrouter.providers.gigachat import parameters
from xrouter.providers.gigachat.decode import GigaChatExchange, Reading
from xrouter.providers.gigachat.files import (
    Files,
    as_part,
    attach,
    attach_known,
    download,
    is_lost_file,
)
from xrouter.providers.gigachat.forms import Form, Way, ask, first_way, is_unknown_form, read_form
from xrouter.providers.gigachat.media import check_together
from xrouter.providers.gigachat.messages import History, note_unknown, read_history
from xrouter.providers.gigachat.sessions import SESSION, session_of
from xrouter.providers.gigachat.tools import Tooling, read_tools
from xrouter.wire.types import Errand, WireRequest

JSON = {"accept": "application/json", "content-type": "application/json"}
_STREAM = {"accept": "text/event-stream", "content-type": "application/json"}
_MAX_REMEMBERED = 256


class Memory:
    """What an adapter remembers of its endpoint.

    files: what was uploaded. schemaless: models that were found not to know `response_format`.
    """

    def __init__(self) -> None:
        self.files = Files()
        self.schemaless: set[str] = set()

    def learn_schemaless(self, model: str) -> None:
        """Ask this model in another way from now on."""
        if len(self.schemaless) < _MAX_REMEMBERED:
            self.schemaless.add(model)


class Asked(Struct, kw_only=True):
    """A request, translated but for the form of its answer. fields: of the body, but `messages`.

    session: the name of the conversation.
    """

    base_url: str
    model: str
    fields: dict[str, Any]
    history: History
    tooling: Tooling
    form: Form
    dropped: list[str]
    reading: Reading
    streaming: bool
    copies: int
    session: str
    memory: Memory

    def way_without_schema(self) -> Way:
        """Another way than `response_format`: a forced function, or words beside other tools."""
        return "instruction" if self.tooling.fields else "function"


class GigaChatChat(GigaChatExchange):
    """One chat call, with the uploads before it and the downloads after it."""

    def __init__(self, asked: Asked, way: Way) -> None:
        asking = ask(asked.form, way)
        wanted = (asked.tooling.instruction, asking.instruction)
        messages = asked.history.wire([text for text in wanted if text is not None])
        self._asked = asked
        self._way = way
        self._body = {**asked.fields, "messages": messages, **asking.fields}
        self._reused = [media.name for media in asked.history.media if media.url is None]
        self._attached = attach_known(asked.history.media, asked.memory.files)
        wire = WireRequest(
            "POST",
            f"{asked.base_url}/chat/completions",
            {**(_STREAM if asked.streaming else JSON), SESSION: asked.session},
            msgspec.json.encode(self._body),
        )
        reading = msgspec.structs.replace(
            asked.reading, json=asked.form.json, call_is_text=way == "function"
        )
        super().__init__(wire, (*asked.dropped, *asking.dropped), reading)
        self.copies = asked.copies

    @override
    def before(self) -> Errand[None] | None:
        return None if self._attached else self._upload()

    @override
    def after(self) -> Errand[list[ChatDelta]] | None:
        return self._complete() if self._speech.pictures else None

    @override
    def instead(self, error: XRouterError) -> GigaChatChat | None:
        if self._way == "native" and is_unknown_form(error):
            self._asked.memory.learn_schemaless(self._asked.model)
            try:
                return GigaChatChat(self._asked, self._asked.way_without_schema())
            except InvalidRequest:
                return None
        if self._attached and self._reused and is_lost_file(error):
            for name in self._reused:
                self._asked.memory.files.forget(name)
            return GigaChatChat(self._asked, self._way)
        return None

    @override
    def not_json(self) -> UpstreamMalformed:
        if self._way == "native":  # the field was passed over in silence
            self._asked.memory.learn_schemaless(self._asked.model)
        return super().not_json()

    def _upload(self) -> Errand[None]:
        asked = self._asked
        yield from attach(asked.history.media, asked.memory.files, asked.base_url)
        self.wire.body = msgspec.json.encode(self._body)

    def _complete(self) -> Errand[list[ChatDelta]]:
        pictures = yield from download(self._speech.pictures, self._asked.base_url)
        images = [as_part(typed, data) for typed, data in pictures]
        return [ChatDelta(extra={"images": images})]


def encode(
    request: ChatRequest, target: Target, base_url: str, memory: Memory, *, fetch: bool
) -> GigaChatChat:
    """Translate. Raises InvalidRequest, naming the parameter, for what cannot be said.

    fetch: whether images may be named by http address.
    """
    request, lost = parameters.at_home(request)
    parameters.refuse_unsupported(request)
    history = read_history(request.messages, fetch_images=fetch)
    note_unknown(history, request.fields)
    check_together(history.media)
    tooling = read_tools(request)
    form = read_form(request)
    effort, effort_dropped = parameters.reasoning(request)
    model = target.version.upstream
    fields: dict[str, Any] = {
        **parameters.native_fields(request.fields),
        "model": model,
        **parameters.sampling(request),
        **effort,
        **tooling.fields,
    }
    if request.streaming:
        fields["stream"] = True
    asked = Asked(
        base_url=base_url,
        model=model,
        fields=fields,
        history=history,
        tooling=tooling,
        form=form,
        dropped=[
            *lost,
            *parameters.given_up(request.fields),
            *parameters.outdone(request.fields),
            *effort_dropped,
            *tooling.dropped,
            *history.dropped,
        ],
        reading=Reading(
            stops=request.stops,
            legacy=not request.tools and bool(request.functions),
            must_call=tooling.instruction is not None,
        ),
        streaming=request.streaming,
        copies=request.n or 1,
        session=session_of(request, model, target.endpoint.id),
        memory=memory,
    )
    way = first_way(form, native=model not in memory.schemaless)
    if way == "function":
        way = asked.way_without_schema()
    return GigaChatChat(asked, way)
