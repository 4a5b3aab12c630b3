"""Measure XRouter beside nginx, a bare Python proxy, LiteLLM and Portkey, and write the table.

    python -m bench [--quick] [--only NAME ...] [--no-write]

Each proxy runs on core 0, turn about with the bare one; the load and the mock provider run on core
1. What a request costs is measured as a multiple of what it costs at the bare proxy: whatever else
the machine does, it does to both.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import proxies, report
from bench.machine import cpu_us, describe, memory_mb

PROXY_CORE, LOAD_CORE = 0, 1
CONNECTIONS = (1, 8, 32, 128)
ROUNDS, ROUND_S = 10, 1
"""Many short ones: how fast a shared machine is changes by the second."""
LOOK_S, LOOKS, MOST_LOOKS, RESTING = 0.5, 3, 40, 0.02
"""Who uses hardly more of a core than when it is idle, so many looks long, has done all."""
IDLE_S = 4.0

BODY = json.dumps({"model": "MODEL", "messages": [{"role": "user", "content": "Weather? " * 100}]})


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def mock_provider(port: int) -> Iterator[None]:
    command = ["taskset", "-c", str(LOAD_CORE), sys.executable, "-m", "bench.upstream", str(port)]
    process = subprocess.Popen(command, cwd=proxies.ROOT)
    try:
        wait_for(port)
        yield
    finally:
        process.terminate()
        process.wait()


def wait_for(port: int) -> None:
    for _ in range(500):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise RuntimeError(f"nothing listens on {port}")


def load(running: proxies.Running, connections: int, seconds: int, folder: Path) -> dict[str, Any]:
    """One run of wrk: requests, requests/s, latencies in ms, and the microseconds of processor time
    that the proxy has used for all of it.
    """
    proxy = running.proxy
    script = folder / "post.lua"
    headers = {"content-type": "application/json"} | proxy.headers
    lines = "\n".join(f'wrk.headers["{k}"] = "{v}"' for k, v in headers.items())
    body = BODY.replace("MODEL", proxy.model)
    script.write_text(f"wrk.method = 'POST'\nwrk.body = [==[{body}]==]\n{lines}\n")
    url = f"http://127.0.0.1:{proxy.port}{proxy.path}"
    command = ["taskset", "-c", str(LOAD_CORE), "wrk", "-t1", f"-c{connections}", "--latency"]
    before = cpu_us(running.process.pid)
    out = subprocess.run(
        [*command, f"-d{seconds}s", "-s", str(script), url],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return read_wrk(out) | {"spent_us": at_rest(running.process.pid, running.idle) - before}


def at_rest(pid: int, idle: float = 0.0) -> float:
    """Microseconds that it has used once all is done, also what is left for after the answers.

    idle: share of a core that it uses for nothing, which is not counted for the time of waiting.
    Who uses nothing then leaves nothing for later.
    """
    used = [cpu_us(pid)]
    for _ in range(MOST_LOOKS if idle else 0):
        time.sleep(LOOK_S)
        used.append(cpu_us(pid))
        lately = used[-1] - used[max(0, len(used) - 1 - LOOKS)]
        if len(used) > LOOKS and lately < LOOKS * LOOK_S * 1e6 * (idle + RESTING):
            break
    return used[-1] - idle * (len(used) - 1) * LOOK_S * 1e6


def idle_share(pid: int) -> float:
    """Of a core, that a process uses for which there is nothing to do."""
    time.sleep(LOOKS * LOOK_S)
    before = cpu_us(pid)
    time.sleep(IDLE_S)
    return (cpu_us(pid) - before) / (IDLE_S * 1e6)


def read_wrk(out: str) -> dict[str, Any]:
    done = re.search(r"(\d+) requests in", out)
    count = int(done.group(1)) if done else 0
    rate = re.search(r"Requests/sec:\s+([\d.]+)", out)
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    return {
        "requests": count,
        "requests_s": float(rate.group(1)) if rate else 0.0,
        "p50_ms": latency(out, "50%"),
        "p99_ms": latency(out, "99%"),
        "failed": int(failed.group(1)) if failed else 0,
    }


def latency(out: str, share: str) -> float:
    found = re.search(rf"{share}\s+([\d.]+)(us|ms|s)", out)
    if not found:
        return float("nan")
    return float(found.group(1)) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[found.group(2)]


def stream(running: proxies.Running, streams: int, chunks: int, pause: float) -> dict[str, Any]:
    """Many paced streams at once: CPU per chunk, delays, memory while all are open."""
    proxy = running.proxy
    plan = {
        "port": proxy.port,
        "path": proxy.path,
        "headers": proxy.headers,
        "model": proxy.model,
        "streams": streams,
        "chunks": chunks,
        "pause": pause,
    }
    before, process = cpu_us(running.process.pid), _streaming(plan)
    assert process.stdout is not None
    opened = json.loads(process.stdout.readline())
    memory = memory_mb(running.process.pid)
    figures = dict[str, Any](json.loads(process.stdout.readline()))
    process.wait()
    spent = cpu_us(running.process.pid) - before
    figures["cpu_us_chunk"] = spent / max(1, figures["chunks"])
    return figures | {"memory_mb": memory, "open": opened["open"], "asked": streams}


def _streaming(plan: dict[str, Any]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["taskset", "-c", str(LOAD_CORE), sys.executable, "-m", "bench.streams", json.dumps(plan)],
        cwd=proxies.ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def loads(
    running: proxies.Running, beside: proxies.Running, rounds: int, folder: Path
) -> dict[int, dict[str, Any]]:
    """By number of connections the round that was cheapest, each round after one of the bare proxy.
    times_bare: what a request cost in all rounds, by what it cost there. bare_us: its cheapest.
    """
    found = {}
    for connections in CONNECTIONS:
        pairs = [
            [load(each, connections, ROUND_S, folder) for each in (beside, running)]
            for _ in range(rounds)
        ]
        bare, ours = zip(*pairs, strict=True)
        found[connections] = min(ours, key=_cost) | {
            "times_bare": _mean(ours) / _mean(bare),
            "bare_us": min(map(_cost, bare)),
            "failed": sum(run["failed"] for run in ours),
        }
    return found


def _cost(run: dict[str, Any]) -> float:
    return float(run["spent_us"] / max(1, run["requests"]))


def _mean(runs: Sequence[dict[str, Any]]) -> float:
    spent = sum(run["spent_us"] for run in runs)
    return float(spent / max(1, sum(run["requests"] for run in runs)))


def measure(
    proxy: proxies.Proxy, folder: Path, rounds: int, beside: proxies.Running
) -> dict[str, Any]:
    print(f"{proxy.name} ...", file=sys.stderr, flush=True)
    running = proxies.Running(proxy, folder, PROXY_CORE)
    try:
        idle = memory_mb(running.process.pid)
        load(running, 8, 2, folder)
        running.idle = idle_share(running.process.pid)
        result: dict[str, Any] = {"name": proxy.name, "start_s": running.start_s, "idle_mb": idle}
        result["load"] = loads(running, beside, rounds, folder)
        slow = proxy.name.startswith("LiteLLM")
        result["stream"] = stream(running, 50 if slow else 200, 52, 0.02)
        result["many"] = stream(running, 1000, 10, 1.0)
    finally:
        running.stop()
    return result


def contestants(upstream: int, folder: Path) -> dict[str, Callable[[], proxies.Proxy | None]]:
    return {
        "nginx": lambda: proxies.nginx(free_port(), upstream, folder),
        "bare": lambda: proxies.bare(free_port(), upstream),
        "xrouter": lambda: proxies.xrouter(free_port(), upstream, folder),
        "metered": lambda: proxies.metered(free_port(), upstream, folder),
        "portkey": lambda: proxies.portkey(free_port(), upstream),
        "litellm": lambda: proxies.litellm(free_port(), upstream, folder),
    }


def measured(folder: Path, only: list[str] | None, rounds: int) -> list[dict[str, Any]]:
    """All that are installed and asked for."""
    results, upstream = [], free_port()
    with mock_provider(upstream):
        beside = proxies.Running(proxies.bare(free_port(), upstream), folder, PROXY_CORE)
        try:
            load(beside, 8, 2, folder)
            for key, make in contestants(upstream, folder).items():
                if only and key not in only:
                    continue
                proxy = make()
                if proxy is None:
                    print(f"{key}: not installed, left out", file=sys.stderr)
                    continue
                results.append(measure(proxy, folder, rounds, beside))
        finally:
            beside.stop()
    return results


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two rounds")
    parser.add_argument("--only", nargs="*", help="nginx bare xrouter metered portkey litellm")
    parser.add_argument("--no-write", action="store_true", help="do not write docs/benchmarks.md")
    arguments = parser.parse_args()
    missing = [tool for tool in ("wrk", "taskset") if shutil.which(tool) is None]
    if missing:
        sys.exit(f"The benchmark needs {', '.join(missing)} (Debian packages wrk, util-linux).")
    with tempfile.TemporaryDirectory(prefix="xrouter-bench-") as name:
        results = measured(Path(name), arguments.only, 2 if arguments.quick else ROUNDS)
    text = report.render(results, describe())
    print(text)
    if not arguments.no_write:
        (proxies.ROOT / "docs" / "benchmarks.md").write_text(text)


if __name__ == "__main__":
    main()
