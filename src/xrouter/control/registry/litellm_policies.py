"""LiteLLM's router settings as policies of routes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

Json = dict[str, Any]
Note = Callable[[str], None]

_CHAINS = {
    "fallbacks": "fallbacks",
    "context_window_fallbacks": "on_overflow",
    "content_policy_fallbacks": "on_refusal",
}
_STRATEGIES = {
    "simple-shuffle": ("weighted", "weight", "shuffle", "random"),
    "least-busy": ("least_busy", "least_loaded", "load"),
    "usage-based-routing": ("least_busy", "least_loaded", "load"),
    "usage-based-routing-v2": ("least_busy", "least_loaded", "load"),
    "latency-based-routing": ("latency", "fastest", "speed"),
    "cost-based-routing": ("cheapest", "cost", "price"),
}
_USUAL = "simple-shuffle"
_TAKEN = {*_CHAINS, "default_fallbacks", "num_retries", "routing_strategy", "model_group_alias"}
_MOST_ATTEMPTS = 10


class Group(Protocol):
    """See `litellm.Group`."""

    name: str
    targets: list[Json]
    aliases: list[str]
    policy: Json
    kinds: set[str]


def policies(
    config: Mapping[str, Any], groups: Mapping[str, Group], strategies: Sequence[str], note: Note
) -> None:
    """Give the groups their policies and aliases."""
    sections = [
        (name, config[name])
        for name in ("litellm_settings", "router_settings")
        if isinstance(config.get(name), dict)
    ]
    settings: Json = {}
    for name, section in sections:
        settings |= section
        for other in sorted(section.keys() - _TAKEN):
            note(f"{name}.{other}: not taken over.")
    _aliases(settings, groups, note)
    _strategy(settings, groups, strategies, note)
    for theirs, ours in _CHAINS.items():
        for place, name, chain in _chains(theirs, settings.get(theirs)):
            _chain(groups, name, chain, ours=ours, place=place, note=note)
    usual = settings.get("default_fallbacks")
    for name, group in groups.items():
        if isinstance(usual, list) and "fallbacks" not in group.policy and name not in usual:
            _chain(groups, name, usual, ours="fallbacks", place="default_fallbacks", note=note)
    retries = settings.get("num_retries")
    if isinstance(retries, int):
        for group in groups.values():
            group.policy["max_attempts"] = max(1, min(_MOST_ATTEMPTS, retries + 1))


def _aliases(settings: Json, groups: Mapping[str, Group], note: Note) -> None:
    given = settings.get("model_group_alias")
    for alias, target in (given if isinstance(given, dict) else {}).items():
        name = target.get("model") if isinstance(target, dict) else target
        group = groups.get(str(name))
        if group is None or alias in groups:
            note(f"model_group_alias.{alias}: there is no '{name}' it could mean; left out.")
        else:
            group.aliases.append(alias)


def _strategy(
    settings: Json, groups: Mapping[str, Group], strategies: Sequence[str], note: Note
) -> None:
    """Only where there is a choice."""
    several = [group for group in groups.values() if len(group.targets) > 1]
    if not several:
        return
    wanted = str(settings.get("routing_strategy") or _USUAL)
    ours = next((name for name in _STRATEGIES.get(wanted, ()) if name in strategies), None)
    if ours is None:
        note(f"routing_strategy '{wanted}' has no counterpart: targets are tried in order.")
        return
    for group in several:
        group.policy["strategy"] = ours


def _chains(what: str, given: Any) -> Iterator[tuple[str, str, list[Any]]]:
    """(place, group, names) of a list of objects of one or more groups."""
    for number, item in enumerate(given if isinstance(given, list) else []):
        if isinstance(item, dict):
            for name, chain in item.items():
                if isinstance(chain, list):
                    yield f"{what}[{number}].{name}", name, chain


def _chain(
    groups: Mapping[str, Group], name: str, chain: list[Any], *, ours: str, place: str, note: Note
) -> None:
    group = groups.get(name)
    if group is None:
        note(f"{place}: there is no '{name}'; left out.")
        return
    known = []
    for each in chain:
        shown = each if isinstance(each, str) else "an object"
        if shown not in groups:
            note(f"{place}: '{shown}' is none of the models that were taken over; left out.")
        elif shown == name:
            note(f"{place}: '{shown}' is the model itself; left out.")
        elif groups[shown].kinds.isdisjoint(group.kinds):
            note(f"{place}: '{shown}' answers other requests than '{name}'; left out.")
        else:
            known.append(shown)
    if known:
        group.policy[ours] = known
