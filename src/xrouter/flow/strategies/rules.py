"""What the first matching rule names: by key, header, tag, length or language."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from xrouter.domain.plan import Target
from xrouter.flow.ask import Ask
from xrouter.flow.board import Board
from xrouter.flow.strategies import Options
from xrouter.flow.strategy_options import one_of, only, whole_number, wrong

WHEN = frozenset({"key", "header", "tag", "min_tokens", "max_tokens", "language"})
RULE = frozenset({"when", "models"})
LANGUAGES = ("ru", "other")


def order(targets: Sequence[Target], ask: Ask, _board: Board, options: Options) -> list[Target]:
    """The targets of the first rule that fits, the others behind them; all as they stand."""
    rules = options.get("rules")
    for rule in rules if isinstance(rules, list) else ():
        if isinstance(rule, dict) and _fits(rule.get("when"), ask):
            chosen = [target for target in targets if _is_named(target, rule.get("models"))]
            return chosen + [target for target in targets if target not in chosen]
    return list(targets)


def check(options: Options) -> None:
    """rules: a list of {when: {...}, models: [patterns]}; see `docs/routing.md`."""
    only(options, "rules")
    rules = options.get("rules", [])
    if not isinstance(rules, list):
        raise wrong("rules", "must be a list")
    for index, rule in enumerate(rules):
        _check(rule, f"rules[{index}]")


def _check(rule: Any, where: str) -> None:
    if not isinstance(rule, dict) or not rule.keys() <= RULE:
        raise wrong(where, "must be an object of 'when' and 'models'")
    when, models = rule.get("when", {}), rule.get("models")
    if not isinstance(models, list) or not models or not all(isinstance(m, str) for m in models):
        raise wrong(f"{where}.models", "must be a list of model ids or patterns")
    if not isinstance(when, dict) or not when.keys() <= WHEN:
        raise wrong(f"{where}.when", f"knows {', '.join(sorted(WHEN))}")
    for name in ("min_tokens", "max_tokens"):
        whole_number(when, name, f"{where}.when.")
    one_of(when, "language", LANGUAGES, f"{where}.when.")
    for name, kind in (("key", list), ("header", dict), ("tag", str)):
        if name in when and not isinstance(when[name], kind):
            raise wrong(f"{where}.when.{name}", f"must be a {kind.__name__}")


def _fits(when: Any, ask: Ask) -> bool:
    """Whether all that a rule asks for is there; a rule that asks for nothing always fits."""
    if not isinstance(when, dict):
        return when is None
    return (
        _is_key(when.get("key"), ask)
        and _has_headers(when.get("header"), ask)
        and ("tag" not in when or when["tag"] in ask.tags)
        and _is_long(when, ask)
        and ("language" not in when or (when["language"] == "ru") == ask.is_russian)
    )


def _is_key(keys: Any, ask: Ask) -> bool:
    return keys is None or (isinstance(keys, list) and ask.principal.key_id in keys)


def _has_headers(headers: Any, ask: Ask) -> bool:
    if headers is None:
        return True
    if not isinstance(headers, dict):
        return False
    for name, pattern in headers.items():
        found = ask.header(str(name).lower().encode("utf-8", "replace"))
        if found is None or not fnmatchcase(found, str(pattern)):
            return False
    return True


def _is_long(when: dict[str, Any], ask: Ask) -> bool:
    least, most = when.get("min_tokens"), when.get("max_tokens")
    if isinstance(least, int) and ask.tokens < least:
        return False
    return not (isinstance(most, int) and ask.tokens > most)


def _is_named(target: Target, models: Any) -> bool:
    patterns = models if isinstance(models, list) else ()
    return any(fnmatchcase(target.model.model_id, str(pattern)) for pattern in patterns)
