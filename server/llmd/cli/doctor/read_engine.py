"""Reads llama.cpp's build, the model and the machine's memory, for doctor's findings."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

from llmd import machine
from llmd.cli.doctor.build import Build, Hardware
from llmd.cli.doctor.memory import Memory, Plan
from llmd.cli.doctor.model import Model
from llmd.cli.doctor.subprocess_json import ask
from llmd.config import Config
from llmd.errors import LlmdError
from llmd.models import memory_plan, resolve
from llmd.models.gguf.format import Header
from llmd.models.gguf.header import check_model, whole_shape
from llmd.transport.status import Status

# A probe takes a second; where the machine is busy that is no fault of llama.cpp's.
PROBE_TIMEOUT_S = 15.0
_LIBRARY = "llama-cpp-python"
_COMPILERS = {
    "nvcc": "/usr/local/cuda/bin/nvcc",
    "hipcc": "/opt/rocm/bin/hipcc",
    "glslc": "",
}


def hardware() -> Hardware:
    compilers = {
        name for name, place in _COMPILERS.items()
        if shutil.which(name) or (place and Path(place).exists())
    }  # fmt: skip
    return Hardware(
        machine.cpu_flags(), machine.gpu_makers(), frozenset(compilers), machine.is_translated()
    )


def probed(path: str) -> tuple[list[dict[str, Any]], str]:
    """What the library says of itself, and of a model whose header is good."""
    return ask("llmd.cli.doctor.probe", [path] if path else [], PROBE_TIMEOUT_S)


def build_of(said: Sequence[dict[str, Any]], fault: str) -> Build:
    """A fault that came after the library's own line is the model's."""
    build = Build(_version(), _wanted(), sys.executable)
    if not said:
        return replace(build, fault=fault or "it said nothing")
    found = said[0]
    gpus = tuple(memory_plan.Gpu(**gpu) for gpu in found["gpus"])
    return replace(build, backends=tuple(found["backends"]), info=found["info"], gpus=gpus)


def _version() -> str:
    try:
        return metadata.version(_LIBRARY)
    except metadata.PackageNotFoundError:
        return ""


def _wanted() -> str:
    """The version that llmd's own metadata pins."""
    try:
        pins = metadata.requires("llmd") or []
    except metadata.PackageNotFoundError:
        pins = []
    found = (re.match(rf"{_LIBRARY}\s*==\s*([\w.]+)", pin) for pin in pins)
    return next((match[1] for match in found if match), _version())


def model_of(config: Config, source: str) -> tuple[Model, Header | None]:
    model = Model(config.model, source)
    try:
        path = resolve.resolve_model(config.model).path
        header = check_model(path)
    except LlmdError as error:
        return replace(model, problem=str(error)), None
    n_bytes, named = header.file_bytes, header.architecture
    return replace(model, path=str(path), n_bytes=n_bytes, architecture=named), header


def with_vocabulary(model: Model, said: Sequence[dict[str, Any]], fault: str) -> Model:
    """What llama.cpp found in it; nothing where llama.cpp itself could not be asked."""
    if model.problem or not said:
        return model
    if len(said) == 1:
        return replace(model, fault=fault or "it said nothing")
    return replace(model, fault=said[1]["problem"], family=said[1].get("family", ""))


def plan_of(
    model: Model, header: Header | None, config: Config, said: Sequence[dict[str, Any]],
    status: Status | None,
) -> Plan:  # fmt: skip
    if status and status.worker_pid and status.model.name:
        memory = status.memory
        lines = status.model.plan or ()
        return Plan(lines, "", True, memory.worker_bytes, memory.planned_bytes)
    if header is None or not said:
        return Plan()
    here, path = _machine(said[0]), Path(model.path)
    try:
        shape = whole_shape(path, header)
        plan = memory_plan.plan_load(config.engine, here, shape, path.name)
    except LlmdError as error:
        return Plan(problem=str(error))
    return Plan(memory_plan.explain_plan(config.engine, here, shape, plan))


def _machine(found: dict[str, Any]) -> memory_plan.DescribedMachine:
    return memory_plan.DescribedMachine(
        found["backend"], machine.n_cores(), machine.n_fast_cores(), machine.memory_bytes(),
        machine.available_bytes(), tuple(memory_plan.Gpu(**gpu) for gpu in found["gpus"]),
        found["is_unified"],
    )  # fmt: skip


def memory_of(config: Config, header: Header | None, status: Status | None) -> Memory:
    total, used = machine.swap_bytes()
    worker_pid = status.worker_pid if status else None
    return Memory(
        machine.memory_reading(), total, used, machine.swapped_bytes(worker_pid),
        machine.wired_limit_bytes(), machine.lock_bytes(), config.engine.mlock,
        header.file_bytes if header else 0,
    )  # fmt: skip
