"""Many paced streams at once: what a chunk costs the proxy, how late the first word comes.

    python -m bench.streams '{"port": ..., "path": ..., "headers": {...}, "model": ...,
                              "streams": 200, "chunks": 52, "pause": 0.02}'

Prints one JSON line when all streams are open ("open") and one at the end with the figures.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import uvloop

SPREAD_S = 1.0
WORD = b" word"
"""What the mock provider's chunks say."""


class Stream:
    """One client's stream: times of the first chunk and of each later one, in seconds."""

    def __init__(self) -> None:
        self.asked_at = 0.0
        self.first_s: float | None = None
        self.times: list[float] = []
        self.done = False

    async def run(self, plan: dict[str, Any], delay: float) -> None:
        await asyncio.sleep(delay)
        reader, writer = await asyncio.open_connection("127.0.0.1", plan["port"])
        self.asked_at = time.perf_counter()
        writer.write(request_of(plan))
        while True:
            data = await reader.read(65536)
            if not data:
                break
            now = time.perf_counter()
            count = data.count(b"data: ")
            if self.first_s is None and WORD in data:
                self.first_s = now - self.asked_at
            self.times += [now] * count
            if b"[DONE]" in data:
                self.done = True
                break
        writer.close()


def request_of(plan: dict[str, Any]) -> bytes:
    body = json.dumps(
        {
            "model": plan["model"],
            "messages": [{"role": "user", "content": "Tell me of the weather."}],
            "stream": True,
            "user": f"{plan['chunks']}:{plan['pause']}",
        }
    ).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body))}
    lines = "".join(f"{k}: {v}\r\n" for k, v in (headers | plan["headers"]).items())
    return f"POST {plan['path']} HTTP/1.1\r\nhost: bench\r\n{lines}\r\n".encode() + body


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


async def main(plan: dict[str, Any]) -> None:
    streams = [Stream() for _ in range(plan["streams"])]
    tasks = [
        asyncio.create_task(stream.run(plan, SPREAD_S * i / len(streams)))
        for i, stream in enumerate(streams)
    ]
    while not all(s.first_s is not None for s in streams) and not any(  # noqa: ASYNC110 - no cost
        t.done() for t in tasks
    ):
        await asyncio.sleep(0.05)
    print(json.dumps({"open": sum(s.first_s is not None for s in streams)}), flush=True)
    await asyncio.gather(*tasks)
    gaps = [b - a for s in streams for a, b in zip(s.times, s.times[1:], strict=False)]
    firsts = [s.first_s for s in streams if s.first_s is not None]
    print(
        json.dumps(
            {
                "done": sum(s.done for s in streams),
                "chunks": sum(len(s.times) for s in streams),
                "first_p50_ms": percentile(firsts, 0.5) * 1000,
                "first_p99_ms": percentile(firsts, 0.99) * 1000,
                "gap_p50_ms": percentile(gaps, 0.5) * 1000,
                "gap_p99_ms": percentile(gaps, 0.99) * 1000,
            }
        ),
        flush=True,
    )


if __name__ == "__main__":
    uvloop.run(main(json.loads(sys.argv[1])))
