"""What each role may do. What is not in the table nobody may, but operators."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """Of a member; in an organisation, or in one project of it."""

    owner = "owner"
    admin = "admin"
    developer = "developer"
    viewer = "viewer"
    billing = "billing"


_ALL = frozenset(Role)
_HEADS = frozenset({Role.owner, Role.admin})
_MAKERS = _HEADS | {Role.developer}
_READERS = _MAKERS | {Role.viewer}
_PAYERS = _HEADS | {Role.billing}

ACTIONS: dict[str, frozenset[Role]] = {
    "organization.read": _ALL,
    "organization.change": _HEADS,
    "members.read": _HEADS,
    "members.change": _HEADS,
    "project.read": _ALL,
    "project.create": _HEADS,
    "project.change": _HEADS,
    "keys.read": _READERS,
    "keys.change": _MAKERS,
    "credentials.read": _HEADS,
    "credentials.change": _HEADS,
    "clients.read": _READERS,
    "clients.change": _MAKERS,
    "usage.read": _ALL,
    "limits.read": _ALL,
    "limits.change": _HEADS,
    "bills.read": _PAYERS,
    "bills.change": frozenset({Role.owner, Role.billing}),
    "audit.read": _HEADS,
}
"""`<what>.<verb>` to the roles that may."""


def may(role: str, action: str) -> bool:
    """Whether the role allows the action; unknown roles and actions do not."""
    return role in ACTIONS.get(action, frozenset())


def may_grant(role: str, granted: str) -> bool:
    """Whether a member with `role` may give `granted` to others, and take it away."""
    if role == Role.owner:
        return granted in _ALL
    return role == Role.admin and granted in _ALL - {Role.owner}
