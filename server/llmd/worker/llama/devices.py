"""What llama.cpp was built for, and the devices that it finds."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

from llama_cpp import llama_cpp as c
from llama_cpp._ggml import libggml as ggml

from llmd.models.memory_plan import Gpu
from llmd.worker.llama import log  # noqa: F401 - sets llama.cpp up

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
    """All that were compiled in, as ggml calls them: CPU, CUDA, ROCm, Vulkan, MTL."""
    regs = (_ggml.ggml_backend_reg_get(idx) for idx in range(_ggml.ggml_backend_reg_count()))
    return tuple(_ggml.ggml_backend_reg_name(reg).decode(errors="replace") for reg in regs)


def system_info() -> str:
    """`CPU : AVX = 1 | AVX2 = 1 | `: what was compiled in, by backend."""
    return str(c.llama_print_system_info().decode(errors="replace"))


def can_repack() -> bool:
    """Whether weights may be laid out anew for the CPU: not for AMX, since GCC 12 drops most of the
    tile configuration and the first decode dies with SIGSEGV (llama.cpp, pull request 26954)."""
    return "AMX_INT8 = 1" not in system_info()


def has_params_fit() -> bool:
    """Whether the library can fit parameters to the machine itself: its tools can."""
    return hasattr(c._lib, "llama_params_fit")


def gpus() -> tuple[tuple[Gpu, ...], bool]:
    """What llama.cpp was built for and found here, and whether their memory is the machine's."""
    found, kinds = [], set()
    for idx in range(_ggml.ggml_backend_dev_count()):
        device = _ggml.ggml_backend_dev_get(idx)
        if (kind := _ggml.ggml_backend_dev_type(device)) in (_GPU, _INTEGRATED):
            kinds.add(kind)
            found.append(_gpu(device))
    return tuple(found), bool(kinds) and (sys.platform == "darwin" or kinds == {_INTEGRATED})


def _gpu(device: int) -> Gpu:
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    _ggml.ggml_backend_dev_memory(device, ctypes.byref(free), ctypes.byref(total))
    name = (_ggml.ggml_backend_dev_description(device) or b"GPU").decode(errors="replace")
    return Gpu(name, free.value, total.value)
