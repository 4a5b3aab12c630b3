"""Registering providers from environment variables, as data: no provider is named here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xrouter.app.control import ControlPlane
from xrouter.control.db.errors import DatabaseError
from xrouter.domain.errors import OperatorError
from xrouter.providers import factory
from xrouter.providers.base import EndpointFields, from_environment
from xrouter.telemetry.logs import log

NOT_FOUND = 404
_FIRST_ERROR = 400
PRIMARY = "primary"
IN_USE = "in_use"

_Json = Mapping[str, Any]


def configured(environ: Mapping[str, str]) -> dict[str, EndpointFields]:
    """The providers whose variables are set, by name."""
    found: dict[str, EndpointFields] = {}
    for known in factory.providers().values():
        fields = from_environment(known.environment, environ) if known.environment else None
        if fields is not None:
            found[known.name] = fields
    return found


def incomplete(environ: Mapping[str, str]) -> dict[str, list[str]]:
    """Providers for which some of the needed variables are set, with those that are missing."""
    found: dict[str, list[str]] = {}
    for known in factory.providers().values():
        groups = known.environment.required if known.environment else ()
        missing = [" or ".join(g) for g in groups if not any(name in environ for name in g)]
        if missing and len(missing) < len(groups):
            found[known.name] = missing
    return found


def primary_url(provider: _Json) -> str | None:
    """The address of a provider's primary endpoint, as the control API shows it."""
    url = _primary(provider).get("base_url")
    return None if url is None else str(url)


def _primary(provider: _Json) -> _Json:
    return next((each for each in provider["endpoints"] if each["name"] == PRIMARY), {})


async def register(
    plane: ControlPlane, given: Mapping[str, EndpointFields], moved: Mapping[str, _Json]
) -> list[str]:
    """Make or bring up to date the primary endpoint of each provider, and the models it ships.

    moved: fields of those that were somebody else's until now, see `moving`.
    Gives the names of those that are new or moved or have no models: their live lists should be
    read. A provider whose configuration is refused is logged; the others are not affected. Raises
    DatabaseError.
    """
    curious = []
    for known in factory.providers().values():
        if known.name not in given:
            continue
        try:
            body = _endpoint(given[known.name], known.adapter_class, known.default_base_url)
            lost = moved.get(known.name, {})
            body |= {**lost, "credential": {**lost.get("credential", {}), **body["credential"]}}
            is_new = await _put(plane, known.name, body) or known.name in moved
        except DatabaseError:
            raise
        except (OperatorError, OSError, UnicodeDecodeError) as error:
            log.error("provider_not_registered", provider=known.name, error=str(error))
            continue
        if is_new or not await has_models(plane, known.name):
            curious.append(known.name)
    return curious


def moving(provider: _Json, *, switch_on: bool) -> _Json:
    """What a primary endpoint must lose when it is registered as another's: its credential.

    switch_on: whether it was switched off by `retire`.
    """
    fields = _primary(provider).get("credential_fields") or ()
    on = {"is_enabled": True} if switch_on else {}
    return {"credential": dict.fromkeys(fields), **on}


async def retire(plane: ControlPlane, provider: _Json) -> bool:
    """Remove a provider; switch its primary endpoint off where something leads to it.

    Whether it is gone. Raises OperatorError.
    """
    name = provider["name"]
    kept = "It has other endpoints, too."
    if len(provider["endpoints"]) == 1:
        try:
            await request(plane, "DELETE", f"/providers/{name}")
        except OperatorError as error:
            if error.code != IN_USE:
                raise
            kept = error.message
        else:
            log.info("sandbox_provider_removed", provider=name)
            return True
    await request(plane, "PATCH", f"/providers/{name}/endpoints/{PRIMARY}", {"is_enabled": False})
    hint = "Give the provider a credential, or change what leads there: the next start removes it."
    log.warning("sandbox_provider_switched_off", provider=name, reason=kept, hint=hint)
    return False


async def has_models(plane: ControlPlane, name: str) -> bool:
    """Whether the catalog has any model of the provider."""
    page = await request(plane, "GET", f"/models?provider={name}&limit=1")
    return bool(page and page["data"])


async def request(
    plane: ControlPlane, method: str, path: str, body: dict[str, Any] | None = None
) -> Any:
    """One call of the control API. Raises OperatorError with its message; None for 404.

    Raises DatabaseError where that is the cause.
    """
    data = b"" if body is None else json.dumps(body).encode()
    status, answer = await plane.ask(method, "/control/v1" + path, data)
    if status == NOT_FOUND:
        return None
    value: Any = json.loads(answer) if answer else {}
    if status >= _FIRST_ERROR:
        error = value["error"]
        code = error.get("code")
        kind = DatabaseError if code == DatabaseError.default_code else OperatorError
        hint, param = error.get("hint"), error.get("param")
        raise kind(error["message"], code=code, hint=hint, param=param)
    return value


async def _put(plane: ControlPlane, name: str, body: dict[str, Any]) -> bool:
    """Whether it was not there before."""
    if await request(plane, "GET", f"/providers/{name}") is None:
        await request(plane, "POST", "/providers", {"name": name} | body)
        await request(plane, "POST", "/models/sync", {"provider": name, "live": False})
        return True
    if await request(plane, "PATCH", f"/providers/{name}/endpoints/{PRIMARY}", body) is None:
        await request(plane, "POST", f"/providers/{name}/endpoints", {"name": PRIMARY} | body)
    return False


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
