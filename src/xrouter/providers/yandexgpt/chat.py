"""A chat request to an exchange: which API, which way, what is fetched before and counted after."""

from __future__ import annotations

import base64
import binascii
from functools import partial
from typing import Literal

import msgspec

from xrouter.domain.answer import ChatAnswer
from xrouter.domain.catalog import Model
from xrouter.domain.chat import ChatRequest
from xrouter.domain.counting import TokenCount
from xrouter.domain.errors import InvalidRequest
from xrouter.domain.plan import Target
from xrouter.providers.base import ChatExchange, Left
from xrouter.providers.shapes.messages_fields import at_home
from xrouter.providers.yandexgpt.choice import asked_tools
from xrouter.providers.yandexgpt.compatible_decode import CompatibleChat
from xrouter.providers.yandexgpt.compatible_encode import Shape, compatible_body
from xrouter.providers.yandexgpt.door import Door
from xrouter.providers.yandexgpt.exchange import Asked
from xrouter.providers.yandexgpt.leaks import CALL_ENDS
from xrouter.providers.yandexgpt.models import (
    HIDDEN_REASONING,
    is_own,
    not_ended,
    sees,
    tells_likelihoods,
)
from xrouter.providers.yandexgpt.native_decode import NativeChat, read_result, whole_answer
from xrouter.providers.yandexgpt.native_encode import native_body
from xrouter.providers.yandexgpt.operations import begun, ended, growing
from xrouter.providers.yandexgpt.params import (
    AUDIO,
    LIKELIHOODS,
    NO_ODDS,
    NO_REASONING,
    OPEN_MESSAGE,
    OWN_MESSAGE,
    check_folder,
    lost_keys,
    refuse,
    stops_of,
    untranslated,
)
from xrouter.providers.yandexgpt.pictures import Pictures
from xrouter.providers.yandexgpt.terms import Manner, Terms, manner_of
from xrouter.providers.yandexgpt.tokens import Tokenizer
from xrouter.providers.yandexgpt.uri import chat_uri, check_model, reference
from xrouter.providers.yandexgpt.wanted_json import Way, next_way, wants_json
from xrouter.wire.types import Errand

Api = Literal["native", "compatible"]

_POLLS = 5_000
"""With a minute between them that is longer than the three days that results are kept."""


class Chats:
    """The chats of one endpoint. setting: the API that the operator has fixed, or "auto"."""

    def __init__(self, door: Door, setting: str, *, fetch_images: bool) -> None:
        self._door = door
        self._setting = setting
        self._fetch_images = fetch_images

    def exchange(self, request: ChatRequest, target: Target) -> ChatExchange:
        """The call. Raises InvalidRequest for what cannot be mapped."""
        ref = self._checked(request, target)
        return self._exchange(request, ref, Way.ASKED, Pictures(fetch=self._fetch_images))

    def defer(self, request: ChatRequest, target: Target) -> Errand[Left] | None:
        """A request for half the price; the reference holds what the answer is to be read by.

        None for models that the native API does not have. That it is deferred is what a
        `service_tier` asks for.
        """
        ref = reference(target.version.upstream, self._door.folder)
        if not is_own(ref) or self._setting == "compatible":
            return None
        self._checked(request, target)
        if (request.n or 1) > 1:
            raise InvalidRequest(
                "A deferred request has one answer.", code="unsupported_value", param="n"
            )
        dropped = lost_keys(request, OWN_MESSAGE) | untranslated(request.fields)
        body = native_body(request, ref, chat_uri(ref, self._door.folder), dropped)
        body["completionOptions"] |= {"stream": False}
        lost = tuple(sorted(dropped - {"service_tier"}))
        return self._deferred(body, self._manner(request, ref, Way.ASKED), lost)

    def collect(self, given: str, target: Target) -> Errand[ChatAnswer]:
        """The answer to a deferred request, asked for with longer and longer pauses."""
        ref = reference(target.version.upstream, self._door.folder)
        operation_id, _, packed = given.partition(".")
        terms = self._terms(ref, _unpacked(packed))
        pauses = (0.0, *growing(2.0, 1.5, 60.0, _POLLS))
        response = yield from ended(self._door, operation_id, pauses)
        return whole_answer(read_result(response), terms)

    def count(self, request: ChatRequest, ref: str) -> Errand[TokenCount]:
        """Tokens of the prompt that one of the provider's own models would be given."""
        body = native_body(request, ref, chat_uri(ref, self._door.folder), set())
        return self.tokenizer(ref).prompt(body)

    def tokenizer(self, ref: str) -> Tokenizer:
        """Of one of the provider's own models."""
        door = self._door
        return Tokenizer(door.native, door.refusal, chat_uri(ref, door.folder))

    def _checked(self, request: ChatRequest, target: Target) -> str:
        """The model's reference. Raises InvalidRequest for what no way of asking can do."""
        folder = self._door.folder
        check_model(request.model, folder)
        ref = reference(target.version.upstream, folder)
        not_ended(ref)
        check_folder(request.fields)
        refuse(request.fields, (*AUDIO, *self._odds(ref, target.model)), target.model.model_id)
        return ref

    def _odds(self, ref: str, model: Model) -> tuple[str, ...]:
        """What the model does not do of what is asked about the odds of tokens."""
        if is_own(ref) or self._setting == "native":
            return NO_ODDS
        return () if tells_likelihoods(model) else LIKELIHOODS

    def _exchange(
        self, request: ChatRequest, ref: str, way: Way, pictures: Pictures
    ) -> ChatExchange:
        request, lost = at_home(request)
        api = api_for(ref, self._setting, request)
        own = is_own(ref)
        uri = chat_uri(ref, self._door.folder)
        kept = OWN_MESSAGE if own or api == "native" else OPEN_MESSAGE
        dropped = lost_keys(request, kept).union(lost)
        counting = None
        if own:
            prompt = partial(native_body, request, ref, uri, set(), way)
            counting = partial(self.tokenizer(ref).usage, prompt)
        other = next_way(request, way, native=api == "native")
        again = None if other is None else partial(self._exchange, request, ref, other, pictures)
        first = None
        if api == "native":
            dropped |= untranslated(request.fields)
            body = native_body(request, ref, uri, dropped, way)
            wire = self._door.native("completion", body)
        else:
            shape = Shape(uri=uri, own=own, way=way, pictures=pictures if sees(ref) else None)
            body = compatible_body(request, shape, dropped)
            wire = self._door.compatible("chat/completions", body)
            first = partial(pictures.put_into, wire, body) if pictures.awaited else None
        asked = Asked(
            wire=wire,
            terms=self._terms(ref, self._manner(request, ref, way)),
            dropped=tuple(sorted(dropped)),
            copies=request.n or 1,
            first=first,
            again=again,
            counting=counting,
        )
        return NativeChat(asked) if api == "native" else CompatibleChat(asked)

    def _deferred(
        self, body: dict[str, object], manner: Manner, dropped: tuple[str, ...]
    ) -> Errand[Left]:
        wire = self._door.native("completionAsync", body)
        operation_id = yield from begun(self._door, wire)
        packed = _packed(manner)
        reference = f"{operation_id}.{packed}" if packed else operation_id
        return Left(reference, dropped)

    def _manner(self, request: ChatRequest, ref: str, way: Way) -> Manner:
        tools, _ = asked_tools(request)
        names = tuple(tool.name for tool in tools) if is_own(ref) else ()
        fenced = way is Way.TOLD
        return manner_of(request, stops_of(request), names, fenced=fenced)

    def _terms(self, ref: str, manner: Manner) -> Terms:
        return Terms(
            ref=ref,
            folder=self._door.folder,
            own=is_own(ref),
            errors=self._door.errors,
            manner=manner,
            markers=(CALL_ENDS,) if manner.tools else (),
        )


def api_for(ref: str, setting: str, request: ChatRequest) -> Api:
    """Which API serves a chat: what the operator has fixed, else by family and need.

    open model                          compatible  the native API does not have them
    own model, tools or reasoning       native      only there both are reliable
    own model, JSON and none of these   compatible  JSON with a name and `strict` is known there
    own model, anything else            native      usage in streams, the build that answered
    """
    if setting == "native":
        return "native"
    if setting == "compatible" or not is_own(ref):
        return "compatible"
    reasons = ref in HIDDEN_REASONING and request.reasoning_effort not in NO_REASONING
    if reasons or asked_tools(request)[0] or not wants_json(request):
        return "native"
    return "compatible"


def _packed(manner: Manner) -> str:
    """As text of a reference; "" when there is nothing to say."""
    if manner == Manner():
        return ""
    return base64.urlsafe_b64encode(msgspec.json.encode(manner)).decode().rstrip("=")


def _unpacked(text: str) -> Manner:
    if not text:
        return Manner()
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        return msgspec.json.decode(raw, type=Manner)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest(
            "This is no reference to a deferred answer.", code="invalid_value"
        ) from error
