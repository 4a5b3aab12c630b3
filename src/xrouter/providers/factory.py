"""Which adapters there are, which providers they speak to, and an adapter for each endpoint.

No list of names is kept: adapters are the concrete classes in this package and those that installed
packages offer under the entry point group `xrouter.adapters`; rows are files.
"""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Callable, Generator, Iterator
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from types import ModuleType
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

import xrouter.providers
from xrouter.domain.abilities import Degree, Feature
from xrouter.domain.catalog import Endpoint, ModelDescription, Version
from xrouter.domain.errors import InvalidRequest, UpstreamMalformed, XRouterError
from xrouter.providers.base import BaseAPIAdapter, EnvironmentSpec
from xrouter.providers.rows import Row, RowDetect, RowError, rows
from xrouter.wire.types import WireReply, WireRequest

GROUP = "xrouter.adapters"
_SHAPES = "shapes"
_NO_ENDPOINT = 0
_ROW_RANK = 50
_OK = 200


class KnownProvider(Struct, frozen=True, kw_only=True):
    """A provider that can be registered. default_base_url: "" where only the operator knows it.

    options: what its endpoints have unless they say otherwise. features: what it makes of some,
    where that is not what its adapter says.
    """

    name: str
    display_name: str
    adapter_class: str
    default_base_url: str
    supported_models: tuple[ModelDescription, ...] = ()
    options: dict[str, str] = {}
    features: dict[Feature, Degree] = {}
    environment: EnvironmentSpec | None = None
    detect: RowDetect | None = None


class Identified(Struct, frozen=True, kw_only=True):
    """Who answers at an address. base_url: what the endpoint's is to be."""

    provider: KnownProvider
    base_url: str


Questions = Generator[WireRequest, WireReply | XRouterError, Identified]
"""Yields requests, is sent the replies (of any status) or the errors of sending them."""


@cache
def adapter_classes() -> dict[str, type[BaseAPIAdapter]]:
    """Every adapter, by the one dotted path that names it."""
    found: dict[str, type[BaseAPIAdapter]] = {}
    for module in _modules(xrouter.providers):
        for cls in _adapters_in(module):
            found[f"{cls.__module__}.{cls.__qualname__}"] = cls
    for point in entry_points(group=GROUP):
        cls = point.load()
        if not inspect.isclass(cls) or not issubclass(cls, BaseAPIAdapter):
            raise TypeError(f"entry point '{point.name}' of {GROUP} is no adapter")
        found[f"{cls.__module__}.{cls.__qualname__}"] = cls
    return dict(sorted(found.items()))


def resolve(dotted: str) -> type[BaseAPIAdapter]:
    """The adapter of this path. Raises InvalidRequest when it is not one of ours."""
    try:
        return adapter_classes()[dotted]
    except KeyError:
        raise InvalidRequest(
            f"There is no adapter '{dotted}'.",
            code="invalid_value",
            param="adapter_class",
            hint=f"There are: {', '.join(adapter_classes())}.",
        ) from None


def build(endpoint: Endpoint) -> BaseAPIAdapter:
    """The adapter for an endpoint. Raises InvalidRequest when its configuration is not sound."""
    cls = resolve(endpoint.adapter_class)
    row = rows().get(endpoint.provider)
    if row is not None and row.options and row.adapter_class == endpoint.adapter_class:
        endpoint = msgspec.structs.replace(endpoint, options=row.options | endpoint.options)
    cls.validate(endpoint)
    return cls(endpoint)


@cache
def providers() -> dict[str, KnownProvider]:
    """The known providers by name, those of adapters first. Raises RowError."""
    known: dict[str, KnownProvider] = {}
    for path, cls in adapter_classes().items():
        known.setdefault(cls.provider, _of_adapter(path, cls))
    for row in rows().values():
        if row.provider in known:
            raise RowError(f"{row.provider}.toml: provider: an adapter has this name already")
        known[row.provider] = of_row(row)
    return known


def of_row(row: Row) -> KnownProvider:
    """A row as a provider. Raises RowError when its adapter or its options do not exist."""
    try:
        cls = resolve(row.adapter_class)
        cls.validate(_endpoint_of(row))
    except InvalidRequest as error:
        if not (error.param or "").startswith("credential"):
            raise RowError(f"{row.provider}.toml: {error.param}: {error.message}") from None
    return KnownProvider(
        name=row.provider,
        display_name=row.display_name,
        adapter_class=row.adapter_class,
        default_base_url=row.base_url,
        supported_models=tuple(
            ModelDescription(
                name=model.name,
                display_name=model.display_name or model.name,
                kind=model.kind,
                context_length=model.context_length,
                versions=(Version(label="latest", upstream=model.name, channel="latest"),),
            )
            for model in row.models
        ),
        options=row.options,
        features=row.features,
        environment=row.environment,
        detect=row.detect,
    )


def detect(base_url: str) -> Generator[WireRequest, WireReply | XRouterError, str]:
    """Ask an unknown address who it is; returns the dotted path of the adapter for it.

    Raises InvalidRequest when nobody known answers, or the error of an address without an answer.
    """
    found = yield from identify(base_url)
    return found.provider.adapter_class


def identify(base_url: str) -> Questions:
    """As `detect`, but returns the provider and the base URL that fits it."""
    address = base_url.rstrip("/")
    if not address.startswith(("https://", "http://")) or not urlsplit(address).hostname:
        raise _unknown(base_url, "It must be an http or https URL.")
    for provider in providers().values():
        if _is_home(provider, address):
            return Identified(provider=provider, base_url=address)
    asked: dict[str, WireReply | XRouterError] = {}
    for question in _questions(address):
        if question.probe.url not in asked:
            asked[question.probe.url] = yield question.probe
        reply = asked[question.probe.url]
        if isinstance(reply, WireReply):
            if question.recognises(reply):
                return question.meaning
        elif not isinstance(reply, UpstreamMalformed):
            raise reply
    raise _unknown(base_url, "Nothing there speaks a language that is known here.")


class _Question(Struct, frozen=True, kw_only=True):
    rank: int
    probe: WireRequest
    recognises: Callable[[WireReply], bool]
    meaning: Identified


def _questions(address: str) -> list[_Question]:
    """What to ask an address, the most telling first."""
    found: list[_Question] = []
    for provider in providers().values():
        cls = resolve(provider.adapter_class)
        if provider.detect is not None:
            found.append(_row_question(provider, provider.detect, address))
        elif cls.provider == provider.name:
            found += _adapter_questions(provider, cls, address)
    return sorted(found, key=lambda question: question.rank)


def _adapter_questions(
    provider: KnownProvider, cls: type[BaseAPIAdapter], address: str
) -> Iterator[_Question]:
    """An address without a path is tried with the usual one too."""
    for base_url in (address,) if urlsplit(address).path else (address, address + "/v1"):
        probe = cls.detect_probe(base_url)
        if probe is not None:
            meaning = Identified(provider=provider, base_url=base_url)
            yield _Question(
                rank=cls.detect_rank, probe=probe, recognises=cls.recognises, meaning=meaning
            )


def _row_question(provider: KnownProvider, sign: RowDetect, address: str) -> _Question:
    path = urlsplit(provider.default_base_url).path.rstrip("/")
    root = address.removesuffix(path)
    text = sign.contains.encode()
    return _Question(
        rank=_ROW_RANK,
        probe=WireRequest("GET", root + sign.path, {"accept": "*/*"}),
        recognises=lambda reply: reply.status == _OK and text in reply.body,
        meaning=Identified(provider=provider, base_url=root + path),
    )


def _is_home(provider: KnownProvider, address: str) -> bool:
    """Whether the address is the provider's own, which needs no asking."""
    home, given = urlsplit(provider.default_base_url), urlsplit(address)
    return home.scheme == given.scheme == "https" and home.netloc == given.netloc


def _unknown(base_url: str, why: str) -> InvalidRequest:
    return InvalidRequest(
        f"The adapter for '{base_url[:200]}' cannot be found out. {why}",
        code="invalid_value",
        param="base_url",
        hint="Name the adapter yourself: `adapter_class`.",
    )


def _of_adapter(path: str, cls: type[BaseAPIAdapter]) -> KnownProvider:
    return KnownProvider(
        name=cls.provider,
        display_name=cls.display_name or cls.provider,
        adapter_class=path,
        default_base_url=cls.default_base_url,
        supported_models=tuple(cls.supported_models()),
        environment=cls.environment,
    )


def _endpoint_of(row: Row) -> Endpoint:
    return Endpoint(
        id=_NO_ENDPOINT,
        provider=row.provider,
        name="row",
        adapter_class=row.adapter_class,
        base_url=row.base_url,
        options=row.options,
    )


def _modules(package: ModuleType) -> Iterator[ModuleType]:
    """All modules of the package but the shapes, which hold what adapters have in common."""
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not found.name.startswith(f"{package.__name__}.{_SHAPES}"):
            yield import_module(found.name)


def _adapters_in(module: ModuleType) -> Iterator[type[BaseAPIAdapter]]:
    """The concrete adapters that the module defines itself."""
    for name, cls in vars(module).items():
        if (
            inspect.isclass(cls)
            and issubclass(cls, BaseAPIAdapter)
            and cls.__module__ == module.__name__
            and not inspect.isabstract(cls)
            and not name.startswith("_")
        ):
            yield cls
