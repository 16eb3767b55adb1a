"""Reports how llama.cpp was built and which devices it finds."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

from llama_cpp import llama_cpp as c
from llama_cpp._ggml import libggml as ggml

from llmd.models.memory_plan import Gpu
from llmd.worker.llama import library  # noqa: F401 - sets llama.cpp up

_GPU, _INTEGRATED = 1, 2  # ggml-backend.h, enum ggml_backend_dev_type
_ggml: Any = ggml
_ggml.ggml_backend_dev_count.restype = ctypes.c_size_t
_ggml.ggml_backend_dev_get.argtypes = [ctypes.c_size_t]
_ggml.ggml_backend_dev_get.restype = ctypes.c_void_p
_ggml.ggml_backend_dev_type.argtypes = [ctypes.c_void_p]
_ggml.ggml_backend_dev_description.argtypes = [ctypes.c_void_p]
_ggml.ggml_backend_dev_description.restype = ctypes.c_char_p
_ggml.ggml_backend_dev_memory.argtypes = [ctypes.c_void_p] * 3
_ggml.ggml_backend_dev_memory.restype = None
_ggml.ggml_backend_reg_count.restype = ctypes.c_size_t
_ggml.ggml_backend_reg_get.argtypes = [ctypes.c_size_t]
_ggml.ggml_backend_reg_get.restype = ctypes.c_void_p
_ggml.ggml_backend_reg_name.argtypes = [ctypes.c_void_p]
_ggml.ggml_backend_reg_name.restype = ctypes.c_char_p


def backend() -> str:
    if not c.llama_supports_gpu_offload():
        return "cpu"
    return "metal" if sys.platform == "darwin" else "gpu"


def backends() -> tuple[str, ...]:
    """Returns ggml's names of the compiled backends: CPU, CUDA, ROCm, Vulkan, MTL."""
    regs = (_ggml.ggml_backend_reg_get(idx) for idx in range(_ggml.ggml_backend_reg_count()))
    return tuple(_ggml.ggml_backend_reg_name(reg).decode(errors="replace") for reg in regs)


def system_info() -> str:
    """Returns the compiled CPU features by backend, such as `CPU : AVX = 1 | AVX2 = 1 | `."""
    return str(c.llama_print_system_info().decode(errors="replace"))


def can_repack() -> bool:
    """Returns whether llama.cpp may repack weights for the CPU.

    Repacking for AMX is unsafe: GCC 12 drops most of the tile configuration, and the first decode
    ends with SIGSEGV (llama.cpp, pull request 26954).
    """
    return "AMX_INT8 = 1" not in system_info()


def has_params_fit() -> bool:
    """Returns whether the library exports llama_params_fit, which fits parameters to the memory."""
    return hasattr(c._lib, "llama_params_fit")


def gpus() -> tuple[tuple[Gpu, ...], bool]:
    """Returns the GPUs that llama.cpp finds, and whether they share the machine's memory."""
    devices, kinds = [], set()
    for idx in range(_ggml.ggml_backend_dev_count()):
        device = _ggml.ggml_backend_dev_get(idx)
        if (kind := _ggml.ggml_backend_dev_type(device)) in (_GPU, _INTEGRATED):
            kinds.add(kind)
            free, total = ctypes.c_size_t(), ctypes.c_size_t()
            _ggml.ggml_backend_dev_memory(device, ctypes.byref(free), ctypes.byref(total))
            name = (_ggml.ggml_backend_dev_description(device) or b"GPU").decode(errors="replace")
            devices.append(Gpu(name, free.value, total.value))
    return tuple(devices), bool(kinds) and (sys.platform == "darwin" or kinds == {_INTEGRATED})
