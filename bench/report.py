"""The figures as one page of Markdown."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

Result = dict[str, Any]

HEAD = """# Benchmarks

Made by `make bench` on {day}. Machine: {machine}.

Each proxy ran on one core, turn about with the bare one, in rounds of a second; the load (wrk) and
the mock provider on the other. A 1 kB question, a small answer. Rates and delays are those of the
round in which a request cost least. What a request costs, with all that is left to do after its
answer, was measured in all rounds as a multiple of what it cost at the bare proxy beside it; it is
shown in microseconds of the cheapest of all rounds of the bare one: whatever else the machine did,
it did to both. All figures come from one run: compare within this page only.
"""


def render(results: list[Result], machine: str) -> str:
    """The page."""
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    parts = [HEAD.format(day=day, machine=machine), _requests(results), _costs(results)]
    parts += [_streams(results), _ratios(results)]
    return "\n".join(part for part in parts if part)


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _requests(results: list[Result]) -> str:
    rows = []
    for result in results:
        loads = result["load"].values()
        rates = " / ".join(f"{run['requests_s']:,.0f}" for run in loads)
        delays = " / ".join(f"{run['p50_ms']:.1f}" for run in result["load"].values())
        late = " / ".join(f"{run['p99_ms']:.1f}" for run in result["load"].values())
        failed = sum(run["failed"] for run in result["load"].values())
        rows.append([result["name"], rates, delays, late, str(failed)])
    head = ["proxy", "requests/s at 1 / 8 / 32 / 128", "p50 ms", "p99 ms", "failed"]
    return "## Requests\n\n" + table(head, rows)


def _costs(results: list[Result]) -> str:
    floor = _floor(results)
    rows = []
    for result in results:
        costs = [(run["times_bare"], floor[c]) for c, run in result["load"].items()]
        times = " / ".join(f"{times:,.2f}" for times, _ in costs)
        cpu = " / ".join(f"{times * bare:,.0f}" for times, bare in costs)
        above = " / ".join(f"{(times - 1) * bare:,.0f}" for times, bare in costs)
        start, idle = f"{result['start_s']:.2f}", f"{result['idle_mb']:.0f}"
        rows.append([result["name"], times, cpu, above, start, idle])
    head = ["proxy", "CPU a request, times the bare proxy's, at 1 / 8 / 32 / 128", "µs"]
    head += ["above the bare proxy, µs", "start to first answer, s", "idle, MB"]
    return "## What it costs\n\n" + table(head, rows)


def _floor(results: list[Result]) -> dict[int, float]:
    """What a request costs at the bare proxy at best, by number of connections."""
    found: dict[int, float] = {}
    for result in results:
        for connections, run in result["load"].items():
            found[connections] = min(found.get(connections, math.inf), run["bare_us"])
    return found


def _streams(results: list[Result]) -> str:
    rows = []
    for result in results:
        run, many = result["stream"], result["many"]
        if not run["done"]:
            rows.append([result["name"], f"{run['asked']}", "streams failed", "", "", "", ""])
            continue
        rows.append(
            [
                result["name"],
                f"{run['asked']}",
                f"{run['cpu_us_chunk']:.0f}",
                f"{run['first_p50_ms']:.0f} / {run['first_p99_ms']:.0f}",
                f"{run['gap_p50_ms']:.1f} / {run['gap_p99_ms']:.1f}",
                f"{many['open']} of {many['asked']}",
                f"{many['memory_mb']:.0f}",
            ]
        )
    head = [
        "proxy",
        "streams",
        "CPU µs a chunk",
        "first word p50 / p99, ms (20 after the request)",
        "gap p50 / p99, ms (paced at 20)",
        "of 1,000 streams open",
        "memory then, MB",
    ]
    return "## Streams\n\n" + table(head, rows)


def _ratios(results: list[Result]) -> str:
    by_name = {result["name"]: result for result in results}
    ours = by_name.get("XRouter")
    if ours is None:
        return ""
    rows = []
    for name, other in by_name.items():
        if other is ours:
            continue
        rates = [ours["load"][c]["requests_s"] / other["load"][c]["requests_s"] for c in (8, 32)]
        cpu = ours["load"][32]["times_bare"] / other["load"][32]["times_bare"]
        chunk = ours["stream"]["cpu_us_chunk"] / other["stream"]["cpu_us_chunk"]
        shown = f"{chunk:.2f}" if other["stream"]["done"] else "-"
        rows.append([name, " / ".join(f"{r:.2f}" for r in rates), f"{cpu:.2f}", shown])
    head = ["XRouter compared with", "requests/s at 8 / 32", "CPU a request at 32", "CPU a chunk"]
    return "## Ratios\n\n" + table(head, rows)
