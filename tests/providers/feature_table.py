"""The table of docs/providers.md: features by adapters, each cell with the case that shows it.

    python -m tests.providers.feature_table     writes it, in both languages

Made from `features` of the adapters and from `shows` of the golden cases.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

from xrouter.domain.abilities import Feature
from xrouter.providers.base import BaseAPIAdapter
from xrouter.providers.factory import adapter_classes

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "providers" / "golden"
FEATURES: tuple[Feature, ...] = get_args(Feature)
PAGES = {"en": ROOT / "docs" / "providers.md", "ru": ROOT / "docs" / "ru" / "providers.md"}
UP = {"en": "..", "ru": "../.."}

WORDS: dict[str, dict[str, str]] = {
    "en": {
        "native": "native",
        "emulated": "emulated",
        "dropped": "dropped",
        "refused": "refused",
        "feature": "feature",
    },
    "ru": {
        "native": "есть",
        "emulated": "эмулируется",
        "dropped": "отбрасывается",
        "refused": "отказ",
        "feature": "возможность",
    },
}
INTRO = {
    "en": """# What each provider can do

**native**: the provider has it. **emulated**: XRouter makes it, honestly: the answer is what was
asked for. **dropped**: accepted without effect, and named in the `x-xrouter-dropped` header.
**refused**: a 400 that names the parameter, and the models that could do it. An empty cell: not
known, so it is tried. Single models may differ from their provider; `GET /v1/models` says so.

Each word leads to a case that shows it: the request as it came, the request as it went out, the
answer. The table is made from the adapters and these cases (`make docs`); a test keeps it true.
""",
    "ru": """# Что умеет каждый провайдер

**есть**: провайдер умеет сам. **эмулируется**: XRouter делает это честно: ответ таков, как
просили. **отбрасывается**: параметр принят без действия и назван в заголовке `x-xrouter-dropped`.
**отказ**: ответ 400 называет параметр и модели, которые это умеют. Пустая клетка: неизвестно,
поэтому пробуем. Отдельные модели могут отличаться от своего провайдера, см. `GET /v1/models`.

Каждое слово ведёт к примеру, который это показывает: запрос, каким он пришёл, каким ушёл, и ответ.
Таблица собрана из адаптеров и этих примеров (`make docs`), её верность проверяет тест.
""",
}


def cases() -> dict[str, dict[str, list[Path]]]:
    """Golden cases by adapter and by the feature that they show."""
    found: dict[str, dict[str, list[Path]]] = {}
    for path in sorted(GOLDEN.glob("*/*.json")):
        case: dict[str, Any] = json.loads(path.read_text())
        for feature in case.get("shows", []):
            found.setdefault(case["adapter"], {}).setdefault(feature, []).append(path)
    return found


def title(adapter: type[BaseAPIAdapter]) -> str:
    """The head of its column."""
    name = adapter.display_name or adapter.provider
    second = adapter.__name__.endswith("V2Adapter")
    return f"{name} v2" if second else name


def page(language: str) -> str:
    """The whole page."""
    words, shown = WORDS[language], cases()
    adapters = adapter_classes()
    head = " | ".join([words["feature"], *(title(cls) for cls in adapters.values())])
    lines = [INTRO[language], f"| {head} |", "|---" * (len(adapters) + 1) + "|"]
    for feature in FEATURES:
        cells = [
            _cell(cls, feature, shown.get(path, {}), language) for path, cls in adapters.items()
        ]
        lines.append(f"| `{feature}` | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(
    adapter: type[BaseAPIAdapter], feature: Feature, shown: dict[str, list[Path]], language: str
) -> str:
    degree = adapter.features.get(feature)
    if degree is None:
        return ""
    word = WORDS[language][degree]
    proof = shown.get(feature)
    if not proof:
        return word
    return f"[{word}]({UP[language]}/{proof[0].relative_to(ROOT)})"


if __name__ == "__main__":
    for each, file in PAGES.items():
        file.write_text(page(each), encoding="utf-8")
