"""The status of the models as a page: English or Russian, without scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from itertools import groupby
from pathlib import Path
from string import Template
from typing import get_args
from urllib.parse import urlencode

from msgspec import Struct

from xrouter.domain.status import Condition, ModelStatus

HTML = b"text/html; charset=utf-8"
STATES: tuple[str, ...] = get_args(Condition)
_ROWS = 100
_PAGE = Template(Path(__file__).with_name("page").joinpath("status.html").read_text("utf-8"))
_ENGLISH, _RUSSIAN = "en", "ru"
_NEUTRAL = "*"

_WORDS: dict[str, dict[str, str]] = {
    _ENGLISH: {
        "title": "Status of the models",
        "all": "all",
        "available": "available",
        "degraded": "degraded",
        "unavailable": "unavailable",
        "deprecated": "deprecated",
        "good": "Every model answers.",
        "some": "Some models do not answer, or answer with less than usual.",
        "bad": "No model answers at the moment.",
        "empty": "There are no models.",
        "find": "Find a model",
        "search": "Find",
        "none": "No model is like that.",
        "channels": "channels",
        "since": "since",
        "instead": "use instead",
        "until": "until",
        "vanished": "gone from the provider's list",
        "watched": "What has not changed since {} has no time beside it.",
        "page": "page {} of {}",
        "earlier": "earlier",
        "later": "next",
        "other": "По-русски",
        "json": "the same as JSON",
    },
    _RUSSIAN: {
        "title": "Состояние моделей",
        "all": "все",
        "available": "доступна",
        "degraded": "с перебоями",
        "unavailable": "недоступна",
        "deprecated": "устарела",
        "good": "Все модели отвечают.",
        "some": "Часть моделей не отвечает или отвечает с перебоями.",
        "bad": "Сейчас ни одна модель не отвечает.",
        "empty": "Моделей нет.",
        "find": "Найти модель",
        "search": "Найти",
        "none": "Таких моделей нет.",
        "channels": "каналы",
        "since": "с",
        "instead": "вместо неё",
        "until": "до",
        "vanished": "в списке провайдера её больше нет",
        "watched": "У того, что не менялось с {}, время не указано.",
        "page": "страница {} из {}",
        "earlier": "назад",
        "later": "дальше",
        "other": "In English",
        "json": "то же в JSON",
    },
}


class Asked(Struct, frozen=True):
    """What a visitor wants to see. state: "" for all. text: in an id or a name. page: from 1."""

    language: str
    state: str = ""
    text: str = ""
    page: int = 1


def language(said: str, accepted: bytes) -> str:
    """`en` or `ru`: as said, else by the header accept-language, else `en`."""
    if said in _WORDS:
        return said
    wishes = {_ENGLISH: 0.0, _RUSSIAN: 0.0, _NEUTRAL: 0.0}
    for part in accepted.decode("latin-1").split(","):
        tag, _, quality = part.partition(";")
        name = tag.strip().lower().partition("-")[0]
        if name in wishes:
            wishes[name] = max(wishes[name], _quality(quality))
    best = max(wishes[_ENGLISH], wishes[_NEUTRAL])
    return _RUSSIAN if wishes[_RUSSIAN] > best else _ENGLISH


def _quality(text: str) -> float:
    name, _, value = text.strip().partition("=")
    if name != "q":
        return 1.0
    try:
        return min(1.0, float(value))
    except ValueError:
        return 0.0


def page(
    asked: Asked, found: Sequence[ModelStatus], counts: Mapping[str, int], watched_since: int
) -> bytes:
    """The document. found: all models that were asked for. counts: of all models, by state."""
    words = _WORDS[asked.language]
    pages = max(1, -(-len(found) // _ROWS))
    number = min(max(1, asked.page), pages)
    shown = found[(number - 1) * _ROWS : number * _ROWS]
    other = _RUSSIAN if asked.language == _ENGLISH else _ENGLISH
    values = {
        "language": asked.language,
        "title": words["title"],
        "mood": _mood(counts),
        "summary": words[_mood(counts)],
        "states": _states(asked, counts, words),
        "state": asked.state,
        "find": words["find"],
        "search": words["search"],
        "text": escape(asked.text),
        "models": _models(shown, words) or f"<p>{words['none']}</p>",
        "pages": _pages(asked, number, pages, words) if pages > 1 else "",
        "watched": words["watched"].format(_time(watched_since)),
        "json": words["json"],
        "other": words["other"],
        "other_language": other,
        "other_link": _link(Asked(other, asked.state, asked.text, number)),
    }
    return _PAGE.substitute(values).encode()


def _mood(counts: Mapping[str, int]) -> str:
    if not any(counts.values()):
        return "empty"
    answering = counts["available"] + counts["deprecated"]
    if not answering + counts["degraded"]:
        return "bad"
    return "some" if counts["degraded"] + counts["unavailable"] else "good"


def _states(asked: Asked, counts: Mapping[str, int], words: Mapping[str, str]) -> str:
    numbers = {"": sum(counts.values()), **counts}
    links = []
    for state, number in numbers.items():
        here = ' aria-current="true"' if state == asked.state else ""
        link = _link(Asked(asked.language, state, asked.text))
        name = words[state or "all"]
        links.append(f'<a class="{state}" href="{link}"{here}>{name} <b>{number}</b></a>')
    return "\n".join(links)


def _models(shown: Sequence[ModelStatus], words: Mapping[str, str]) -> str:
    parts = []
    for provider, models in groupby(shown, key=lambda model: model.provider):
        rows = "\n".join(_model(model, words) for model in models)
        parts.append(f"<section><h2>{escape(provider)}</h2>\n<ul>\n{rows}\n</ul></section>")
    return "\n".join(parts)


def _model(model: ModelStatus, words: Mapping[str, str]) -> str:
    more = []
    if model.since is not None:
        more.append(f"{words['since']} {_time(model.since)}")
    if model.channels:
        more.append(f"{words['channels']}: {escape(', '.join(model.channels))}")
    if model.retires_at is not None:
        more.append(f"{words['until']} {_time(model.retires_at)}")
    if model.successor is not None:
        more.append(f"{words['instead']} <code>{escape(model.successor)}</code>")
    if model.vanished:
        more.append(words["vanished"])
    told = f'<p class="more">{" · ".join(more)}</p>' if more else ""
    return (
        f'<li><div class="who"><b>{escape(model.name)}</b> <code>{escape(model.id)}</code></div>'
        f'<span class="state {model.state}">{words[model.state]}</span>{told}</li>'
    )


def _pages(asked: Asked, number: int, pages: int, words: Mapping[str, str]) -> str:
    def link(to: int, name: str) -> str:
        there = _link(Asked(asked.language, asked.state, asked.text, to))
        return f'<a href="{there}">{words[name]}</a>'

    parts = [link(number - 1, "earlier")] if number > 1 else []
    parts.append(words["page"].format(number, pages))
    parts += [link(number + 1, "later")] if number < pages else []
    return f"<nav>{' '.join(parts)}</nav>"


def _link(asked: Asked) -> str:
    fields = {
        "lang": asked.language,
        "state": asked.state,
        "q": asked.text,
        "page": str(asked.page) if asked.page > 1 else "",
    }
    said = {name: value for name, value in fields.items() if value}
    return escape("/status?" + urlencode(said))


def _time(at: int) -> str:
    moment = datetime.fromtimestamp(at, UTC)
    return f'<time datetime="{moment:%Y-%m-%dT%H:%MZ}">{moment:%Y-%m-%d %H:%M} UTC</time>'
