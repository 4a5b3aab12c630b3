"""What a newcomer sees: where the server is and, on the first start, a key and a line to paste."""

from __future__ import annotations

import json
from collections.abc import Callable

from xrouter.app import registration
from xrouter.app.control import ControlPlane
from xrouter.domain.errors import XRouterError
from xrouter.domain.ports import SnapshotSource
from xrouter.domain.snapshot import Snapshot
from xrouter.telemetry.logs import log

FIRST_KEY = "first key"
_MADE = 201
_CONFLICT = 409


class Welcome:
    """say: prints a text."""

    def __init__(self, plane: ControlPlane, say: Callable[[str], None]) -> None:
        self._plane = plane
        self._say = say

    async def say(self, url: str, snapshots: SnapshotSource, *, sandbox: bool) -> None:
        """Print the welcome. The first key is made when there is none at all."""
        snapshot = snapshots.current
        lines = [f"XRouter answers at {url}/v1   docs: {url}/docs"]
        if sandbox:
            lines.append(
                "No provider is configured: the sandbox is running, and all models are simulated."
            )
        lines.append(f"Models: {_counts(snapshot)}")
        try:
            key = await self._first_key()
        except XRouterError as error:
            log.error("first_key_not_made", error=error.message)
            key = None
        if key is not None:
            lines += ["", f"Your API key (shown this once): {key}", ""]
            lines += ["Try it:", "", _curl(url, key, _example(snapshot)), ""]
        setup = await self._setup_page(url)
        if setup is not None:
            lines += ["", "Nobody is set up yet. Become the operator, within 24 hours:", setup, ""]
        self._say("\n".join(lines))

    async def _setup_page(self, url: str) -> str | None:
        """A page that makes the first operator, with a new secret; None when there are users."""
        status, answer = await self._plane.ask("POST", "/control/v1/auth/setup-link")
        if status == _MADE:
            return _for_browsers(url) + str(json.loads(answer)["page"])
        if status != _CONFLICT:
            log.error("setup_link_not_made", status=status)
        return None

    async def _first_key(self) -> str | None:
        """A key that is already good: the line may be pasted at once. None where there is one."""
        if await self._has_keys():
            return None
        async with self._plane.alone(FIRST_KEY):  # of several that start at once, one makes it
            if await self._has_keys():
                return None
            made = await registration.request(self._plane, "POST", "/keys", {"name": FIRST_KEY})
        await self._plane.publish_now()
        return str(made["key"])

    async def _has_keys(self) -> bool:
        page = await registration.request(self._plane, "GET", "/keys?limit=1")
        return bool(page["data"])


def _for_browsers(url: str) -> str:
    """Where a browser of this machine finds a server that listens everywhere."""
    for everywhere in ("//0.0.0.0:", "//[::]:"):
        url = url.replace(everywhere, "//localhost:")
    return url


def _counts(snapshot: Snapshot) -> str:
    available = [model for model in snapshot.models.values() if model.is_available]
    counts: dict[str, int] = {}
    for model in available:
        counts[model.provider] = counts.get(model.provider, 0) + 1
    shown = ", ".join(f"{provider} {count}" for provider, count in sorted(counts.items()))
    return shown or "none yet: `xrouter providers add`"


def _example(snapshot: Snapshot) -> str:
    for model in snapshot.models.values():
        if model.is_available and model.kind == "chat" and snapshot.endpoints.get(model.provider):
            return model.model_id
    return "provider/model"


def _curl(url: str, key: str, model: str) -> str:
    body = f'{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello!"}}]}}'
    return (
        f"curl {url}/v1/chat/completions \\\n"
        f"  -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \\\n"
        f"  -d '{body}'"
    )
