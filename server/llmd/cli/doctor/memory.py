"""Checks that the model fits in memory, and how much memory and swap are in use."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from llmd import machine
from llmd.cli.doctor.finding import Finding
from llmd.cli.doctor.llama_probe import LibraryReport
from llmd.config import Config
from llmd.engine.memory_pressure import severity
from llmd.errors import LlmdError, format_bytes
from llmd.machine import MemoryReading
from llmd.models import memory_plan
from llmd.models.gguf.parse import Header
from llmd.models.gguf.validate import whole_shape
from llmd.models.memory_plan.hardware import max_wired_limit_bytes
from llmd.transport.status_types import Status

_MIB = 1 << 20
_MUCH_SWAP_BYTES = 64 << 20  # of the worker's memory; less are pages that were never used again


@dataclass(frozen=True, slots=True)
class PlanFacts:
    """Describes the memory plan.

    `lines`: how the model is or would be laid out, in sentences; `problem`: why it cannot be
    loaded. The bytes are of a loaded model.
    """

    lines: Sequence[str] = ()
    problem: str = ""
    is_loaded: bool = False
    worker_bytes: int = 0
    planned_bytes: int = 0


@dataclass(frozen=True, slots=True)
class MemoryFacts:
    reading: MemoryReading
    swap_total_bytes: int = 0
    swap_used_bytes: int = 0
    worker_swapped_bytes: int = 0
    wired_limit_bytes: int | None = None  # macOS: 0 is its default; None: another system
    lock_bytes: int = sys.maxsize  # the limit of locked memory per process
    wants_lock: bool = False
    model_bytes: int = 0


def read_plan(
    path: str, header: Header | None, config: Config, library: LibraryReport | None,
    status: Status | None,
) -> PlanFacts:  # fmt: skip
    if status and status.worker_pid and status.model.name:
        memory, lines = status.memory, status.model.plan or ()
        return PlanFacts(lines, "", True, memory.worker_bytes, memory.planned_bytes)
    if header is None or library is None:
        return PlanFacts()
    file, host = Path(path), library.machine
    try:
        shape = whole_shape(file, header)
        plan = memory_plan.plan_load(config.engine, host, shape, file.name)
    except LlmdError as error:
        return PlanFacts(problem=str(error))
    return PlanFacts(memory_plan.explain_plan(config.engine, host, shape, plan))


def read_memory(config: Config, header: Header | None, status: Status | None) -> MemoryFacts:
    total, used = machine.swap_bytes()
    worker_pid = status.worker_pid if status else None
    return MemoryFacts(
        machine.read_memory(), total, used, machine.swapped_bytes(worker_pid),
        machine.wired_limit_bytes(), machine.lock_bytes(), config.engine.mlock,
        header.file_bytes if header else 0,
    )  # fmt: skip


def judge_memory(memory: MemoryFacts, plan: PlanFacts) -> Iterator[Finding]:
    yield from _judge_plan(plan)
    yield _judge_pressure(memory.reading)
    yield _judge_swap(memory)
    if memory.wired_limit_bytes is not None:
        yield _judge_wired_limit(memory.wired_limit_bytes, memory.reading.total_bytes, plan)
    if memory.wants_lock and memory.lock_bytes < memory.model_bytes:
        locked, total = format_bytes(memory.lock_bytes), format_bytes(memory.model_bytes)
        text = f"`engine.mlock` is on, but a process may lock only {locked} of the model's {total}"
        raised = "run `ulimit -l unlimited`" if sys.platform == "darwin" else (
            "raise `memlock` in /etc/security/limits.conf")  # fmt: skip
        fix = f"{raised}, or set `engine.mlock` to false"
        yield Finding("memory", "problem", text, fix)


def _judge_plan(plan: PlanFacts) -> Iterator[Finding]:
    if plan.problem:
        text, _, fix = plan.problem.rpartition("; ")
        fix = fix or "choose a smaller model: `llmd models`"
        yield Finding("memory", "problem", text or plan.problem, fix)
    elif plan.is_loaded:
        text = (f"The model is loaded: {format_bytes(plan.worker_bytes)} in memory,"
                f" {format_bytes(plan.planned_bytes)} planned")  # fmt: skip
        yield Finding("memory", "ok", text)
    elif plan.lines:
        yield Finding("memory", "ok", f"The model fits: {plan.lines[0].removeprefix('Memory: ')}")
    for line in plan.lines:
        if line.startswith("Disk: "):
            fix = "choose a smaller model or quantisation: `llmd models`"
            yield Finding("memory", "note", line.removeprefix("Disk: "), fix)
        elif line.startswith("Attention: "):
            text, _, fix = line.removeprefix("Attention: ").rpartition("; ")
            yield Finding("memory", "note", text, fix)
        elif line.startswith("Layers: "):
            yield Finding("memory", "ok", line)


def _judge_pressure(reading: MemoryReading) -> Finding:
    text = f"{format_bytes(reading.free_bytes)} of {format_bytes(reading.total_bytes)} are free"
    level = severity(reading)
    if level in ("calm", "between"):
        return Finding("memory", "ok", text)
    action = "llmd unloads the model" if level == "spent" else "llmd does no work in the background"
    fix = "close other programs, or choose a smaller model: `llmd models`"
    return Finding("memory", "note", f"Memory is short ({text}), and {action}", fix)


def _judge_swap(memory: MemoryFacts) -> Finding:
    if memory.worker_swapped_bytes > _MUCH_SWAP_BYTES:
        swapped = format_bytes(memory.worker_swapped_bytes)
        text = f"{swapped} of the engine's memory are in swap, so completions wait for the disk"
        fix = "close other programs or choose a smaller model, then `llmd restart`"
        return Finding("memory", "note", text, fix)
    if not memory.swap_total_bytes:
        return Finding("memory", "ok", "The system has no swap")
    used = f"{format_bytes(memory.swap_used_bytes)} of {format_bytes(memory.swap_total_bytes)}"
    return Finding("memory", "ok", f"Swap: {used} in use, none by the engine")


def _judge_wired_limit(limit_bytes: int, total_bytes: int, plan: PlanFacts) -> Finding:
    max_limit_bytes = max_wired_limit_bytes(total_bytes)
    if limit_bytes > max_limit_bytes:
        rest = format_bytes(max(0, total_bytes - limit_bytes))
        text = f"The wired limit leaves macOS {rest}, so macOS may freeze"
        megabytes = max_limit_bytes // _MIB
        return Finding("memory", "problem", text, f"`sudo sysctl iogpu.wired_limit_mb={megabytes}`")
    for line in plan.lines:
        if line.startswith("More: "):
            text = "macOS gives the GPU less memory than this model needs"
            return Finding("memory", "note", text, line.removeprefix("More: "))
    size = f"{format_bytes(limit_bytes)} until the next start" if limit_bytes else "macOS's default"
    return Finding("memory", "ok", f"The wired limit is {size}")
