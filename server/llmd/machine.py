"""What the operating system knows of this machine. The only importer of psutil."""

from __future__ import annotations

import os
import platform
import resource
from contextlib import suppress
from pathlib import Path

import psutil


def cpu_name() -> str:
    """As its maker calls it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def n_cores() -> int:
    """Physical cores that this process may use: two threads of one core slow a prefill down."""
    n_physical = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        return min(n_physical, len(os.sched_getaffinity(0)))
    return n_physical


def on_battery() -> bool | None:
    """Whether the machine runs on its battery; None where it has none or does not say."""
    try:
        battery = psutil.sensors_battery()
    except (AttributeError, OSError, RuntimeError):  # a platform without the sensor
        return None
    return None if battery is None else battery.power_plugged is False


def memory_bytes() -> int:
    """What a process of ours may use: the machine's memory, or less where a limit is set."""
    limits = [psutil.virtual_memory().total]
    for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        soft, _ = resource.getrlimit(kind)
        limits += [soft] if soft != resource.RLIM_INFINITY else []
    with suppress(OSError, ValueError):  # no cgroup v2, or the word `max`
        limits.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(limits)


def n_open_files() -> int:
    """0 where it cannot be told: to count them takes one."""
    try:
        return int(psutil.Process().num_fds())
    except (psutil.Error, OSError):
        return 0


def rss_bytes(pid: int | None) -> int:
    """Resident memory of a process; 0 where there is none."""
    if pid is None:
        return 0
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except (psutil.Error, OSError):
        return 0
