"""Where the provider's methods are, and what a refusal of them means."""

from __future__ import annotations

from typing import Any

import msgspec

from xrouter.domain.catalog import Endpoint
from xrouter.domain.errors import XRouterError
from xrouter.providers.yandexgpt.errors import ErrorReader
from xrouter.wire.types import WireReply, WireRequest

_NATIVE = "/foundationModels/v1"
_COMPATIBLE = "/v1"
_CLOUD = ".api.cloud.yandex.net"
_OPERATIONS = "https://operation.api.cloud.yandex.net"


class Door:
    """The hosts of one endpoint.

    root: the base URL without the path of either API. folder: ours, at the provider.
    """

    def __init__(self, endpoint: Endpoint, base_url: str) -> None:
        self.root = base_url.removesuffix(_NATIVE).removesuffix(_COMPATIBLE)
        self.folder = folder_of(endpoint)
        self.errors = ErrorReader(
            [*(secret.reveal() for secret in endpoint.credential.values()), self.folder]
        )
        usual = _OPERATIONS if self.root.endswith(_CLOUD) else self.root
        self._operations = endpoint.options.get("operations_url", usual).rstrip("/")

    def native(self, method: str, body: dict[str, Any]) -> WireRequest:
        """A call of the native API."""
        return _post(f"{self.root}{_NATIVE}/{method}", body)

    def compatible(self, path: str, body: dict[str, Any]) -> WireRequest:
        """A call of the OpenAI-compatible API."""
        return _post(f"{self.root}{_COMPATIBLE}/{path}", body)

    def models(self) -> WireRequest:
        """The list of models, which only the compatible API has."""
        url = f"{self.root}{_COMPATIBLE}/models"
        return WireRequest("GET", url, {"accept": "application/json"})

    def operation(self, operation_id: str, pause: float) -> WireRequest:
        """How an operation stands. pause: seconds to wait before."""
        url = f"{self._operations}/operations/{operation_id}"
        return WireRequest("GET", url, {"accept": "application/json"}, pause=pause)

    def is_compatible(self, wire: WireRequest) -> bool:
        """Whether the request goes to the compatible API."""
        return wire.url.startswith(f"{self.root}{_COMPATIBLE}/")

    def refusal(self, reply: WireReply) -> XRouterError:
        """The error of a reply of status >= 300."""
        return self.errors.from_reply(reply)


def folder_of(endpoint: Endpoint) -> str:
    """The folder, from the credential or the options; "" when neither has it."""
    secret = endpoint.credential.get("folder_id")
    return secret.reveal() if secret else endpoint.options.get("folder_id", "")


def _post(url: str, body: dict[str, Any]) -> WireRequest:
    headers = {"content-type": "application/json"}
    return WireRequest("POST", url, headers, msgspec.json.encode(body))
