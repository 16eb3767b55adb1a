"""What llama.cpp was built for, beside what this machine has. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from llmd.cli.doctor.finding import Finding
from llmd.models.memory_plan import Gpu

# As ggml's registry calls a backend, its name for people, and the flag that builds it.
_BACKENDS = {
    "MTL": ("Metal", "-DGGML_METAL=on"),
    "Metal": ("Metal", "-DGGML_METAL=on"),
    "CUDA": ("CUDA", "-DGGML_CUDA=on"),
    "ROCm": ("ROCm", "-DGGML_HIP=on"),
    "Vulkan": ("Vulkan", "-DGGML_VULKAN=on"),
}
_FLAGS = dict(_BACKENDS.values())
# What a build of each takes, and the Debian package that has it.
_COMPILERS = {"CUDA": "nvcc", "ROCm": "hipcc", "Vulkan": "glslc"}
_SERVES = {"NVIDIA": ("CUDA", "Vulkan"), "AMD": ("ROCm", "Vulkan"), "Apple": ("Metal",)}
# What the kernel calls a feature of the CPU, and what ggml calls code that uses it.
_FEATURES = {
    "avx": "AVX", "avx2": "AVX2", "fma": "FMA", "f16c": "F16C", "bmi2": "BMI2",
    "avx512f": "AVX512", "avx512_vnni": "AVX512_VNNI", "avx512_bf16": "AVX512_BF16",
    "avx_vnni": "AVX_VNNI", "asimddp": "DOTPROD", "i8mm": "MATMUL_INT8",
    "sve": "SVE",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Hardware:
    """`makers`: of the GPUs: NVIDIA, AMD, Apple. `compilers`: of nvcc, hipcc, glslc."""

    cpu_flags: frozenset[str] = frozenset()
    makers: frozenset[str] = frozenset()
    compilers: frozenset[str] = frozenset()
    is_translated: bool = False  # Python for Intel on an Apple chip


@dataclass(frozen=True, slots=True)
class Build:
    """`info`: llama.cpp's own line. `fault`: why it could not be asked."""

    version: str  # of llama-cpp-python; empty: there is none
    wanted: str
    python: str
    backends: tuple[str, ...] = ()
    info: str = ""
    gpus: tuple[Gpu, ...] = ()
    fault: str = ""


def of_build(build: Build, hardware: Hardware) -> Iterator[Finding]:
    if build.version != build.wanted:
        got = f"is {build.version}" if build.version else "is not installed"
        said = f"llama-cpp-python {got}, and this llmd is made for {build.wanted}"
        yield Finding("llama.cpp", "problem", said, rebuild(build, _flag(build, hardware)))
    if build.fault:
        said = f"llama.cpp cannot be used: {build.fault}"
        yield Finding("llama.cpp", "problem", said, rebuild(build, _flag(build, hardware)))
        return
    names = _names(build)
    said = f"llama-cpp-python {build.version} was built for {' and '.join((*names, 'the CPU'))}"
    yield Finding("llama.cpp", "ok", said)
    yield from _of_gpus(build, hardware, names)
    yield from _of_cpu(build, hardware, names)


def rebuild(build: Build, flags: str) -> str:
    """The exact command. Its pip is llmd's own: `uv tool` and pipx have none."""
    setting = f'CMAKE_ARGS="{flags}" ' if flags else ""
    return (
        f"`{setting}{build.python} -m pip install --force-reinstall --no-deps --no-cache-dir"
        f" --no-binary llama-cpp-python llama-cpp-python=={build.wanted}`,"
        " then `llmd restart --daemon`"
    )


def features(info: str) -> frozenset[str]:
    """Of the CPU's code, from `CUDA : ARCHS = 750 | CPU : AVX = 1 | AVX2 = 1 | `."""
    of_cpu = info.rpartition("CPU : ")[2]
    pairs = (part.partition(" = ") for part in of_cpu.split("|"))
    return frozenset(name.strip() for name, _, value in pairs if value.strip() not in ("", "0"))


def _names(build: Build) -> tuple[str, ...]:
    """Those of GPUs, for people."""
    return tuple(_BACKENDS[name][0] for name in build.backends if name in _BACKENDS)


def _of_gpus(build: Build, hardware: Hardware, names: tuple[str, ...]) -> Iterator[Finding]:
    if hardware.is_translated:
        said = "This Python is one for Intel on an Apple chip, so llama.cpp has no Metal"
        yield Finding("llama.cpp", "note", said, "install llmd with a Python for arm64")
    if names and not build.gpus:
        said = f"{' and '.join(names)} found no GPU that it can use"
        fix = "install the GPU's driver, and let your user open its device (Linux: group `render`)"
        yield Finding("llama.cpp", "note", said, fix)
    for gpu in build.gpus:
        said = f"{gpu.name}: {gpu.free_bytes / 1e9:.1f} of {gpu.total_bytes / 1e9:.1f} GB are free"
        yield Finding("llama.cpp", "ok", said)
    for maker in sorted(hardware.makers):
        if maker in _SERVES and not set(_SERVES[maker]) & set(names):
            yield _unused(build, hardware, maker)


def _unused(build: Build, hardware: Hardware, maker: str) -> Finding:
    backend = _backend_for(maker, hardware)
    said = f"There is a GPU of {maker}, and llama.cpp was built without {backend}"
    compiler = _COMPILERS.get(backend, "")
    needs = "" if not compiler or compiler in hardware.compilers else (
        f"install what has `{compiler}` ({_package(backend)}), then "
    )  # fmt: skip
    return Finding("llama.cpp", "note", said, needs + rebuild(build, _FLAGS[backend]))


def _package(backend: str) -> str:
    return {"CUDA": "the CUDA toolkit", "ROCm": "ROCm"}.get(
        backend, "Debian: libvulkan-dev, glslc, spirv-headers"
    )


def _backend_for(maker: str, hardware: Hardware) -> str:
    """The maker's own, unless only Vulkan could be built as things are."""
    first, *others = _SERVES[maker]
    can_build = [name for name in others if _COMPILERS.get(name) in hardware.compilers]
    is_there = _COMPILERS.get(first) in hardware.compilers or first not in _COMPILERS
    return can_build[0] if can_build and not is_there else first


def _flag(build: Build, hardware: Hardware) -> str:
    """What this build has, so that another of its kind is made; else what the machine asks for."""
    flags = {_FLAGS[name] for name in _names(build)}
    flags |= {_FLAGS[_backend_for(maker, hardware)]
              for maker in hardware.makers & _SERVES.keys() if not flags}  # fmt: skip
    return " ".join(sorted(flags))


def _of_cpu(build: Build, hardware: Hardware, names: tuple[str, ...]) -> Iterator[Finding]:
    used = features(build.info)
    unused = [name for flag, name in _FEATURES.items()
              if flag in hardware.cpu_flags and name not in used]  # fmt: skip
    if unused:
        said = f"This CPU has {', '.join(unused)}, and llama.cpp was built without"
        flags = " ".join(dict.fromkeys(("-DGGML_NATIVE=on", *(_FLAGS[name] for name in names))))
        yield Finding("llama.cpp", "note", said, rebuild(build, flags))
        return
    known = [name for name in _FEATURES.values() if name in used]
    if known:
        yield Finding("llama.cpp", "ok", f"It uses what this CPU has: {', '.join(known)}")
