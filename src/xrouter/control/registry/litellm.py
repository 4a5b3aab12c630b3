"""A LiteLLM configuration as a document of the registry. Pure: no files, no environment, no clock.

    model_list       each deployment: a model of a provider, on an endpoint with its credential
    model_name       a group: an alias of a route to its deployments
    router_settings  fallbacks, strategy and retries: the policies of these routes

What has no counterpart is left out and told in the notes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct, field

from xrouter.control.registry.litellm_policies import policies
from xrouter.domain.errors import InvalidRequest
from xrouter.domain.routes import ROUTE
from xrouter.providers.base import from_environment
from xrouter.providers.factory import KnownProvider

Json = dict[str, Any]

GENERIC = "openai"
GENERIC_ADAPTER = "xrouter.providers.openai.GenericOpenAIAdapter"
_VARIABLE = re.compile(r"^os[.]environ/(.*)$")
_WILDCARD = "*"
_TAKEN = frozenset(
    {"model", "api_base", "base_url", "api_key", "weight", "order", "custom_llm_provider"}
)
_TEXTS = frozenset({"model", "api_base", "base_url", "api_key", "custom_llm_provider"})
"""Settings that may name a variable of the environment."""

_LIMITS = frozenset({"rpm", "tpm", "max_parallel_requests"})
_KINDS = {
    "chat": "chat",
    "completion": "chat",
    "responses": "chat",
    "embedding": "embeddings",
    "image_generation": "images",
    "audio_speech": "speech",
    "audio_transcription": "transcription",
    "moderation": "moderation",
    "moderations": "moderation",
}
_MADE_UP = re.compile(r"^(hosted_|text-completion-|custom_)|(_chat|_ai|_like)$")
_TOP = frozenset({"model_list", "router_settings", "litellm_settings", "environment_variables"})
_MOST = 5000


class Taken(Struct):
    """document: for `PUT /registry`, with credentials in the clear. notes: what was left out."""

    document: Json
    notes: list[str]


class _Provider(Struct):
    """One address of a provider. keys: credentials, each an endpoint."""

    name: str
    adapter_class: str
    base_url: str
    keys: list[Json] = field(default_factory=list)
    options: dict[str, str] = field(default_factory=dict)

    def document(self) -> Json:
        """As the registry takes it."""
        endpoints: list[Json] = []
        for number, credential in enumerate(self.keys):
            name = "primary" if number == 0 else f"standby-{number}"
            endpoint: Json = {"name": name, "base_url": self.base_url}
            if credential:
                endpoint["credential"] = credential
            if self.options:
                endpoint["options"] = self.options
            endpoints.append(endpoint)
        return {"name": self.name, "adapter_class": self.adapter_class, "endpoints": endpoints}


class Group(Struct):
    """What LiteLLM calls a model: a name and its deployments."""

    name: str
    targets: list[Json] = field(default_factory=list)
    aliases: list[str] = field(default_factory=list)
    policy: Json = field(default_factory=dict)


def translate(
    config: Any,
    environ: Mapping[str, str],
    known: Mapping[str, KnownProvider],
    strategies: Sequence[str],
) -> Taken:
    """Take over what can be. Raises InvalidRequest when it is no such configuration.

    strategies: the names of ours.
    """
    if not isinstance(config, dict) or not isinstance(config.get("model_list"), list):
        raise InvalidRequest(
            "This is no LiteLLM configuration: it has no 'model_list'.", param="model_list"
        )
    reader = _Reader({**environ, **_variables(config, environ)}, known)
    for number, item in enumerate(config["model_list"][:_MOST]):
        reader.take(f"model_list[{number}]", item)
    if len(config["model_list"]) > _MOST:
        reader.note(f"model_list: only the first {_MOST} are taken over.")
    for part in sorted(config.keys() - _TOP):
        reader.note(f"{part}: not taken over.")
    policies(config, reader.groups, strategies, reader.note)
    return Taken(reader.document(), reader.notes)


def _variables(config: Json, environ: Mapping[str, str]) -> dict[str, str]:
    """Those that the configuration sets itself; also from others."""
    given = config.get("environment_variables")
    found = {}
    for name, value in (given if isinstance(given, dict) else {}).items():
        other = _VARIABLE.match(str(value))
        found[name] = str(value) if other is None else environ.get(other[1], "")
    return found


class _Reader:
    def __init__(self, environ: Mapping[str, str], known: Mapping[str, KnownProvider]) -> None:
        self.groups: dict[str, Group] = {}
        self.notes: list[str] = []
        self._environ = environ
        self._known = known
        self._providers: dict[tuple[str, str], _Provider] = {}
        self._models: dict[str, Json] = {}

    def note(self, text: str) -> None:
        """Something for the operator, once."""
        if text not in self.notes:
            self.notes.append(text)

    def take(self, place: str, item: Any) -> None:
        """One deployment."""
        params = item.get("litellm_params") if isinstance(item, dict) else None
        if not isinstance(params, dict) or not isinstance(params.get("model"), str):
            self.note(f"{place}: has no litellm_params.model; left out.")
            return
        for name in sorted(_TEXTS & params.keys()):
            params = {**params, name: self._value(f"{place}.{name}", params[name])}
        if not params["model"]:
            return
        found = self._party(place, params)
        if found is None:
            return
        known, upstream = found
        provider = self._provider(place, known, params)
        if provider is None:
            return
        endpoint = self._endpoint(provider, known, params)
        if _WILDCARD in upstream:
            self.note(
                f"{place}: '{params['model']}' means all models of {provider.name}: "
                f"`xrouter models sync --provider {provider.name} --live` lists them."
            )
            return
        model_id = f"{provider.name}/{upstream}"
        self._model(place, model_id, provider, item.get("model_info"))
        self._leave(place, params)
        name = str(item.get("model_name") or model_id)
        group = self.groups.setdefault(name, Group(name))
        target: Json = {"model": model_id, "endpoint": endpoint}
        if isinstance(params.get("weight"), int | float):
            target["weight"] = max(0, min(1000, round(params["weight"])))
        if isinstance(params.get("order"), int):
            target["priority"] = max(0, params["order"])
        group.targets.append(target)

    def document(self) -> Json:
        """All that was taken."""
        several = {p.name for p in self._providers.values() if len(p.keys) > 1}
        names: set[str] = set()
        routes = []
        for group in self.groups.values():
            route = self._route(group, several)
            if route is not None:
                route["name"] = _unique(_slug(group.name), names)
                routes.append(route)
        return {
            "providers": [provider.document() for provider in self._providers.values()],
            "models": list(self._models.values()),
            "routes": routes,
        }

    def _route(self, group: Group, several: set[str]) -> Json | None:
        """The route of a group; None where the model's own name says the same."""
        targets = []
        for target in group.targets:
            provider = target["model"].partition("/")[0]
            kept = {k: v for k, v in target.items() if k != "endpoint" or provider in several}
            targets.append(kept)
        aliases = [name for name in (group.name, *group.aliases) if self._free(group, name)]
        plain = len(targets) == 1 and targets[0] == {"model": group.name}
        if plain and not aliases and not group.policy:
            return None
        return {
            "display_name": group.name,
            "aliases": aliases,
            "targets": targets,
            "policy": group.policy,
        }

    def _free(self, group: Group, name: str) -> bool:
        """Whether a name may be an alias; says so where it may not and that changes something."""
        if not re.fullmatch(r"[!-~]{1,200}", name):
            self.note(f"'{name}' cannot be a model's name here: ask for its route instead.")
            return False
        if name in self._models:
            if len(group.targets) > 1 or group.policy:
                self.note(
                    f"'{name}' is the model itself: ask for '{ROUTE}{_slug(name)}' to get all "
                    "its deployments and fallbacks."
                )
            return False
        return True

    def _party(self, place: str, params: Json) -> tuple[KnownProvider, str] | None:
        """Who serves a deployment, and the name it has there."""
        model: str = params["model"]
        prefix, slash, rest = model.partition("/")
        if params.get("custom_llm_provider"):
            prefix, rest = str(params["custom_llm_provider"]), model.removeprefix(prefix + slash)
            rest = rest or model
        elif not slash:
            return self._by_model(place, model)
        known = self._known.get(prefix) or self._known.get(_MADE_UP.sub("", prefix))
        if known is None or not rest:
            hint = (
                " If its server speaks OpenAI's language, write 'openai/<model>' with its api_base."
                if params.get("api_base")
                else ""
            )
            self.note(f"{place}: '{model}': there is no provider '{prefix}'; left out.{hint}")
            return None
        return known, rest

    def _by_model(self, place: str, model: str) -> tuple[KnownProvider, str] | None:
        for known in self._known.values():
            if any(about.name == model for about in known.supported_models):
                return known, model
        self.note(f"{place}: '{model}' names no provider: write 'provider/{model}'; left out.")
        return None

    def _provider(self, place: str, known: KnownProvider, params: Json) -> _Provider | None:
        given: str = params.get("api_base") or params.get("base_url") or ""
        spec = known.environment
        if not given and spec is not None and spec.base_url is not None:
            given = self._environ.get(spec.base_url, "")
        home = known.default_base_url.rstrip("/")
        base = (given or home).rstrip("/")
        if not _is_address(base):
            self.note(f"{place}: {known.name} needs the address of a server as api_base; left out.")
            return None
        found = self._providers.get((known.name, base))
        if found is None:
            name, adapter = known.name, known.adapter_class
            if base != home and known.name == GENERIC:
                name, adapter = _host(base), GENERIC_ADAPTER
            taken = {provider.name for provider in self._providers.values()}
            found = _Provider(_unique(name, taken), adapter, base)
            self._providers[known.name, base] = found
        return found

    def _endpoint(self, provider: _Provider, known: KnownProvider, params: Json) -> str:
        credential: Json = {}
        key = params.get("api_key")
        if key:
            credential = {"api_key": key}
        elif known.environment is not None:
            fields = from_environment(known.environment, self._environ)
            if fields is not None:
                credential = {name: s.reveal() for name, s in fields.credential.items()}
                provider.options |= fields.options
        if credential not in provider.keys:
            provider.keys.append(credential)
        number = provider.keys.index(credential)
        return "primary" if number == 0 else f"standby-{number}"

    def _value(self, place: str, given: Any) -> str:
        """A setting, also one that names a variable of the environment; '' for none."""
        if isinstance(given, int) and not isinstance(given, bool):
            return str(given)
        if not isinstance(given, str):
            if given is not None:
                self.note(f"{place}: is no text; left out.")
            return ""
        found = _VARIABLE.match(given)
        if found is None:
            return given.strip()
        value = self._environ.get(found[1], "").strip()
        if not value:
            self.note(
                f"{place}: the variable {found[1]} is not set: give it, here or under "
                "environment_variables, and import again."
            )
        return value

    def _model(self, place: str, model_id: str, provider: _Provider, given: Any) -> None:
        document = self._models.setdefault(
            model_id, {"model_id": model_id, "provider": provider.name}
        )
        info: Json = given if isinstance(given, dict) else {}
        mode = info.get("mode")
        if isinstance(mode, str) and mode in _KINDS:
            document["kind"] = _KINDS[mode]
        elif mode is not None:
            self.note(f"{place}: model_info.mode '{mode}' is not known here.")
        context = info.get("max_input_tokens")
        if isinstance(context, int) and context > 0:
            document["context_length"] = context
        if any(name.endswith(("_cost_per_token", "_cost_per_second")) for name in info):
            self.note(f"{place}: prices are not taken over: set them in the catalog.")

    def _leave(self, place: str, params: Json) -> None:
        """Tell what is left out; names of settings only, never what they hold."""
        limits = sorted(params.keys() & _LIMITS)
        if limits:
            self.note(f"{place}: {', '.join(limits)}: limits of deployments are not taken over.")
        others = sorted(params.keys() - _TAKEN - _LIMITS)
        if others:
            self.note(f"{place}: not taken over: {', '.join(others)}.")


def _slug(name: str) -> str:
    """A name as routes and providers have it."""
    text = re.sub(r"[^a-z0-9._-]+", "-", name.lower())
    return re.sub(r"^[^a-z0-9]+", "", text)[:60].rstrip("-") or "route"


def _is_address(text: str) -> bool:
    try:
        return urlsplit(text).port != 0 and bool(urlsplit(text).hostname)
    except ValueError:
        return False


def _host(base_url: str) -> str:
    parts = urlsplit(base_url)
    return _slug(f"{parts.hostname or ''}{f'-{parts.port}' if parts.port else ''}")


def _unique(name: str, taken: set[str]) -> str:
    found, number = name, 2
    while found in taken:
        found, number = f"{name}-{number}", number + 1
    taken.add(found)
    return found
