"""Asks the data plane of this process where a request would go."""

from __future__ import annotations

from typing import Any

import msgspec

from xrouter.control.explain.schemas import ExplainIn
from xrouter.domain.errors import NotReady
from xrouter.domain.ports import Explainer

_BILLION = 1_000_000_000


class ExplainService:
    """explainer: None in a process without a data plane."""

    def __init__(self, explainer: Explainer | None) -> None:
        self._explainer = explainer

    def explain(self, given: ExplainIn) -> dict[str, Any]:
        """The plan as an object. Raises NotReady without a data plane."""
        if self._explainer is None:
            raise NotReady(
                "This process answers no model requests, so it has no plans to explain.",
                hint="Ask the server: `xrouter serve` must be running.",
            )
        body = b""
        if given.request is not None:
            body = msgspec.json.encode({**given.request, "model": given.model})
        told = self._explainer.explain(given.model, body, given.key_id, given.headers)
        found: dict[str, Any] = msgspec.to_builtins(told)
        for target in found["targets"]:
            target["price"] = rubles(target["price"])
        return found


def rubles(amount: int | None) -> str | None:
    """Billionths of a ruble as a decimal number of rubles."""
    if amount is None:
        return None
    whole, part = divmod(amount, _BILLION)
    return f"{whole}.{part:09d}".rstrip("0").rstrip(".")
