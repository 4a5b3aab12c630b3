"""What is known of a request when its plan is made. Most plans look at little of it."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b

from xrouter.domain.chat import ChatRequest, text_of
from xrouter.domain.embeddings import EmbeddingsRequest
from xrouter.domain.errors import InvalidRequest
from xrouter.domain.identity import Principal
from xrouter.domain.images import ImagesRequest
from xrouter.flow.yardstick import prompt_characters, tokens_of

COUNTRIES = b"x-xrouter-countries"
MAX_PRICE = b"x-xrouter-max-price"
SESSION = b"x-xrouter-session"
TAGS = b"x-xrouter-tags"
_HEAD = 2000
_COUNTRY = 2
_BILLION = 1_000_000_000

Headers = Mapping[bytes, bytes]
Other = EmbeddingsRequest | ImagesRequest


class Ask:
    """One request, as strategies, conditions and limits see it. request: None for anything but a
    chat. other: vectors or pictures that are asked for instead.

    is_real: it will be sent; else somebody only looks where it would go, and takes no turn.
    """

    is_real = True
    __slots__ = ("_characters", "_tokens", "headers", "other", "principal", "rates", "request")

    def __init__(
        self,
        principal: Principal,
        request: ChatRequest | None = None,
        headers: Headers | None = None,
        rates: Mapping[str, int] | None = None,
        other: Other | None = None,
    ) -> None:
        """rates: billionths of a ruble for one unit of a currency."""
        self.principal = principal
        self.request = request
        self.other = other
        self.headers: Headers = headers or {}
        self.rates: Mapping[str, int] = rates or {}
        self._characters: int | None = None
        self._tokens: int | None = None

    @property
    def is_bound(self) -> bool:
        """Whether its headers limit where it may go."""
        return COUNTRIES in self.headers or MAX_PRICE in self.headers

    @property
    def tokens(self) -> int:
        """An estimate of the prompt's tokens; 0 where there is no prompt."""
        if self._tokens is None:
            self._tokens = self._counted()
        return self._tokens

    @property
    def characters(self) -> int:
        """Of the prompt of a chat."""
        if self._characters is None:
            self._characters = 0 if self.request is None else prompt_characters(self.request)
        return self._characters

    def _counted(self) -> int:
        other = self.other
        if self.request is not None:
            return tokens_of(self.characters)
        if isinstance(other, EmbeddingsRequest):
            return sum(tokens_of(len(text)) for text in other.input)
        return 0 if other is None else tokens_of(len(other.prompt))

    @property
    def pictures(self) -> int:
        """How many are to be drawn."""
        other = self.other
        return other.n or 1 if isinstance(other, ImagesRequest) else 0

    @property
    def end_user(self) -> str | None:
        """Whom the caller names as theirs."""
        if self.request is not None:
            return self.request.end_user
        return None if self.other is None else self.other.user

    @property
    def output(self) -> int | None:
        """The most tokens that the answer may have, None when the caller did not say."""
        return None if self.request is None else self.request.output_limit

    @property
    def countries(self) -> tuple[str, ...]:
        """From where an answer may come by the caller's header; () for anywhere.

        Raises InvalidRequest.
        """
        raw = self.header(COUNTRIES)
        if raw is None:
            return ()
        codes = tuple(code.strip().upper() for code in raw.split(","))
        if not all(len(code) == _COUNTRY and code.isalpha() for code in codes):
            raise InvalidRequest(
                "The header 'x-xrouter-countries' must list two-letter country codes.",
                param="x-xrouter-countries",
                hint="For example: x-xrouter-countries: RU",
            )
        return codes

    @property
    def max_price(self) -> int | None:
        """Billionths of a ruble by the caller's header. Raises InvalidRequest."""
        raw = self.header(MAX_PRICE)
        if raw is None:
            return None
        whole, _, part = raw.strip().partition(".")
        if not (whole + part).isdecimal() or not raw.isascii() or len(raw) > 20:  # noqa: PLR2004
            raise InvalidRequest(
                "The header 'x-xrouter-max-price' must be an amount of rubles.",
                param="x-xrouter-max-price",
                hint="For example: x-xrouter-max-price: 0.50",
            )
        return int(whole or "0") * _BILLION + int((part + "0" * 9)[:9])

    @property
    def session(self) -> str:
        """Requests with the same one should meet the same machine: it has their prompt cached."""
        named = self.header(SESSION)
        if named is not None:
            return named
        request = self.request
        if request is None:
            return self.principal.key_id
        key = request.fields.get("prompt_cache_key")
        if key is not None:
            return bytes(key).decode("utf-8", "replace")
        if request.user is not None:
            return request.user
        head = "".join(text_of(message.content) for message in request.messages[:2])[:_HEAD]
        return blake2b(head.encode("utf-8", "replace"), digest_size=8).hexdigest()

    @property
    def tags(self) -> frozenset[str]:
        """Of the header `x-xrouter-tags`, separated by commas."""
        raw = self.header(TAGS)
        return frozenset(tag.strip() for tag in raw.split(",")) if raw else frozenset()

    @property
    def is_russian(self) -> bool:
        """Whether most letters of the last message are Cyrillic."""
        if self.request is None or not self.request.messages:
            return False
        letters = [c for c in text_of(self.request.messages[-1].content)[:_HEAD] if c.isalpha()]
        return 2 * sum("\u0400" <= c <= "\u04ff" for c in letters) > len(letters)

    def header(self, name: bytes) -> str | None:
        """A header of the request as text, None when it has none of this name."""
        raw = self.headers.get(name)
        return None if raw is None else raw.decode("latin-1")


class Look(Ask):
    """A request that is only asked about."""

    __slots__ = ()
    is_real = False
