"""`make faults`: run every cell once and write what came out to docs/faults.md and docs/ru."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from tests.faults.cells import FAULTS, PROVIDERS, Fault, Outcome, run

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent


def main() -> None:
    """Write both pages."""
    seen = {
        (fault.name, provider, stream): asyncio.run(run(fault, provider, stream=stream))
        for fault in FAULTS
        for provider in PROVIDERS
        for stream in (True, False)
    }
    _write("docs/faults.md", "en", "fault", lambda fault: fault.about, seen)
    _write("docs/ru/faults.md", "ru", "сбой", lambda fault: fault.about_ru, seen)


def _write(
    path: str,
    language: str,
    corner: str,
    about: Callable[[Fault], str],
    seen: dict[tuple[str, str, bool], Outcome],
) -> None:
    lines = [f"| {corner} | {' | '.join(PROVIDERS)} |", "|---" * (len(PROVIDERS) + 1) + "|"]
    for fault in FAULTS:
        cells = (
            " · ".join(_cell(fault, seen[fault.name, provider, stream]) for stream in (True, False))
            for provider in PROVIDERS
        )
        lines.append(f"| {about(fault)} | {' | '.join(cells)} |")
    head = (HERE / f"head.{language}.md").read_text("utf-8")
    (ROOT / path).write_text(head + "\n".join(lines) + "\n", encoding="utf-8")


def _cell(fault: Fault, seen: Outcome) -> str:
    first, second = seen.charges
    if seen.reply.error is not None:
        return f"**loud {seen.event.tokens_out}/{sum(out for _, out in first)}**"
    took = f"{seen.event.total_ms:.0f} ms"
    if fault.harmless:
        return f"held {took}"
    return f"{took} +{len(first)}" if first and second else took


if __name__ == "__main__":
    main()
