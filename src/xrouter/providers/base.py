"""The contract of a provider: a pure translator without sockets.

An adapter is made for one endpoint. For each call it makes an exchange: what to send, and how to
read what comes back. The flow does the sending. Nothing here waits or keeps time.

    exchange = adapter.encode_chat(request, target)
    adapter.authorize(exchange.wire, token)      # token: the result of `auth`, or None
    ... wire sends exchange.wire ...
    status >= 400   ->  raise adapter.decode_error(reply), unless exchange.instead(error) helps
    not streaming   ->  exchange.answer(reply)   -> ChatAnswer
    streaming       ->  exchange.feed(name, data) -> deltas, for each event; exchange.end() at EOF

A call that takes further requests says so: exchange.before() are those that `wire` needs first,
exchange.after() those that complete the answer. Everything that is no chat and no embeddings is one
errand: a generator that yields requests and is sent their replies.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar

from msgspec import Struct

from xrouter.domain.abilities import Features
from xrouter.domain.answer import ChatAnswer, ChatDelta, Usage
from xrouter.domain.catalog import Endpoint, ModelDescription
from xrouter.domain.chat import ChatRequest
from xrouter.domain.counting import CountRequest, TokenCount
from xrouter.domain.embeddings import EmbeddingsAnswer, EmbeddingsRequest
from xrouter.domain.errors import InvalidRequest, XRouterError
from xrouter.domain.images import ImagesAnswer, ImagesRequest
from xrouter.domain.plan import Target
from xrouter.domain.raw import RawRequest
from xrouter.domain.secret import Secret
from xrouter.wire.types import Errand, Framing, TokenFlow, WireReply, WireRequest


class ChatExchange(ABC):
    """One chat call: what goes out, how its answer is read. Used once, keeps state.

    dropped: names of request parameters that were accepted but could not be mapped.
    copies: how often it is to be asked (`n` by several calls): the flow makes as many exchanges
    from the same request, and each one's choice 0 becomes the alternative of its number.
    The wire request asks for a stream exactly when the chat request does.
    """

    wire: WireRequest
    framing: Framing = Framing.SSE
    dropped: tuple[str, ...] = ()
    copies: int = 1

    def before(self) -> Errand[None] | None:
        """Requests to be made before `wire` can be sent (it may be completed by them), or None."""
        return None

    def after(self) -> Errand[list[ChatDelta]] | None:
        """Requests that complete an answer that was read to its end, or None.

        Returns what is to be added to the answer: text, `extra` of the message, a usage that
        replaces the one so far. Raising fails a whole answer, and is ignored for a stream.
        """
        return None

    def instead(self, error: XRouterError) -> ChatExchange | None:  # noqa: ARG002
        """Another way to ask the same endpoint, after this way was refused with the error."""
        return None

    @abstractmethod
    def answer(self, reply: WireReply) -> ChatAnswer:
        """Read a whole answer of status 2xx. Raises UpstreamError when it is not one."""

    @abstractmethod
    def feed(self, name: str, data: bytes) -> list[ChatDelta]:
        """Read one event. [] when it says nothing. Raises UpstreamError when it reports one."""

    @abstractmethod
    def end(self) -> list[ChatDelta]:
        """At the end of the body: what was held back. Raises UpstreamMalformed if it was cut."""

    @property
    @abstractmethod
    def finished(self) -> bool:
        """Whether the provider has said its last word: nothing more need be read."""


class EmbeddingsExchange(ABC):
    """One embeddings call, which may take several requests; the flow sends all of them."""

    wires: list[WireRequest]
    dropped: tuple[str, ...] = ()

    @abstractmethod
    def answer(self, replies: Sequence[WireReply]) -> EmbeddingsAnswer:
        """Read the replies (status 2xx, one for each wire, in order)."""


class Left(Struct, frozen=True):
    """A request that was left with the provider.

    reference: what `collect` takes, also in another process. dropped: see `ChatExchange`.
    """

    reference: str
    dropped: tuple[str, ...] = ()


class Lane(Struct, frozen=True):
    """How many calls an account takes at a time. key: names the account, holds no secret.

    More calls wait in turn; so several endpoints of one account share its lane. waiting: calls
    that may wait, None for a hundred for each place.
    """

    key: Hashable
    width: int
    waiting: int | None = None


class EnvironmentSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """The environment variables that make an endpoint of a provider, as data.

    required: groups of names; of every group at least one must be set, or there is no endpoint.
    credential, options: name of the field -> name of the variable that holds its value.
    credential_files: name of the credential field -> variable that holds the path of a file whose
    text is the value. The others: the variable for the field of `Endpoint` of the same name.
    """

    required: tuple[tuple[str, ...], ...]
    credential: dict[str, str] = {}
    credential_files: dict[str, str] = {}
    options: dict[str, str] = {}
    base_url: str | None = None
    ca_bundle: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    proxy: str | None = None


class EndpointFields(Struct, frozen=True, kw_only=True):
    """Fields of `domain.catalog.Endpoint` as the environment gives them.

    base_url: None when it is not set: the provider's default holds then.
    credential_files: credential fields whose value is the text of the file at this path.
    """

    base_url: str | None
    credential: dict[str, Secret]
    credential_files: dict[str, str]
    options: dict[str, str]
    ca_bundle: str | None
    client_cert: str | None
    client_key: str | None
    proxy: str | None


def from_environment(spec: EnvironmentSpec, environ: Mapping[str, str]) -> EndpointFields | None:
    """The endpoint that the variables describe, or None when a required one is not set.

    A variable that holds nothing but blanks counts as not set. Reads no files.
    """
    given = {name: value.strip() for name, value in environ.items() if value.strip()}
    if not all(any(name in given for name in group) for group in spec.required):
        return None

    def found(variables: Mapping[str, str]) -> dict[str, str]:
        return {field: given[name] for field, name in variables.items() if name in given}

    def single(variable: str | None) -> str | None:
        return None if variable is None else given.get(variable)

    return EndpointFields(
        base_url=single(spec.base_url),
        credential={field: Secret(text) for field, text in found(spec.credential).items()},
        credential_files=found(spec.credential_files),
        options=found(spec.options),
        ca_bundle=single(spec.ca_bundle),
        client_cert=single(spec.client_cert),
        client_key=single(spec.client_key),
        proxy=single(spec.proxy),
    )


class BaseAPIAdapter(ABC):
    """Translates between our chat types and one wire language, for one endpoint.

    provider: the provider it belongs to by default; the same adapter may serve rows of others.
    display_name: the provider's name for people; "" where `provider` will do.
    default_base_url: "" where only the operator can know it.
    environment: the variables that register an endpoint; None where there are none.
    detect_rank: when an unknown base URL is probed, adapters of smaller rank are asked first; a
    language that many services speak comes last.
    features: what it makes of each feature; a model's own description may say otherwise.
    variants: suffixes that any model's name may have there, though no list shows them.
    request_id_headers: response headers that name the call at the provider, the best first.
    account_options: options that belong to the account: another account's credential goes without
    them. own_options: those that may come with it, where a project brings its own.
    """

    provider: ClassVar[str]
    display_name: ClassVar[str] = ""
    default_base_url: ClassVar[str] = ""
    environment: ClassVar[EnvironmentSpec | None] = None
    detect_rank: ClassVar[int] = 0
    features: ClassVar[Features] = MappingProxyType({})
    variants: ClassVar[tuple[str, ...]] = ()
    request_id_headers: ClassVar[tuple[str, ...]] = ("x-request-id",)
    account_options: ClassVar[frozenset[str]] = frozenset()
    own_options: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.base_url = endpoint.base_url.rstrip("/")

    # --- what it knows by itself

    @classmethod
    @abstractmethod
    def supported_models(cls) -> list[ModelDescription]:
        """The models that ship with the adapter; [] where only the live list can tell."""

    @classmethod  # noqa: B027 - many adapters need nothing
    def validate(cls, endpoint: Endpoint) -> None:
        """Raise InvalidRequest when a credential or an option is missing."""

    @classmethod
    def detect_probe(cls, base_url: str) -> WireRequest | None:  # noqa: ARG003
        """A request without credential whose answer tells whether this is the right adapter.

        None where the adapter cannot be recognised from outside.
        """
        return None

    @classmethod
    def recognises(cls, reply: WireReply) -> bool:  # noqa: ARG003
        """Whether the answer to `detect_probe`, of any status, is one of this adapter's servers."""
        return False

    # --- who we are to the provider

    def auth(self, now: float) -> TokenFlow | None:  # noqa: ARG002
        """A fresh token exchange, or None when the credential itself goes into each request.

        now: unix seconds, for signed assertions.
        """
        return None

    @abstractmethod
    def authorize(self, wire: WireRequest, token: str | None) -> None:
        """Put the credential (or the token of `auth`) into the headers."""

    # --- the calls

    @abstractmethod
    def encode_chat(self, request: ChatRequest, target: Target) -> ChatExchange:
        """Translate. Raises InvalidRequest, naming the parameter, for what cannot be mapped."""

    def encode_embeddings(
        self,
        request: EmbeddingsRequest,  # noqa: ARG002
        target: Target,
    ) -> EmbeddingsExchange:
        """Translate an embeddings request."""
        raise _unsupported(target, "does not make embeddings")

    def images(self, request: ImagesRequest, target: Target) -> Errand[ImagesAnswer]:  # noqa: ARG002
        """Draw. Raises InvalidRequest, at once or on the way, for what cannot be asked."""
        raise _unsupported(target, "does not draw")

    def raw(self, request: RawRequest, target: Target) -> WireRequest:
        """The request to pass on, with the provider's name for the model in it."""
        raise _unsupported(target, f"does not serve {request.operation}")

    def raw_reader(self, request: RawRequest) -> Callable[[bytes], bytes] | None:  # noqa: ARG002
        """What makes of the whole answer the one for the caller; None: it goes out as it comes."""
        return None

    def count(self, request: CountRequest, target: Target) -> Errand[TokenCount] | None:  # noqa: ARG002
        """Count with the provider's tokenizer; None where it has none for this."""
        return None

    def defer(self, request: ChatRequest, target: Target) -> Errand[Left] | None:  # noqa: ARG002
        """Leave a request with the provider to be answered later, and cheaper; None: it cannot."""
        return None

    def collect(self, reference: str, target: Target) -> Errand[ChatAnswer]:  # noqa: ARG002
        """Ask until the deferred answer is there."""
        raise _unsupported(target, "does not answer later")

    # --- beside the calls

    def lane(self) -> Lane | None:
        """How many calls its account takes at a time, None where that is not known."""
        return None

    def chores(self, now: float) -> Errand[None] | None:  # noqa: ARG002
        """What should be done now and then (`now` in unix seconds): deleting old files, ..."""
        return None

    def afterwards(self, call: str) -> Errand[Usage | None] | None:  # noqa: ARG002
        """Ask what a call has used and cost that is over, by the provider's name of it.

        Returns None as long as the provider does not know it. None where it cannot be asked.
        """
        return None

    @abstractmethod
    def decode_error(self, reply: WireReply) -> XRouterError:
        """Turn an answer of status >= 300 into an error of ours: status first, then text."""

    # --- is it there, what has it got

    @abstractmethod
    def probe(self) -> WireRequest:
        """The cheapest request that shows that the endpoint and the credential work."""

    @abstractmethod
    def discover(self) -> WireRequest | None:
        """Ask for the live list of models; None where the provider has none."""

    def decode_models(self, reply: WireReply) -> list[ModelDescription]:  # noqa: ARG002
        """Read the live list."""
        return []


def _unsupported(target: Target, what: str) -> InvalidRequest:
    return InvalidRequest(
        f"The provider of the model '{target.model.model_id}' {what}.",
        param="model",
        code="unsupported_operation",
    )
