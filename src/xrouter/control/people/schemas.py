"""Shapes of the API of people, organisations and projects."""

from __future__ import annotations

from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, StringConstraints

from xrouter.control.kit.etag import TaggedOut
from xrouter.control.kit.schemas import Groups, In, Moment, Name, Out, Title, unset
from xrouter.control.people.passwords import LONGEST
from xrouter.control.people.roles import Role

_SECRET = 100


def _plain(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


def _zone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (ValueError, OSError, ZoneInfoNotFoundError):
        raise ValueError("is no time zone; one is 'Europe/Moscow'") from None
    return text


Email = Annotated[
    str,
    BeforeValidator(_plain),
    StringConstraints(min_length=3, max_length=254, pattern=r"^[^@\s\x00-\x20]+@[^@\s\x00-\x20]+$"),
]
"""In lower case."""
Password = Annotated[SecretStr, Field(min_length=1, max_length=LONGEST)]
LinkSecret = Annotated[SecretStr, Field(min_length=1, max_length=_SECRET)]
Language = Literal["ru", "en"]
Zone = Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(_zone)]
Share = Annotated[int, Field(ge=0, le=100_00)]
"""Hundredths of a percent."""
Details = Annotated[
    dict[Name, Annotated[str, StringConstraints(max_length=500)]], Field(max_length=50)
]


class SignIn(In):
    """Who wants in."""

    email: Email
    password: Password


class SetUp(In):
    """The first operator. secret: of the link that the server printed."""

    secret: LinkSecret
    email: Email
    name: Title
    password: Password
    language: Language = "ru"


class Accept(In):
    """An invite taken. password: the one that is to be, or the user's own where there is one.

    name: of a user who is new; that of others stays.
    """

    secret: LinkSecret
    password: Password
    name: Title | None = None
    language: Language = "ru"


class NewPassword(In):
    """current: the one that was good until now."""

    current: Password
    password: Password


class Reset(In):
    """secret: of the link."""

    secret: LinkSecret
    password: Password


class MePatch(In):
    """What people change of themselves."""

    name: Title = unset()
    language: Language = unset()


class UserIn(In):
    """A user who gets a link to choose a password."""

    email: Email
    name: Title
    language: Language = "ru"
    is_operator: bool = False


class UserPatch(In):
    """What operators change of users."""

    name: Title = unset()
    is_active: bool = unset()
    is_operator: bool = unset()


class UserOut(Out):
    """What may be known of a user."""

    user_id: str
    email: str
    name: str
    language: str
    is_operator: bool
    is_active: bool
    created_at: Moment
    last_sign_in_at: Moment | None


class MembershipOut(Out):
    """A part that a user has. project: its slug, None for the whole organisation."""

    organization: str
    organization_name: str
    project: str | None
    role: Role


class MeOut(Out):
    """Who is signed in. csrf: for the header x-csrf-token."""

    user: UserOut
    memberships: list[MembershipOut]
    csrf: str


class LinkOut(Out):
    """A link that works once. secret: shown this once. page: where a browser takes it to."""

    purpose: str
    secret: str
    page: str
    email: str | None
    expires_at: Moment


class NewUserOut(Out):
    """A fresh user, and the link for the first password."""

    user: UserOut
    link: LinkOut


class OrganizationIn(In):
    """margin, vat: hundredths of a percent that are put on what requests cost. groups: access
    groups that all its keys have.
    """

    slug: Name
    name: Title
    time_zone: Zone = "Europe/Moscow"
    margin: Share = 0
    vat: Share = 0
    groups: Groups = Field(default=[])
    details: Details = Field(default={})


class OrganizationPatch(In):
    """margin, vat, groups and is_active are the operators' to change."""

    name: Title = unset()
    time_zone: Zone = unset()
    details: Details = unset()
    margin: Share = unset()
    vat: Share = unset()
    groups: Groups = unset()
    is_active: bool = unset()


class OrganizationOut(TaggedOut):
    """Who pays."""

    slug: str
    name: str
    time_zone: str
    margin: int
    vat: int
    groups: list[str]
    details: dict[str, str]
    is_active: bool
    created_at: Moment


class ProjectIn(In):
    """slug: unique among all projects of the router; it never changes."""

    slug: Name
    name: Title


class ProjectPatch(In):
    """is_active: whether its keys open anything."""

    name: Title = unset()
    is_active: bool = unset()


class ProjectOut(TaggedOut):
    """What keys belong to."""

    slug: str
    organization: str
    name: str
    is_active: bool
    created_at: Moment


class InviteIn(In):
    """project: its slug, None for the whole organisation."""

    email: Email
    role: Role
    project: Name | None = None


class InviteOut(Out):
    """An invite that nobody has taken yet."""

    id: int
    email: str
    role: Role
    project: str | None
    created_at: Moment
    expires_at: Moment


class MemberOut(Out):
    """A user's part in an organisation. project: None for all of it."""

    user_id: str
    email: str
    name: str
    is_active: bool
    project: str | None
    role: Role
    created_at: Moment


class MemberPatch(In):
    """The new role. project: which part of the user's is meant, None for the whole organisation."""

    role: Role
    project: Name | None = None


class PartQuery(In):
    """Which part of a user's is meant."""

    project: Name | None = None
