"""Whether the model has room, and what the machine says of its memory. Pure."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from llmd.cli.doctor.finding import Finding
from llmd.engine.memory_pressure import severity
from llmd.errors import format_bytes
from llmd.machine import MemoryReading
from llmd.models.memory_plan.hardware import max_wired_limit_bytes

_MIB = 1 << 20
_MUCH_SWAP_BYTES = 64 << 20  # of the worker's: less are pages that nobody has used since


@dataclass(frozen=True, slots=True)
class Plan:
    """How the model would be laid out now, in words; or why it can't be. Of a loaded one, what
    it takes."""

    lines: Sequence[str] = ()
    problem: str = ""
    is_loaded: bool = False
    worker_bytes: int = 0
    planned_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Memory:
    reading: MemoryReading
    swap_total_bytes: int = 0
    swap_used_bytes: int = 0
    worker_swapped_bytes: int = 0
    wired_limit_bytes: int | None = None  # macOS: 0 is its default; None: another system
    lock_bytes: int = sys.maxsize  # what a process may lock
    wants_lock: bool = False
    model_bytes: int = 0


def of_memory(memory: Memory, plan: Plan) -> Iterator[Finding]:
    yield from _of_plan(plan)
    yield _of_pressure(memory.reading)
    yield _of_swap(memory)
    if memory.wired_limit_bytes is not None:
        yield _of_wired_limit(memory.wired_limit_bytes, memory.reading.total_bytes, plan)
    if memory.wants_lock and memory.lock_bytes < memory.model_bytes:
        said = (f"`engine.mlock` is on, and a process may lock {format_bytes(memory.lock_bytes)}"
                f" of the model's {format_bytes(memory.model_bytes)}")  # fmt: skip
        fix = "raise `memlock` in /etc/security/limits.conf, or set `engine.mlock` to false"
        yield Finding("memory", "problem", said, fix)


def _of_plan(plan: Plan) -> Iterator[Finding]:
    if plan.problem:
        said, _, fix = plan.problem.rpartition("; ")
        yield Finding("memory", "problem", said or plan.problem, fix or "`llmd models` shows what")
    elif plan.is_loaded:
        said = (f"The model is loaded: {format_bytes(plan.worker_bytes)} in memory,"
                f" {format_bytes(plan.planned_bytes)} were planned")  # fmt: skip
        yield Finding("memory", "ok", said)
    elif plan.lines:
        yield Finding("memory", "ok", f"The model fits: {plan.lines[0].removeprefix('Memory: ')}")
    for line in plan.lines:
        if line.startswith("Disk: "):
            fix = "a smaller model or quantisation: `llmd models`"
            yield Finding("memory", "note", line.removeprefix("Disk: "), fix)
        elif line.startswith("Layers: "):
            yield Finding("memory", "ok", line)


def _of_pressure(reading: MemoryReading) -> Finding:
    said = f"{format_bytes(reading.free_bytes)} of {format_bytes(reading.total_bytes)} are free"
    found = severity(reading)
    if found in ("calm", "between"):
        return Finding("memory", "ok", said)
    does = "llmd unloads the model" if found == "spent" else "llmd does nothing in the background"
    fix = "close something, or take a smaller model: `llmd models`"
    return Finding("memory", "note", f"Memory is short ({said}), and {does}", fix)


def _of_swap(memory: Memory) -> Finding:
    if memory.worker_swapped_bytes > _MUCH_SWAP_BYTES:
        swapped = format_bytes(memory.worker_swapped_bytes)
        said = f"{swapped} of the engine are in swap: it waits for disk"
        fix = "close something or take a smaller model, then `llmd restart`"
        return Finding("memory", "note", said, fix)
    if not memory.swap_total_bytes:
        return Finding("memory", "ok", "The system has no swap")
    of = f"{format_bytes(memory.swap_used_bytes)} of {format_bytes(memory.swap_total_bytes)}"
    return Finding("memory", "ok", f"Swap holds {of}, nothing of it the engine's")


def _of_wired_limit(limit_bytes: int, total_bytes: int, plan: Plan) -> Finding:
    max_limit_bytes = max_wired_limit_bytes(total_bytes)
    if limit_bytes and limit_bytes > max_limit_bytes:
        rest = max(0, total_bytes - limit_bytes)
        said = f"The wired limit leaves macOS {format_bytes(rest)}: it may freeze"
        good = max_limit_bytes // _MIB
        return Finding("memory", "problem", said, f"`sudo sysctl iogpu.wired_limit_mb={good}`")
    for line in plan.lines:
        if line.startswith("More: "):
            said = "macOS lets the GPU have less than this model wants"
            return Finding("memory", "note", said, line.removeprefix("More: "))
    said = (
        f"is {format_bytes(limit_bytes)} until the next start" if limit_bytes else "is macOS's own"
    )
    return Finding("memory", "ok", f"The wired limit {said}")
