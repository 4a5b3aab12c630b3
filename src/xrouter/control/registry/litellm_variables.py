"""The variables of the environment that a LiteLLM configuration needs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from xrouter.domain.errors import InvalidRequest
from xrouter.providers.factory import KnownProvider

Json = dict[str, Any]

VARIABLE = re.compile(r"^os[.]environ/(.*)$")


def complete(config: Any, environ: Mapping[str, str], known: Mapping[str, KnownProvider]) -> Json:
    """The configuration with the variables that it needs, as far as they are set: those that it
    names and those of providers. Raises InvalidRequest when it is no such configuration.
    """
    require(config)
    names = {name for each in known.values() for name in _named(each)}
    names.update(re.findall(r"os[.]environ/([^\"\\\\]+)", json.dumps(config, ensure_ascii=False)))
    given = {name: environ[name] for name in sorted(names & environ.keys())}
    return {**config, "environment_variables": {**given, **variables(config, environ)}}


def _named(known: KnownProvider) -> set[str]:
    """The variables that make an endpoint of a provider."""
    spec = known.environment
    if spec is None:
        return set()
    found = {*spec.credential.values(), *spec.options.values(), spec.base_url or ""}
    return found.union(*spec.required)


def require(config: Any) -> None:
    """Raises InvalidRequest when it is no LiteLLM configuration."""
    if not isinstance(config, dict) or not isinstance(config.get("model_list"), list):
        raise InvalidRequest(
            "This is no LiteLLM configuration: it has no 'model_list'.", param="model_list"
        )


def variables(config: Json, environ: Mapping[str, str]) -> dict[str, str]:
    """Those that the configuration sets itself; also from others."""
    given = config.get("environment_variables")
    found = {}
    for name, value in (given if isinstance(given, dict) else {}).items():
        other = VARIABLE.match(str(value))
        found[name] = str(value) if other is None else environ.get(other[1], "")
    return found
