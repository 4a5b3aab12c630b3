"""The API of sign-in providers, and the two addresses that browsers come by."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote, urlsplit

from fastapi import APIRouter, Path, Request, Response
from starlette.responses import RedirectResponse

from xrouter.control.kit.access import Access, open_to
from xrouter.control.kit.actor import actor
from xrouter.control.kit.rooms import room
from xrouter.control.kit.schemas import Deleted, Page
from xrouter.control.people import cookies
from xrouter.control.people.oidc.schemas import (
    AcceptIn,
    BegunOut,
    IdentityOut,
    LinkIn,
    ProviderOut,
)
from xrouter.control.people.oidc.service import Begun, OidcService
from xrouter.control.people.oidc.words import WORDS, SignInProblem
from xrouter.control.people.pages import HEADERS, Languages, language, said
from xrouter.control.people.ways import is_local
from xrouter.domain.errors import Conflict, NotFound, NotReady
from xrouter.domain.secret import Secret

SEE_OTHER = 303
SIGN_IN = "/control/sign-in"
_DONE = {False: "/control/signed-in", True: "/control/linked"}
"""Where one ends who wanted to go nowhere; by whether an identity was linked."""
_OWN = ("same-origin", "none")
_PORTS = {"http": 80, "https": 443}

router = APIRouter(prefix="/auth", tags=["auth"])
pages = APIRouter(prefix="/control", include_in_schema=False)

Way = Annotated[OidcService, room(OidcService)]
IdentityId = Annotated[int, Path(ge=1, le=2**31 - 1)]


@router.get("/providers")
@open_to(Access.GUEST)
async def list_sign_in_providers(way: Way) -> Page[ProviderOut]:
    """List the providers by which people can sign in."""
    found = way.config.providers
    shown = [
        ProviderOut(name=each.name, title=each.title, start=f"/control/oidc/{each.name}")
        for each in found
    ]
    return Page(data=shown)


@router.post("/providers/{name}/accept", status_code=201)
@open_to(Access.GUEST)
async def accept_by_provider(name: str, given: AcceptIn, way: Way, response: Response) -> BegunOut:
    """Begin to take an invite by a provider; the answer sets a cookie."""
    try:
        begun = await way.begin_invite(name, Secret(given.secret.get_secret_value()))
    except SignInProblem as problem:
        raise _told(problem) from None
    return _out(begun, way, response)


@router.get("/identities")
@open_to(Access.PERSON)
async def list_identities(way: Way) -> Page[IdentityOut]:
    """List the accounts at providers that are linked to one's own."""
    names = {each.issuer: each.name for each in way.config.providers}
    rows = await way.identities()
    shown = [
        IdentityOut(
            id=row.id,
            issuer=row.issuer,
            subject=row.subject,
            provider=names.get(row.issuer),
            created_at=row.created_at,
        )
        for row in rows
    ]
    return Page(data=shown)


@router.post("/identities", status_code=201)
@open_to(Access.PERSON)
async def link_identity(given: LinkIn, way: Way, response: Response) -> BegunOut:
    """Begin to link an account at a provider to one's own; the answer sets a cookie."""
    person = actor.get().person()
    try:
        begun = await way.begin(given.provider, given.next, session_id=person.session_id)
    except SignInProblem as problem:
        raise _told(problem) from None
    return _out(begun, way, response)


@router.delete("/identities/{identity_id}")
@open_to(Access.PERSON)
async def unlink_identity(
    identity_id: IdentityId, way: Way, request: Request, response: Response
) -> Deleted:
    """Take an identity of one's own away. All sessions end; this browser gets a new cookie."""
    cookies.put(response, request.headers.raw, await way.unlink(identity_id))
    return Deleted(id=str(identity_id))


@pages.get("/oidc/{name}")
@open_to(Access.PUBLIC)
async def begin(name: str, way: Way, request: Request, languages: Languages = "") -> Response:
    """Send the browser to the provider, from a page of ours and nobody else's."""
    wanted = request.query_params.getlist("next")
    next_url = wanted[0] if len(wanted) == 1 and is_local(wanted[0]) else None
    if not _is_own(request, way.config.public_url):
        return _away(way.config.public_url + _with_next(SIGN_IN, next_url))
    try:
        begun = await way.begin(name, next_url)
    except SignInProblem as problem:
        return _page(problem, languages)
    answer = _away(begun.url)
    way.flows.put(answer, begun.flow)
    return answer


@pages.get("/oidc/{name}/callback")
@open_to(Access.PUBLIC)
async def end(name: str, way: Way, request: Request, languages: Languages = "") -> Response:
    """Take back whom the provider sends."""
    headers = request.headers.raw
    try:
        ended = await way.end(name, request.scope["query_string"], headers, language(languages))
    except SignInProblem as problem:
        answer = _page(problem, languages)
        if problem.reason not in ("expired", "wait"):
            way.flows.clear(answer)
        return answer
    answer = _away(ended.flow.next or _DONE[ended.flow.session_id is not None])
    way.flows.clear(answer)
    if ended.secret is not None:
        cookies.put(answer, headers, ended.secret)
    return answer


@pages.get("/signed-in")
@open_to(Access.PUBLIC)
async def signed_in(languages: Languages = "") -> Response:
    """Say that it went well."""
    words = WORDS[language(languages)]
    return said(words["done"], words["done.about"], language(languages))


@pages.get("/linked")
@open_to(Access.PUBLIC)
async def linked(languages: Languages = "") -> Response:
    """Say that it went well."""
    words = WORDS[language(languages)]
    return said(words["linked"], words["linked.about"], language(languages))


def _out(begun: Begun, way: OidcService, response: Response) -> BegunOut:
    way.flows.put(response, begun.flow)
    return BegunOut(url=begun.url)


def _told(problem: SignInProblem) -> Conflict | NotFound | NotReady:
    """For callers of the API."""
    text = WORDS["en"][problem.reason]
    if problem.reason == "unheard":
        return NotFound(text, param="provider", code="provider_not_found")
    if problem.reason == "away":
        return NotReady(text, code="sign_in_provider_away", retry_after=10.0)
    return Conflict(text, code=f"sign_in_{problem.reason}")


def _page(problem: SignInProblem, languages: str) -> Response:
    spoken = language(languages)
    words = WORDS[spoken]
    back = (SIGN_IN, words["again"])
    return said(words["title"], words[problem.reason], spoken, status=problem.status, back=back)


def _away(url: str) -> Response:
    answer = RedirectResponse("/", SEE_OTHER, HEADERS)
    answer.headers["location"] = url
    return answer


def _with_next(path: str, next_url: str | None) -> str:
    return path if next_url is None else f"{path}?next={quote(next_url, safe='')}"


def _is_own(request: Request, public_url: str) -> bool:
    """Whether it was begun at our public address, by a page of ours or by hand.

    Anywhere else, the cookie of the attempt would not be there when the browser comes back.
    """
    if request.headers.get("sec-fetch-site", _OWN[0]) not in _OWN:
        return False
    ours = urlsplit(public_url)
    try:
        asked = urlsplit("//" + request.headers.get("host", ""))
        place = asked.hostname, asked.port or _PORTS[ours.scheme]
    except ValueError:
        return False
    return place == (ours.hostname, ours.port or _PORTS[ours.scheme])
