"""The API of users, organisations, projects and members."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from xrouter.control.kit.access import Access, open_to
from xrouter.control.kit.etag import IfMatch, tagged
from xrouter.control.kit.rooms import room
from xrouter.control.kit.schemas import MAX_PAGE, Deleted, Id, Name, Page, PageQuery
from xrouter.control.people.members import MemberService
from xrouter.control.people.schemas import (
    InviteIn,
    InviteOut,
    LinkOut,
    MemberOut,
    MemberPatch,
    NewUserOut,
    OrganizationIn,
    OrganizationOut,
    OrganizationPatch,
    PartQuery,
    ProjectIn,
    ProjectOut,
    ProjectPatch,
    UserIn,
    UserOut,
    UserPatch,
)
from xrouter.control.people.tenants import TenantService
from xrouter.control.people.users import UserService

router = APIRouter(tags=["people"])

Users = Annotated[UserService, room(UserService)]
Tenants = Annotated[TenantService, room(TenantService)]
Members = Annotated[MemberService, room(MemberService)]
After = Annotated[int | None, Query(ge=0, le=2**31 - 1)]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]


@router.get("/users")
async def list_users(users: Users, query: Annotated[PageQuery, Query()]) -> Page[UserOut]:
    """List users, also those that are switched off."""
    return await users.page(after=query.after, limit=query.limit)


@router.post("/users", status_code=201)
async def create_user(given: UserIn, users: Users) -> NewUserOut:
    """Make a user, and a link to choose the first password."""
    return await users.create(given)


@router.get("/users/{user_id}")
async def get_user(user_id: Id, users: Users) -> UserOut:
    """Show one user."""
    return await users.get(user_id)


@router.patch("/users/{user_id}")
async def change_user(user_id: Id, patch: UserPatch, users: Users) -> UserOut:
    """Rename a user, switch one off or on, make one an operator."""
    return await users.change(user_id, patch)


@router.post("/users/{user_id}/reset", status_code=201)
async def make_reset_link(user_id: Id, users: Users) -> LinkOut:
    """Make a link to choose a new password. It is shown in this answer and never again."""
    return await users.reset(user_id)


@router.post("/users/{user_id}/sign-out")
async def sign_user_out(user_id: Id, users: Users) -> UserOut:
    """End all sessions of a user."""
    return await users.sign_out(user_id)


@router.get("/organizations")
@open_to(Access.PERSON)
async def list_organizations(
    tenants: Tenants, query: Annotated[PageQuery, Query()]
) -> Page[OrganizationOut]:
    """List the organisations that one has a part in; all for operators."""
    return await tenants.organizations(after=query.after, limit=query.limit)


@router.post("/organizations", status_code=201)
async def create_organization(
    given: OrganizationIn, tenants: Tenants, response: Response
) -> OrganizationOut:
    """Make an organisation. Its first owner is invited."""
    return tagged(response, await tenants.create_organization(given))


@router.get("/organizations/{slug}")
@open_to(Access.PERSON)
async def get_organization(slug: Name, tenants: Tenants, response: Response) -> OrganizationOut:
    """Show one organisation."""
    return tagged(response, await tenants.organization(slug))


@router.patch("/organizations/{slug}")
@open_to(Access.PERSON)
async def change_organization(
    slug: Name,
    patch: OrganizationPatch,
    tenants: Tenants,
    response: Response,
    if_match: IfMatch = None,
) -> OrganizationOut:
    """Change an organisation; with If-Match only in the state that was seen."""
    return tagged(response, await tenants.change_organization(slug, patch, if_match))


@router.delete("/organizations/{slug}")
async def switch_organization_off(
    slug: Name, tenants: Tenants, if_match: IfMatch = None
) -> Deleted:
    """Switch an organisation off. Its slug stays taken; PATCH switches it on again."""
    await tenants.change_organization(slug, OrganizationPatch(is_active=False), if_match)
    return Deleted(id=slug)


@router.get("/organizations/{slug}/projects")
@open_to(Access.PERSON)
async def list_projects_of(
    slug: Name, tenants: Tenants, query: Annotated[PageQuery, Query()]
) -> Page[ProjectOut]:
    """List the projects of an organisation that one may see."""
    return await tenants.projects(slug, after=query.after, limit=query.limit)


@router.post("/organizations/{slug}/projects", status_code=201)
@open_to(Access.PERSON)
async def create_project(
    slug: Name, given: ProjectIn, tenants: Tenants, response: Response
) -> ProjectOut:
    """Make a project."""
    return tagged(response, await tenants.create_project(slug, given))


@router.get("/projects")
@open_to(Access.PERSON)
async def list_projects(tenants: Tenants, query: Annotated[PageQuery, Query()]) -> Page[ProjectOut]:
    """List all projects that one may see."""
    return await tenants.projects(None, after=query.after, limit=query.limit)


@router.get("/projects/{slug}")
@open_to(Access.PERSON)
async def get_project(slug: Name, tenants: Tenants, response: Response) -> ProjectOut:
    """Show one project."""
    return tagged(response, await tenants.project(slug))


@router.patch("/projects/{slug}")
@open_to(Access.PERSON)
async def change_project(
    slug: Name,
    patch: ProjectPatch,
    tenants: Tenants,
    response: Response,
    if_match: IfMatch = None,
) -> ProjectOut:
    """Rename a project, switch it off or on; with If-Match only in the state that was seen."""
    return tagged(response, await tenants.change_project(slug, patch, if_match))


@router.delete("/projects/{slug}")
@open_to(Access.PERSON)
async def switch_project_off(slug: Name, tenants: Tenants, if_match: IfMatch = None) -> Deleted:
    """Switch a project off. Its slug stays taken; PATCH switches it on again."""
    await tenants.change_project(slug, ProjectPatch(is_active=False), if_match)
    return Deleted(id=slug)


@router.get("/organizations/{slug}/members")
@open_to(Access.PERSON)
async def list_members(
    slug: Name, members: Members, after: After = None, limit: Limit = MAX_PAGE
) -> Page[MemberOut]:
    """List the members of an organisation and of its projects."""
    return await members.page(slug, after=after, limit=limit)


@router.patch("/organizations/{slug}/members/{user_id}")
@open_to(Access.PERSON)
async def change_member(slug: Name, user_id: Id, patch: MemberPatch, members: Members) -> MemberOut:
    """Give a member another role; who gets one must sign in again."""
    return await members.change(slug, user_id, patch)


@router.delete("/organizations/{slug}/members/{user_id}")
@open_to(Access.PERSON)
async def remove_member(
    slug: Name, user_id: Id, members: Members, query: Annotated[PartQuery, Query()]
) -> Deleted:
    """End a membership; the last owner stays."""
    return await members.remove(slug, user_id, query.project)


@router.get("/organizations/{slug}/invites")
@open_to(Access.PERSON)
async def list_invites(slug: Name, members: Members) -> Page[InviteOut]:
    """List the invites that nobody has taken yet, without their secrets."""
    return await members.invites(slug)


@router.post("/organizations/{slug}/invites", status_code=201)
@open_to(Access.PERSON)
async def create_invite(slug: Name, given: InviteIn, members: Members) -> LinkOut:
    """Make a link for a new member. It is shown in this answer and never again."""
    return await members.invite(slug, given)


@router.delete("/organizations/{slug}/invites/{invite_id}")
@open_to(Access.PERSON)
async def withdraw_invite(
    slug: Name, invite_id: Annotated[int, Path(ge=1, le=2**31 - 1)], members: Members
) -> Deleted:
    """Let the link of an invite work no more."""
    return await members.withdraw(slug, invite_id)
