"""What the first matching rule names: for operators who know which requests belong where."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any

from xrouter.domain.plan import Target
from xrouter.flow.ask import Ask
from xrouter.flow.board import Board
from xrouter.flow.strategies import Options
from xrouter.flow.strategy_options import only, wrong

MAX_RULES = 100
LANGUAGES = ("ru", "other")


def order(targets: Sequence[Target], ask: Ask, _board: Board, options: Options) -> list[Target]:
    """The targets of the first rule that fits, in the order of its patterns; then the others.

    A rule that makes no sense fits nothing.
    """
    rules = options.get("rules")
    for rule in rules[:MAX_RULES] if isinstance(rules, list) else ():
        if _fits(rule, ask):
            patterns: list[str] = rule["models"]
            return sorted(targets, key=lambda target: _place(target, patterns))
    return list(targets)


def check(options: Options) -> None:
    """rules: a list of {when: {...}, models: [patterns]}; see `docs/routing.md`."""
    only(options, "rules")
    rules = options.get("rules")
    if not isinstance(rules, list) or len(rules) > MAX_RULES:
        raise wrong("rules", f"must be a list of at most {MAX_RULES} rules")
    for index, rule in enumerate(rules):
        _check(rule, f"rules[{index}]")


def _check(rule: Any, where: str) -> None:
    if not isinstance(rule, dict):
        raise wrong(where, "must be an object of 'when' and 'models'")
    for name in rule:
        if name not in ("when", "models"):
            raise wrong(f"{where}.{name}", "a rule has 'when' and 'models'")
    if not rule.get("models") or not _is_texts(rule["models"]):
        raise wrong(f"{where}.models", "must be a list of model ids or patterns")
    when = rule.get("when", {})
    if not isinstance(when, dict):
        raise wrong(f"{where}.when", "must be an object")
    for name, wanted in when.items():
        if name not in _CONDITIONS:
            known = ", ".join(_CONDITIONS)
            raise wrong(f"{where}.when.{name}", f"there is no such condition; there are: {known}")
        makes_sense, _, shape = _CONDITIONS[name]
        if not makes_sense(wanted):
            raise wrong(f"{where}.when.{name}", f"must be {shape}")


def _fits(rule: Any, ask: Ask) -> bool:
    """Whether the request is all that the rule asks for; `when` may be absent or empty."""
    if not isinstance(rule, dict) or not _is_texts(rule.get("models")):
        return False
    when = rule.get("when", {})
    if not isinstance(when, dict):
        return False
    for name, wanted in when.items():
        condition = _CONDITIONS.get(name)
        if condition is None:
            return False
        makes_sense, holds, _ = condition
        if not makes_sense(wanted) or not holds(ask, wanted):
            return False
    return True


def _place(target: Target, patterns: list[str]) -> int:
    name = target.model.model_id
    for place, pattern in enumerate(patterns):
        if fnmatchcase(name, pattern):
            return place
    return len(patterns)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _is_headers(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(each, str) for each in value.values())


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_language(value: Any) -> bool:
    return value in LANGUAGES


def _has_headers(ask: Ask, wanted: dict[str, str]) -> bool:
    for name, pattern in wanted.items():
        value = ask.header(name.lower().encode("utf-8", "replace"))
        if value is None or not fnmatchcase(value, pattern):
            return False
    return True


_Condition = tuple[Callable[[Any], bool], Callable[[Ask, Any], bool], str]
_CONDITIONS: dict[str, _Condition] = {
    "key": (_is_texts, lambda ask, keys: ask.principal.key_id in keys, "a list of ids of keys"),
    "header": (_is_headers, _has_headers, "an object of header names and values or patterns"),
    "tag": (_is_text, lambda ask, tag: tag in ask.tags, "a text"),
    "min_tokens": (_is_count, lambda ask, least: ask.tokens >= least, "a whole number"),
    "max_tokens": (_is_count, lambda ask, most: ask.tokens <= most, "a whole number"),
    "language": (_is_language, lambda ask, tongue: ask.is_russian == (tongue == "ru"), "ru, other"),
}
"""Of each condition: whether what it wants makes sense, whether it holds, what it must be."""
