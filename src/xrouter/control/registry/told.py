"""What becomes of an object, as it is told: path by path, without secrets."""

from __future__ import annotations

from xrouter.control.catalog.objects import Document
from xrouter.control.kit.diff import differences
from xrouter.control.registry.schemas import ChangedOut, DifferenceOut


def changed(kind: str, name: str, old: Document | None, new: Document | None) -> ChangedOut:
    """A change of an object; None for what is not there."""
    action = "create" if old is None else "delete" if new is None else "update"
    return ChangedOut(kind=kind, object=name, action=action, diff=differing(old, new))


def differing(old: Document | None, new: Document | None) -> list[DifferenceOut]:
    """What differs."""
    return [DifferenceOut.model_validate(each) for each in differences(old or {}, new or {})]
