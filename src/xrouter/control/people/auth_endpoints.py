"""The API of coming in and going out."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request, Response

from xrouter.control.kit.access import Access, open_to
from xrouter.control.kit.rooms import room
from xrouter.control.people import cookies
from xrouter.control.people.schemas import (
    Accept,
    LinkOut,
    MeOut,
    MePatch,
    NewPassword,
    Reset,
    SetUp,
    SignIn,
)
from xrouter.control.people.sign_in import SignInService, Welcomed

router = APIRouter(prefix="/auth", tags=["auth"])

Way = Annotated[SignInService, room(SignInService)]

_NO_CONTENT = 204


@router.post("/setup-link", status_code=201)
async def make_setup_link(way: Way) -> LinkOut:
    """Make the link for the first operator; possible while there is no user."""
    return await way.setup_link()


@router.post("/setup", status_code=201)
@open_to(Access.GUEST)
async def set_up(given: SetUp, way: Way, request: Request, response: Response) -> MeOut:
    """Make the first operator by the link that the server prints, and sign in."""
    return _in(await way.set_up(given), request, response)


@router.post("/sign-in")
@open_to(Access.GUEST)
async def sign_in(given: SignIn, way: Way, request: Request, response: Response) -> MeOut:
    """Begin a session: the cookie is set, the CSRF token is in the answer."""
    return _in(await way.sign_in(given, request.headers.raw), request, response)


@router.post("/accept", status_code=201)
@open_to(Access.GUEST)
async def accept_invite(given: Accept, way: Way, request: Request, response: Response) -> MeOut:
    """Become a member by an invite, and sign in."""
    return _in(await way.accept(given, request.headers.raw), request, response)


@router.post("/reset", status_code=_NO_CONTENT)
@open_to(Access.GUEST)
async def reset_password(given: Reset, way: Way) -> None:
    """Choose a new password by a link; all sessions end."""
    await way.reset(given)


@router.post("/sign-out", status_code=_NO_CONTENT)
@open_to(Access.PERSON)
async def sign_out(way: Way, request: Request, response: Response) -> None:
    """End this session."""
    await way.sign_out()
    cookies.clear(response, request.headers.raw)


@router.post("/sign-out-everywhere", status_code=_NO_CONTENT)
@open_to(Access.PERSON)
async def sign_out_everywhere(way: Way, request: Request, response: Response) -> None:
    """End all sessions of who asks."""
    await way.sign_out_everywhere()
    cookies.clear(response, request.headers.raw)


@router.get("/me")
@open_to(Access.PERSON)
async def show_me(way: Way) -> MeOut:
    """Who is signed in, of what they are members, and the CSRF token of the session."""
    return await way.me()


@router.patch("/me")
@open_to(Access.PERSON)
async def change_me(patch: MePatch, way: Way) -> MeOut:
    """Change the name or the language of who asks."""
    return await way.change_me(patch)


@router.post("/password")
@open_to(Access.PERSON)
async def change_password(
    given: NewPassword, way: Way, request: Request, response: Response
) -> MeOut:
    """Change the password; all other sessions end, this one gets a new cookie."""
    return _in(await way.change_password(given), request, response)


def _in(welcomed: Welcomed, request: Request, response: Response) -> MeOut:
    cookies.put(response, request.headers.raw, welcomed.secret)
    return welcomed.me
