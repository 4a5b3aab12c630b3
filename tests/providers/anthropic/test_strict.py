"""What the adapter sends in the golden cases is taken by the strict simulator."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from xrouter.sandbox.anthropic_checks import check
from xrouter.sandbox.anthropic_history import Refusal

GOLDEN = Path(__file__).parents[1] / "golden" / "anthropic"
LIKE = {
    "claude-sonnet-4-5": "claude-haiku-4-5",
    "claude-sonnet-4-20250514": "claude-haiku-4-5",
    "claude-next": "claude-opus-5-5",
    "house-model": "claude-haiku-4-5",
}
"""Models of the simulator with the manners of those in the cases."""
OWN = {
    "json_schema_own": "additionalProperties",
    "own_parameters": "adaptive thinking",
    "sampling": "cannot both be specified",
}
"""Cases that the simulator refuses: the caller's own way, and models older than its."""


def cases() -> list[tuple[str, dict[str, Any], str]]:
    found = []
    for path in sorted(GOLDEN.glob("*.json")):
        case = json.loads(path.read_text())
        wire = case.get("wire") or case.get("errand", [{}])[0].get("wire")
        if wire and "instead" not in case:
            found.append((path.stem, wire["body"], wire["headers"]["anthropic-version"]))
    return found


CASES = cases()


@pytest.mark.parametrize("name,body,version", CASES, ids=[case[0] for case in CASES])
def test_it_is_taken(name: str, body: dict[str, Any], version: str) -> None:
    asked = body | {"model": LIKE.get(body["model"], body["model"])}
    if name in OWN:
        with pytest.raises(Refusal, match=OWN[name]):
            check(asked, version)
    else:
        check(asked, version, counting=name.startswith("count"))
