"""What answers now, for everybody: a page for people and a document for programs, without a key."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from urllib.parse import parse_qs

from msgspec import Struct

from xrouter.domain.status import ModelStatus, PublicStatus, StatusView
from xrouter.edge.asgi import Header
from xrouter.edge.mistakes import invalid_value
from xrouter.edge.outlet import JSON
from xrouter.edge.routes import Route
from xrouter.edge.status_page import HTML, STATES, Asked, language, page
from xrouter.edge.visit import Visit
from xrouter.edge.voice import encode

MAX_PAGE = 1000
_OK, _SAME = 200, 304
_MAX_BODIES = 64
_LONGEST = 80
_CSS = Path(__file__).with_name("page") / "status.css"
_BRIEFLY = (b"cache-control", b"public, max-age=5")
_BY_LANGUAGE = (b"vary", b"accept-language")
_SAFE = (
    (
        b"content-security-policy",
        (
            b"default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; "
            b"frame-ancestors 'none'"
        ),
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)


class StatusDocument(Struct, omit_defaults=True):
    """A part of the models that were asked for. counts: of all models, by state.

    watched_since: unix seconds. next: what to send as `after` for the part behind this one.
    """

    watched_since: int
    counts: dict[str, int]
    models: tuple[ModelStatus, ...]
    next: str | None = None


class _Sheet:
    """A view, made ready to be asked; and the bodies that were made of it."""

    def __init__(self, view: StatusView) -> None:
        self.view = view
        self.counts = dict.fromkeys(STATES, 0)
        for model in view.models:
            self.counts[model.state] += 1
        self._texts = [f"{model.id}\n{model.name}".casefold() for model in view.models]
        self._bodies: dict[object, tuple[bytes, bytes]] = {}

    def found(self, asked: Asked) -> list[ModelStatus]:
        """The models that were asked for."""
        text = asked.text.casefold()
        return [
            model
            for model, said in zip(self.view.models, self._texts, strict=True)
            if asked.state in ("", model.state) and text in said
        ]

    def body(self, key: object, make: Callable[[], bytes]) -> tuple[bytes, bytes]:
        """What is made once for a key, and its tag."""
        found = self._bodies.get(key)
        if found is None:
            if len(self._bodies) >= _MAX_BODIES:
                self._bodies.clear()
            body = make()
            tag = b'"%b"' % blake2b(body, digest_size=12).hexdigest().encode()
            found = self._bodies[key] = body, tag
        return found


class StatusPages:
    """Serves `/status` and `/status.json`."""

    def __init__(self, source: PublicStatus) -> None:
        self._source = source
        self._sheet = _Sheet(StatusView(0, ()))
        self._css = _CSS.read_bytes()

    def routes(self) -> list[Route]:
        """All of it."""
        pages = {"/status": self._page, "/status.json": self._document, "/status.css": self._style}
        return [Route(method="GET", path=path, serve=serve) for path, serve in pages.items()]

    async def _page(self, visit: Visit) -> None:
        query = _query(visit)
        state = query.get("state", "")
        number = query.get("page", "")
        asked = Asked(
            language(query.get("lang", ""), visit.headers.get(b"accept-language", b"")),
            state if state in STATES else "",
            query.get("q", "").strip()[:_LONGEST],
            int(number) if number.isdecimal() and len(number) < _LONGEST else 1,
        )
        sheet = await self._now()
        body, tag = sheet.body(
            asked, lambda: page(asked, sheet.found(asked), sheet.counts, sheet.view.watched_since)
        )
        spoken = (b"content-language", asked.language.encode())
        await _send(visit, HTML, body, tag, _BY_LANGUAGE, spoken, *_SAFE)

    async def _document(self, visit: Visit) -> None:
        query = _query(visit)
        raw, state = query.get("limit", str(MAX_PAGE)), query.get("state", "")
        limit = int(raw) if raw.isdecimal() and len(raw) <= len(str(MAX_PAGE)) else 0
        if not 1 <= limit <= MAX_PAGE:
            message = f"Invalid 'limit': expected an integer from 1 to {MAX_PAGE}."
            raise invalid_value(message, param="limit")
        if state and state not in STATES:
            message = f"Invalid 'state': expected one of {', '.join(STATES)}."
            raise invalid_value(message, param="state")
        asked = Asked("", state, query.get("q", "").strip()[:_LONGEST])
        after = query.get("after", "")
        sheet = await self._now()
        body, tag = sheet.body((asked, after, limit), lambda: _part(sheet, asked, after, limit))
        await _send(visit, JSON, body, tag)

    async def _style(self, visit: Visit) -> None:
        await visit.out.whole(_OK, b"text/css; charset=utf-8", self._css, *_SAFE)

    async def _now(self) -> _Sheet:
        view = await self._source.look()
        if view is not self._sheet.view:
            self._sheet = _Sheet(view)
        return self._sheet


def _part(sheet: _Sheet, asked: Asked, after: str, limit: int) -> bytes:
    """The models behind the id `after`, which need not be there any more."""
    found = [model for model in sheet.found(asked) if model.id > after]
    part = tuple(found[:limit])
    more = part[-1].id if len(found) > limit else None
    return encode(StatusDocument(sheet.view.watched_since, sheet.counts, part, more))


def _query(visit: Visit) -> dict[str, str]:
    raw = visit.scope["query_string"].decode("latin-1")
    return {name: given[-1] for name, given in parse_qs(raw).items()}


async def _send(visit: Visit, kind: bytes, body: bytes, tag: bytes, *headers: Header) -> None:
    """The body, unless the caller has it already."""
    headers = ((b"etag", tag), _BRIEFLY, *headers)
    has = visit.headers.get(b"if-none-match", b"")
    if any(each.strip().removeprefix(b"W/") in (tag, b"*") for each in has.split(b",")):
        await visit.out.empty(_SAME, *headers)
        return
    await visit.out.whole(_OK, kind, body, *headers)
