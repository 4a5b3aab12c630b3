"""What the machine is, and what a process has used of it (Linux)."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import psutil

TICK_US = 1_000_000 / os.sysconf("SC_CLK_TCK")


def describe() -> str:
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory = round(psutil.virtual_memory().total / 2**30)
    return (
        f"{os.cpu_count()} x {model}, {memory} GiB, Linux {platform.release()}, "
        f"Python {platform.python_version()}"
    )


def family(pid: int) -> list[psutil.Process]:
    """The process and all its children."""
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


def cpu_us(pid: int) -> float:
    """Microseconds of processor time, user and system, of the process and its children."""
    total = 0.0
    for process in family(pid):
        times = process.cpu_times()
        total += times.user + times.system
    return total * 1e6


def memory_mb(pid: int) -> float:
    """Resident memory in MB; shared pages of children count once each."""
    return float(sum(process.memory_info().rss for process in family(pid)) / 1e6)


def pin(pid: int, core: int) -> None:
    """Keep the process, its threads and its children on one core."""
    for process in family(pid):
        for thread in process.threads():
            os.sched_setaffinity(thread.id, {core})
