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

from msgspec import Struct, field

from xrouter.control.registry.litellm_places import (
    Place,
    Present,
    find,
    host,
    is_address,
    slug,
    unique,
)
from xrouter.control.registry.litellm_policies import policies
from xrouter.control.registry.litellm_variables import VARIABLE, require, variables
from xrouter.domain.routes import ROUTE
from xrouter.providers.base import from_environment
from xrouter.providers.factory import KnownProvider

Json = dict[str, Any]

GENERIC = "openai"
GENERIC_ADAPTER = "xrouter.providers.openai.GenericOpenAIAdapter"
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


class Group(Struct):
    """What LiteLLM calls a model: a name and its deployments."""

    name: str
    targets: list[Json] = field(default_factory=list)
    aliases: list[str] = field(default_factory=list)
    policy: Json = field(default_factory=dict)
    kinds: set[str] = field(default_factory=set)


def translate(
    config: Any,
    environ: Mapping[str, str],
    known: Mapping[str, KnownProvider],
    strategies: Sequence[str],
    present: Mapping[str, Present] | None = None,
) -> Taken:
    """Take over what can be. Raises InvalidRequest when it is no such configuration.

    strategies: the names of ours. present: the providers that are there already, by name.
    """
    require(config)
    reader = _Reader({**environ, **variables(config, environ)}, known, present or {})
    for number, item in enumerate(config["model_list"][:_MOST]):
        reader.take(f"model_list[{number}]", item)
    if len(config["model_list"]) > _MOST:
        reader.note(f"model_list: only the first {_MOST} are taken over.")
    for part in sorted(config.keys() - _TOP):
        reader.note(f"{part}: not taken over.")
    policies(config, reader.groups, strategies, reader.note)
    return Taken(reader.document(), reader.notes)


class _Reader:
    def __init__(
        self,
        environ: Mapping[str, str],
        known: Mapping[str, KnownProvider],
        present: Mapping[str, Present],
    ) -> None:
        self.groups: dict[str, Group] = {}
        self.notes: list[str] = []
        self._environ = environ
        self._known = known
        self._places: dict[tuple[str, str], Place] = {}
        self._present = present
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
        endpoint = self._endpoint(place, provider, known, params)
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
        target: Json = {"model": model_id}
        if endpoint is not None:
            target["endpoint"] = endpoint
        if isinstance(params.get("weight"), int | float):
            target["weight"] = max(0, min(1000, round(params["weight"])))
        if isinstance(params.get("order"), int):
            target["priority"] = max(0, params["order"])
        group.targets.append(target)
        group.kinds.add(self._models[model_id].get("kind", "chat"))

    def document(self) -> Json:
        """All that was taken."""
        several = {each.name for each in self._places.values() if each.is_several}
        providers = [each.document() for each in self._places.values()]
        names: set[str] = set()
        routes = []
        for group in self.groups.values():
            route = self._route(group, several)
            if route is not None:
                route["name"] = unique(slug(group.name), names)
                routes.append(route)
        return {
            "providers": [each for each in providers if each is not None],
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
                    f"'{name}' is the model itself: ask for '{ROUTE}{slug(name)}' to get all "
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

    def _provider(self, place: str, known: KnownProvider, params: Json) -> Place | None:
        given: str = (params.get("api_base") or params.get("base_url") or "").rstrip("/")
        home = known.default_base_url.rstrip("/")
        usual = self._present.get(known.name)
        if not given and usual is not None and usual.base_url:
            why = f"its address {usual.base_url} stays, for the file names none"
            self.note(f"The provider '{usual.name}' is there already: {why}.")
            return self._known_place(usual, usual.base_url)
        base = given or self._address(known) or home
        if not is_address(base):
            self.note(f"{place}: {known.name} needs the address of a server as api_base; left out.")
            return None
        name, adapter = known.name, known.adapter_class
        if base != home and name == GENERIC:
            name, adapter = host(base), GENERIC_ADAPTER
        present = find(self._present, base, known.name, name)
        if present is None and usual is not None and not usual.endpoints:
            present = usual
        if present is not None:
            return self._known_place(present, base)
        found = self._places.get((known.name, base))
        if found is None:
            taken = {*self._present, *(each.name for each in self._places.values())}
            found = Place(unique(name, taken), adapter, base)
            self._places[known.name, base] = found
            if usual is not None:
                self.note(
                    f"{place}: {base} is not the address of the provider '{usual.name}', which "
                    f"stays as it is: it becomes the provider '{found.name}'."
                )
        return found

    def _known_place(self, present: Present, base: str) -> Place:
        """One for each provider that is there, whatever the addresses of its endpoints."""
        new = Place(present.name, present.adapter_class, base, present)
        return self._places.setdefault((present.name, ""), new)

    def _address(self, known: KnownProvider) -> str:
        """As the environment gives it."""
        spec = known.environment
        named = None if spec is None else spec.base_url
        return "" if named is None else self._environ.get(named, "").rstrip("/")

    def _endpoint(
        self, place: str, provider: Place, known: KnownProvider, params: Json
    ) -> str | None:
        """The name of a deployment's endpoint; None for whichever the provider has."""
        base = (params.get("api_base") or params.get("base_url") or "").rstrip("/")
        key = params.get("api_key")
        credential: Json = {}
        options: dict[str, str] = {}
        if key:
            credential = {"api_key": key}
        elif known.environment is not None:
            fields = from_environment(known.environment, self._environ)
            if fields is not None:
                credential = {name: s.reveal() for name, s in fields.credential.items()}
                options = fields.options
        if provider.standing:
            return self._standing(place, provider, base, credential, is_named=bool(key))
        return provider.add(base or provider.base_url, credential, options)

    def _standing(
        self, place: str, provider: Place, base: str, credential: Json, *, is_named: bool
    ) -> str | None:
        """Of a provider that is there: what it has stays, another credential comes beside it.

        is_named: whether the file has the credential, not the environment.
        """
        there = [each for each in provider.standing if not base or each.is_at(base)]
        first = there[0]
        for each in there:
            if credential and each.has(credential):
                return each.name
        if credential and first.waits:
            return provider.fill(first, credential)
        if not is_named:
            why = "its credential stays, for the file names none"
            self.note(f"The provider '{provider.name}' is there already: {why}.")
            return first.name if base else None
        name = provider.add(base or first.base_url, credential, first.options)
        self.note(
            f"{place}: its credential is not that of '{provider.name}/{first.name}', which stays "
            f"as it is: it becomes the endpoint '{provider.name}/{name}'."
        )
        return name

    def _value(self, place: str, given: Any) -> str:
        """A setting, also one that names a variable of the environment; '' for none."""
        if isinstance(given, int) and not isinstance(given, bool):
            return str(given)
        if not isinstance(given, str):
            if given is not None:
                self.note(f"{place}: is no text; left out.")
            return ""
        found = VARIABLE.match(given)
        if found is None:
            return given.strip()
        value = self._environ.get(found[1], "").strip()
        if not value:
            self.note(
                f"{place}: the variable {found[1]} is not set: give it, here or under "
                "environment_variables, and import again."
            )
        return value

    def _model(self, place: str, model_id: str, provider: Place, given: Any) -> None:
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
