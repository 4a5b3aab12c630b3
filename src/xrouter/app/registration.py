"""Registering providers from environment variables, as data: no provider is named here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xrouter.app.control import ControlPlane
from xrouter.domain.errors import OperatorError
from xrouter.providers import factory
from xrouter.providers.base import EndpointFields, from_environment
from xrouter.telemetry.logs import log

NOT_FOUND = 404
_FIRST_ERROR = 400
PRIMARY = "primary"


def configured(environ: Mapping[str, str]) -> dict[str, EndpointFields]:
    """The providers whose variables are set, by name."""
    found: dict[str, EndpointFields] = {}
    for known in factory.providers().values():
        fields = from_environment(known.environment, environ) if known.environment else None
        if fields is not None:
            found[known.name] = fields
    return found


async def register(plane: ControlPlane, given: Mapping[str, EndpointFields]) -> None:
    """Make or bring up to date the primary endpoint of each provider, and the models it ships.

    A provider whose configuration is refused is logged; the others are not affected.
    """
    for known in factory.providers().values():
        if known.name not in given:
            continue
        body = _endpoint(given[known.name], known.adapter_class, known.default_base_url)
        try:
            await _put(plane, known.name, body)
        except OperatorError as error:
            log.error("provider_not_registered", provider=known.name, error=error.message)


async def request(
    plane: ControlPlane, method: str, path: str, body: dict[str, Any] | None = None
) -> Any:
    """One call of the control API. Raises OperatorError with its message; None for 404."""
    data = b"" if body is None else json.dumps(body).encode()
    status, answer = await plane.ask(method, "/control/v1" + path, data)
    if status == NOT_FOUND:
        return None
    value: Any = json.loads(answer) if answer else {}
    if status >= _FIRST_ERROR:
        error = value["error"]
        raise OperatorError(error["message"], hint=error.get("hint"), param=error.get("param"))
    return value


async def _put(plane: ControlPlane, name: str, body: dict[str, Any]) -> None:
    if await request(plane, "GET", f"/providers/{name}") is None:
        await request(plane, "POST", "/providers", {"name": name} | body)
        done = await request(plane, "POST", "/models/sync", {"provider": name, "live": True})
        for failure in done["failed"]:
            log.warning("live_list_not_read", provider=name, error=failure["error"])
    elif await request(plane, "PATCH", f"/providers/{name}/endpoints/{PRIMARY}", body) is None:
        await request(plane, "POST", f"/providers/{name}/endpoints", {"name": PRIMARY} | body)


def _endpoint(fields: EndpointFields, adapter_class: str, default_url: str) -> dict[str, Any]:
    credential = {name: secret.reveal() for name, secret in fields.credential.items()}
    for name, file in fields.credential_files.items():
        credential[name] = Path(file).read_text(encoding="utf-8")
    body: dict[str, Any] = {
        "adapter_class": adapter_class,
        "base_url": fields.base_url or default_url,
        "credential": credential,
        "options": fields.options,
    }
    for name in ("ca_bundle", "client_cert", "client_key", "proxy"):
        value = getattr(fields, name)
        if value is not None:
            body[name] = value
    return body
