"""GigaChat: the adapter of its second chat contract (`/v2`: content parts, named events)."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import ClassVar

from typing_extensions import override

from xrouter.domain.abilities import Features
from xrouter.domain.catalog import Endpoint
from xrouter.domain.chat import ChatRequest
from xrouter.domain.plan import Target
from xrouter.providers.gigachat.adapter import GigaChatAdapter
from xrouter.providers.gigachat.v2.encode import GigaChatV2Chat, Place, encode

_VERSION = re.compile(r"/v\d+$")


class GigaChatV2Adapter(GigaChatAdapter):
    """Speaks GigaChat's second contract in chats; all else is asked as in the first.

    Chosen by an endpoint's `adapter_class`; the provider's default is the first contract. The host
    is `api.giga.chat`: the old one refuses the second contract.
    """

    default_base_url: ClassVar[str] = "https://api.giga.chat/v1"
    features: ClassVar[Features] = MappingProxyType(
        {
            **GigaChatAdapter.features,
            "parallel_tools": "native",
            "tool_choice_required": "native",
        }
    )

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint)
        self._chats = _VERSION.sub("/v2", self.base_url) + "/chat/completions"

    @override
    def encode_chat(self, request: ChatRequest, target: Target) -> GigaChatV2Chat:
        place = Place(chats=self._chats, files=self.base_url, memory=self._memory)
        return encode(request, target, place, fetch=self._fetch)
