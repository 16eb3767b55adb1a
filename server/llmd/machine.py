"""What the operating system knows of this machine. The only importer of psutil."""

from __future__ import annotations

import os

import psutil


def n_cores() -> int:
    """Physical cores that this process may use: two threads of one core slow a prefill down."""
    n_physical = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        return min(n_physical, len(os.sched_getaffinity(0)))
    return n_physical


def rss_bytes(pid: int | None) -> int:
    """Resident memory of a process; 0 where there is none."""
    if pid is None:
        return 0
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0
