"""Which adapter classes there are, and what is known of the providers they speak to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from xrouter.domain.abilities import Degree, Feature
from xrouter.domain.catalog import Endpoint, ModelDescription
from xrouter.domain.errors import InvalidRequest
from xrouter.providers import factory
from xrouter.providers.base import BaseAPIAdapter
from xrouter.providers.factory import KnownProvider, Questions

AdapterClass = type[BaseAPIAdapter]


class Adapters:
    """classes: by dotted path, the one list that rows are checked against.

    default: the path for a provider's name, None when it has none. known: providers that ship with
    us, by name. identify: asks an unknown address who it is.
    """

    def __init__(
        self,
        classes: Mapping[str, AdapterClass],
        default: Callable[[str], str | None],
        *,
        known: Callable[[], Mapping[str, KnownProvider]] = factory.providers,
        identify: Callable[[str], Questions] = factory.identify,
    ) -> None:
        self.classes = classes
        self.default = default
        self.identify = identify
        self._known = known

    def require(self, path: str) -> AdapterClass:
        """The class of this path. Raises InvalidRequest when it is not a supported one."""
        found = self.classes.get(path)
        if found is None:
            raise InvalidRequest(
                f"'{path}' is not a supported adapter class.",
                param="adapter_class",
                code="unknown_adapter_class",
                hint=f"There are: {', '.join(sorted(self.classes))}.",
            )
        return found

    @property
    def known(self) -> Mapping[str, KnownProvider]:
        """Providers that ship with us, by name."""
        return self._known()

    def home(self, provider: str) -> str | None:
        """The usual base URL of a provider, None when only the operator can know it."""
        known = self._known().get(provider)
        return (known.default_base_url or None) if known is not None else None

    def shipped(self, provider: str, path: str) -> Sequence[ModelDescription]:
        """The models of a provider that ship with us. Raises InvalidRequest."""
        kind, known = self.require(path), self._known().get(provider)
        if known is not None and known.adapter_class == path:
            return known.supported_models
        return kind.supported_models()

    def features(self, provider: str, path: str) -> dict[Feature, Degree]:
        """What a provider makes of features through the adapter of this path."""
        known = self._known().get(provider)
        own = known.features if known is not None and known.adapter_class == path else {}
        return {**self.classes[path].features, **own}

    def build(self, endpoint: Endpoint) -> BaseAPIAdapter:
        """The adapter of an endpoint. Raises InvalidRequest when something is missing."""
        kind, known = self.require(endpoint.adapter_class), self._known().get(endpoint.provider)
        if known is not None and known.adapter_class == endpoint.adapter_class and known.options:
            endpoint = msgspec.structs.replace(endpoint, options=known.options | endpoint.options)
        kind.validate(endpoint)
        return kind(endpoint)


def supported() -> Adapters:
    """The adapters of this installation."""

    def default(provider: str) -> str | None:
        known = factory.providers().get(provider)
        return known.adapter_class if known is not None else None

    return Adapters(factory.adapter_classes(), default)
