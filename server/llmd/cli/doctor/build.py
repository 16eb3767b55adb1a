"""Compares llama.cpp's build with this machine, and names the command that builds a better one."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

from llmd import machine
from llmd.cli.doctor.finding import Finding
from llmd.cli.doctor.llama_probe import LlamaReport
from llmd.models.memory_plan import Gpu
from llmd.processes import find_program
from llmd.worker.library_problems import explain_missing_library

_LIBRARY = "llama-cpp-python"
# By ggml's name of a backend: the name for people, and the flag that builds it.
_BACKENDS = {
    "MTL": ("Metal", "-DGGML_METAL=on"),
    "Metal": ("Metal", "-DGGML_METAL=on"),
    "CUDA": ("CUDA", "-DGGML_CUDA=on"),
    "ROCm": ("ROCm", "-DGGML_HIP=on"),
    "Vulkan": ("Vulkan", "-DGGML_VULKAN=on"),
}
_FLAGS = dict(_BACKENDS.values())
# The compiler that a build of each takes, the package that has it, and its usual path off PATH.
_COMPILERS = {"CUDA": "nvcc", "ROCm": "hipcc", "Vulkan": "glslc"}
_PACKAGES = {
    "CUDA": "the CUDA toolkit",
    "ROCm": "ROCm",
    "Vulkan": "Debian: libvulkan-dev, glslc, spirv-headers",
}
_COMPILER_PATHS = {"nvcc": "/usr/local/cuda/bin/nvcc", "hipcc": "/opt/rocm/bin/hipcc", "glslc": ""}
_SERVES = {"NVIDIA": ("CUDA", "Vulkan"), "AMD": ("ROCm", "Vulkan"), "Apple": ("Metal",)}
# By the kernel's name of a CPU feature: ggml's name of the code that uses it.
_FEATURES = {
    "avx": "AVX", "avx2": "AVX2", "fma": "FMA", "f16c": "F16C", "bmi2": "BMI2",
    "avx512f": "AVX512", "avx512_vnni": "AVX512_VNNI", "avx512_bf16": "AVX512_BF16",
    "avx_vnni": "AVX_VNNI", "asimddp": "DOTPROD", "i8mm": "MATMUL_INT8",
    "sve": "SVE",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class HardwareFacts:
    """Describes GPUs and compilers of the machine.

    `makers`: of the GPUs: NVIDIA, AMD, Apple. `compilers`: of nvcc, hipcc, glslc.
    """

    cpu_flags: frozenset[str] = frozenset()
    makers: frozenset[str] = frozenset()
    compilers: frozenset[str] = frozenset()
    is_translated: bool = False  # Python for Intel on an Apple chip
    nvidia_driver: str = ""  # its version; empty: none, or not known


@dataclass(frozen=True, slots=True)
class BuildFacts:
    """Describes the build of llama.cpp.

    `info`: llama.cpp's own line about its build. `fault`: why llama.cpp does not run.
    """

    version: str  # of llama-cpp-python; empty: not installed
    wanted: str
    python: str
    backends: tuple[str, ...] = ()
    info: str = ""
    gpus: tuple[Gpu, ...] = ()
    fault: str = ""
    gpu_problem: str = ""  # why the GPU backends found no GPU


def read_hardware() -> HardwareFacts:
    compilers = {name for name, path in _COMPILER_PATHS.items()
                 if find_program(name) or (path and Path(path).exists())}  # fmt: skip
    flags, makers = machine.cpu_flags(), machine.gpu_makers()
    return HardwareFacts(
        flags, makers, frozenset(compilers), machine.is_translated(), machine.nvidia_driver()
    )


def read_build(report: LlamaReport) -> BuildFacts:
    """Reads the build. A fault after the library's own line is the model's, not the build's."""
    version = ""
    with suppress(metadata.PackageNotFoundError):
        version = metadata.version(_LIBRARY)
    build = BuildFacts(version, _wanted_version(version), sys.executable)
    if library := report.library:
        host = library.machine
        return replace(build, backends=library.backends, info=library.info, gpus=host.gpus,
                       gpu_problem=host.gpu_problem)  # fmt: skip
    return replace(build, fault=report.fault)


def _wanted_version(installed: str) -> str:
    """Returns the version that llmd's own metadata pins."""
    pins: list[str] = []
    with suppress(metadata.PackageNotFoundError):
        pins = metadata.requires("llmd") or []
    matches = (re.match(rf"{_LIBRARY}\s*==\s*([\w.]+)", pin) for pin in pins)
    return next((match[1] for match in matches if match), installed)


def judge_build(build: BuildFacts, hardware: HardwareFacts) -> Iterator[Finding]:
    names = tuple(_BACKENDS[name][0] for name in build.backends if name in _BACKENDS)
    # The flags of the present build, or else those that suit the machine's GPUs.
    flags = {_FLAGS[name] for name in names} or {
        _FLAGS[_best_backend(maker, hardware)] for maker in hardware.makers & _SERVES.keys()
    }
    fix = _rebuild(build, " ".join(sorted(flags)))
    if build.version != build.wanted:
        got = f"is version {build.version}" if build.version else "is not installed"
        text = f"llama-cpp-python {got}, expected version {build.wanted}"
        yield Finding("llama.cpp", "problem", text, fix)
    if library := explain_missing_library(build.fault):
        text, _, fix = library.partition("; ")  # to build it again would change nothing
        yield Finding("llama.cpp", "problem", text, fix)
        return
    if build.fault:
        yield Finding("llama.cpp", "problem", f"llama.cpp cannot be used: {build.fault}", fix)
        return
    text = f"llama-cpp-python {build.version} was built for {' and '.join((*names, 'the CPU'))}"
    yield Finding("llama.cpp", "ok", text)
    yield from _judge_gpus(build, hardware, names)
    yield from _judge_cpu(build, hardware, names)


def _rebuild(build: BuildFacts, flags: str) -> str:
    """Returns the exact command. `uv tool` and pipx have no pip, so it runs llmd's own."""
    setting = f'CMAKE_ARGS="{flags}" ' if flags else ""
    return (
        f"`{setting}{shlex.quote(build.python)} -m pip install --force-reinstall --no-deps"
        f" --no-cache-dir --no-binary llama-cpp-python llama-cpp-python=={build.wanted}`,"
        " then `llmd restart --daemon`"
    )


def cpu_features(info: str) -> frozenset[str]:
    """Parses the CPU's part of `CUDA : ARCHS = 750 | CPU : AVX = 1 | AVX2 = 1 | `."""
    cpu = info.rpartition("CPU : ")[2]
    pairs = (part.partition(" = ") for part in cpu.split("|"))
    return frozenset(name.strip() for name, _, value in pairs if value.strip() not in ("", "0"))


def _judge_gpus(
    build: BuildFacts, hardware: HardwareFacts, names: tuple[str, ...]
) -> Iterator[Finding]:
    if hardware.is_translated:
        text = "This is a Python for Intel on an Apple chip, so llama.cpp cannot use Metal"
        yield Finding("llama.cpp", "note", text, "install llmd with a Python for arm64")
    if names and not build.gpus:
        text = f"{' and '.join(names)} found no GPU that it can use"
        reason, _, fix = build.gpu_problem.partition("; ")
        text += f": {reason}" if reason else ""
        if hardware.nvidia_driver and "CUDA" in names:
            text += f" (NVIDIA driver {hardware.nvidia_driver})"
        yield Finding("llama.cpp", "note", text, fix or _open_device(names))
    for gpu in build.gpus:
        text = f"{gpu.name}: {gpu.free_bytes / 1e9:.1f} of {gpu.total_bytes / 1e9:.1f} GB are free"
        yield Finding("llama.cpp", "ok", text)
    for maker in sorted(hardware.makers):
        if maker in _SERVES and not set(_SERVES[maker]) & set(names):
            backend = _best_backend(maker, hardware)
            text = f"This machine has a GPU by {maker}, but llama.cpp was built without {backend}"
            compiler, fix = _COMPILERS.get(backend, ""), _rebuild(build, _FLAGS[backend])
            if compiler and compiler not in hardware.compilers:
                fix = f"install `{compiler}` ({_PACKAGES[backend]}), then {fix}"
            yield Finding("llama.cpp", "note", text, fix)


def _open_device(names: tuple[str, ...]) -> str:
    if "Metal" in names:
        return "use the CPU, or a Mac with Apple silicon"
    return "install the GPU's driver, and let your user open its device (on Linux: group `render`)"


def _best_backend(maker: str, hardware: HardwareFacts) -> str:
    """Returns the maker's own backend, unless only Vulkan can be built with what is installed."""
    first, *others = _SERVES[maker]
    buildable = [name for name in others if _COMPILERS.get(name) in hardware.compilers]
    is_buildable = _COMPILERS.get(first) in hardware.compilers or first not in _COMPILERS
    return buildable[0] if buildable and not is_buildable else first


def _judge_cpu(
    build: BuildFacts, hardware: HardwareFacts, names: tuple[str, ...]
) -> Iterator[Finding]:
    used = cpu_features(build.info)
    unused = [name for flag, name in _FEATURES.items()
              if flag in hardware.cpu_flags and name not in used]  # fmt: skip
    if unused:
        text = f"This CPU supports {', '.join(unused)}, but llama.cpp was built without"
        flags = " ".join(dict.fromkeys(("-DGGML_NATIVE=on", *(_FLAGS[name] for name in names))))
        yield Finding("llama.cpp", "note", text, _rebuild(build, flags))
    elif known := [name for name in _FEATURES.values() if name in used]:
        yield Finding("llama.cpp", "ok", f"llama.cpp uses this CPU's features: {', '.join(known)}")
