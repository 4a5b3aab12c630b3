"""xrouter users, organizations, projects: who may do what on this router."""

from __future__ import annotations

import re
from typing import Annotated, Any

import typer

from xrouter.cli.control import call
from xrouter.cli.given import pairs
from xrouter.cli.output import fail, print_json, show

users = typer.Typer(no_args_is_help=True, help="People: list, add, reset, enable, disable.")
organizations = typer.Typer(no_args_is_help=True, help="Organisations, what they pay, members.")
projects = typer.Typer(no_args_is_help=True, help="Projects, which keys belong to.")

USERS = ("email", "name", "is_operator", "is_active", "last_sign_in_at", "user_id")
ORGANIZATIONS = ("slug", "name", "time_zone", "margin_%", "vat_%", "is_active", "created_at")
PROJECTS = ("slug", "organization", "name", "is_active", "created_at")
WHOLE = 100
PERCENT = re.compile(r"\d{1,3}([.,]\d{1,2})?")
MEMBERS = ("email", "name", "role", "project", "is_active", "user_id")

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Email = Annotated[str, typer.Argument(help="E-mail address, or the user's id.")]
Slug = Annotated[str, typer.Argument(help="Its short name, which never changes.")]
Title = Annotated[str | None, typer.Option("--name", help="For people.")]
Zone = Annotated[str | None, typer.Option(help="Of its months, like Europe/Moscow.")]
Percent = Annotated[str | None, typer.Option(help="Percent on top, like 20 or 12.5.")]
Detail = Annotated[
    list[str] | None,
    typer.Option(help="For documents, like inn=7701234567; repeat it. inn= takes one out."),
]


@users.command("list")
def list_users(as_json: Json = False) -> None:
    """Show all users, also those that are switched off."""
    show(_all("/users"), USERS, as_json=as_json, empty="There are no users yet.")


@users.command("add")
def add_user(
    email: Annotated[str, typer.Argument(help="E-mail address.")],
    name: Title = None,
    operator: Annotated[bool, typer.Option("--operator", help="May do everything.")] = False,
    as_json: Json = False,
) -> None:
    """Add a person; prints a page where the first password is chosen, once."""
    body = {"email": email, "name": name or email, "is_operator": operator}
    made = call("POST", "/users", body)
    _link(made["link"], made, as_json=as_json)


@users.command("reset")
def reset_user(email: Email, as_json: Json = False) -> None:
    """Print a page where a new password is chosen, once."""
    link = call("POST", f"/users/{_user_id(email)}/reset")
    _link(link, link, as_json=as_json)


@users.command("disable")
def disable_user(email: Email) -> None:
    """Let a person in no more; sessions end at once."""
    user = call("PATCH", f"/users/{_user_id(email)}", {"is_active": False})
    typer.echo(f"{user['email']} is switched off.")


@users.command("enable")
def enable_user(email: Email) -> None:
    """Let a person in again."""
    user = call("PATCH", f"/users/{_user_id(email)}", {"is_active": True})
    typer.echo(f"{user['email']} is switched on.")


@users.command("setup")
def setup_link(as_json: Json = False) -> None:
    """Print a page that makes the first operator, once; possible while there is no user."""
    link = call("POST", "/auth/setup-link")
    _link(link, link, as_json=as_json)


@organizations.command("list")
def list_organizations(as_json: Json = False) -> None:
    """Show all organisations."""
    _organizations(_all("/organizations"), as_json=as_json)


@organizations.command("add")
def add_organization(
    slug: Slug,
    name: Title = None,
    time_zone: Zone = None,
    margin: Percent = None,
    vat: Percent = None,
    detail: Detail = None,
    as_json: Json = False,
) -> None:
    """Make an organisation; then invite its first owner."""
    body = _said(name or slug, time_zone, margin, vat)
    if detail:
        body["details"] = _details({}, detail)
    _organizations([call("POST", "/organizations", {"slug": slug} | body)], as_json=as_json)


@organizations.command("set")
def set_organization(
    slug: Slug,
    name: Title = None,
    time_zone: Zone = None,
    margin: Percent = None,
    vat: Percent = None,
    detail: Detail = None,
    enable: Annotated[bool | None, typer.Option("--enable/--disable", help="Switch it.")] = None,
    as_json: Json = False,
) -> None:
    """Change what is given, and leave the rest. Margin and VAT count from the next request on."""
    body = _said(name, time_zone, margin, vat)
    if enable is not None:
        body["is_active"] = enable
    seen = None
    if detail:
        now = call("GET", f"/organizations/{slug}")
        body["details"], seen = _details(now["details"], detail), now["etag"]
    if not body:
        raise fail("There is nothing to change.", "`xrouter organizations set --help`")
    changed = call("PATCH", f"/organizations/{slug}", body, if_match=seen)
    _organizations([changed], as_json=as_json)


@organizations.command("members")
def list_members(slug: Slug, as_json: Json = False) -> None:
    """Show who has which role."""
    rows = _all(f"/organizations/{slug}/members")
    show(rows, MEMBERS, as_json=as_json, empty="There are no members yet.")


@organizations.command("invite")
def invite(
    slug: Slug,
    email: Annotated[str, typer.Argument(help="Of whom to invite.")],
    role: Annotated[
        str, typer.Option(help="owner, admin, developer, viewer or billing.")
    ] = "developer",
    project: Annotated[str | None, typer.Option(help="For this project alone.")] = None,
    as_json: Json = False,
) -> None:
    """Print a page where somebody becomes a member, once."""
    body = {"email": email, "role": role, "project": project}
    link = call("POST", f"/organizations/{slug}/invites", body)
    _link(link, link, as_json=as_json)


@projects.command("list")
def list_projects(as_json: Json = False) -> None:
    """Show all projects."""
    show(_all("/projects"), PROJECTS, as_json=as_json, empty="There are none.")


@projects.command("add")
def add_project(
    slug: Slug,
    organization: Annotated[str, typer.Option(help="Whose it is.")] = "default",
    name: Title = None,
    as_json: Json = False,
) -> None:
    """Make a project."""
    body = {"slug": slug, "name": name or slug}
    made = call("POST", f"/organizations/{organization}/projects", body)
    show([made], PROJECTS, as_json=as_json, empty="")


def _organizations(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    shown = rows if as_json else [row | _percents(row) for row in rows]
    show(shown, ORGANIZATIONS, as_json=as_json, empty="There are none.")


def _percents(row: dict[str, Any]) -> dict[str, float]:
    return {f"{field}_%": row[field] / WHOLE for field in ("margin", "vat")}


def _said(
    name: str | None, time_zone: str | None, margin: str | None, vat: str | None
) -> dict[str, Any]:
    said = {
        "name": name,
        "time_zone": time_zone,
        "margin": _hundredths(margin),
        "vat": _hundredths(vat),
    }
    return {field: value for field, value in said.items() if value is not None}


def _hundredths(percent: str | None) -> int | None:
    if percent is None:
        return None
    if not PERCENT.fullmatch(percent):
        raise fail(f"'{percent}' is no percentage.", "For example 20 or 12.5.")
    whole, _, part = percent.replace(",", ".").partition(".")
    return int(whole) * WHOLE + int(part.ljust(2, "0"))


def _details(now: dict[str, str], given: list[str]) -> dict[str, str]:
    """With what is given; what is given as empty is taken out."""
    return {field: value for field, value in (now | pairs(given, "A detail")).items() if value}


def _link(link: dict[str, Any], document: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(document)
        return
    typer.echo(link["page"])
    typer.echo(
        "Open it behind the address of this server; it works once and is not shown again.", err=True
    )


def _user_id(given: str) -> str:
    if "@" not in given:
        return given
    for user in _all("/users"):
        if user["email"] == given.strip().lower():
            return str(user["user_id"])
    raise fail(f"There is no user '{given}'.", "`xrouter users list` shows them.")


def _all(path: str) -> list[dict[str, Any]]:
    """Every page of a list."""
    page = call("GET", path)
    rows: list[dict[str, Any]] = page["data"]
    while page["next"] is not None:
        page = call("GET", path, query={"after": page["next"]})
        rows += page["data"]
    return rows
