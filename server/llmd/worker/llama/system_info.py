"""Reports how llama.cpp was built and which devices it finds."""

from __future__ import annotations

import ctypes
import platform
import sys
from typing import Any, Literal

from llama_cpp import llama_cpp as c
from llama_cpp._ggml import libggml as ggml

from llmd.models.memory_plan import Gpu
from llmd.models.memory_plan.devices import Backend, Device, choose_backend, devices_in_use
from llmd.worker.library_problems import INTEL_MAC, explain_no_gpu
from llmd.worker.llama import library

# ggml-backend.h, enum ggml_backend_dev_type
_KINDS: dict[int, Literal["separate", "integrated"]] = {1: "separate", 2: "integrated"}


class _DeviceProps(ctypes.Structure):
    """Mirrors struct ggml_backend_dev_props of ggml-backend.h."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("description", ctypes.c_char_p),
        ("memory_free", ctypes.c_size_t),
        ("memory_total", ctypes.c_size_t),
        ("type", ctypes.c_int),
        ("device_id", ctypes.c_char_p),
        ("caps", ctypes.c_bool * 8),  # five, and room for more
    )


_ggml: Any = ggml
_ggml.ggml_backend_dev_count.restype = ctypes.c_size_t
_ggml.ggml_backend_dev_get.argtypes = [ctypes.c_size_t]
_ggml.ggml_backend_dev_get.restype = ctypes.c_void_p
_ggml.ggml_backend_dev_type.argtypes = [ctypes.c_void_p]
_ggml.ggml_backend_dev_get_props.argtypes = [ctypes.c_void_p] * 2
_ggml.ggml_backend_dev_get_props.restype = None
_ggml.ggml_backend_dev_backend_reg.argtypes = [ctypes.c_void_p]
_ggml.ggml_backend_dev_backend_reg.restype = ctypes.c_void_p
_ggml.ggml_backend_reg_count.restype = ctypes.c_size_t
_ggml.ggml_backend_reg_get.argtypes = [ctypes.c_size_t]
_ggml.ggml_backend_reg_get.restype = ctypes.c_void_p
_ggml.ggml_backend_reg_name.argtypes = [ctypes.c_void_p]
_ggml.ggml_backend_reg_name.restype = ctypes.c_char_p


def backend() -> Backend:
    can_offload = bool(c.llama_supports_gpu_offload())
    return choose_backend(can_offload, sys.platform, platform.machine())


def gpu_problem() -> str:
    """Returns why the GPU backends of this build found no GPU, as far as llama.cpp told."""
    if sys.platform == "darwin" and c.llama_supports_gpu_offload():
        return INTEL_MAC
    return explain_no_gpu(library.STARTUP_ERRORS)


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
    """Returns the GPUs that a model is loaded on, and whether they share the machine's memory."""
    if backend() == "cpu":
        return (), False
    used = devices_in_use([_device(number) for number in range(_ggml.ggml_backend_dev_count())
                           if _kind(number) in _KINDS])  # fmt: skip
    is_unified = bool(used) and all(each.kind == "integrated" for each in used)
    return tuple(each.gpu for each in used), is_unified or (bool(used) and sys.platform == "darwin")


def _kind(number: int) -> int:
    return int(_ggml.ggml_backend_dev_type(_ggml.ggml_backend_dev_get(number)))


def _device(number: int) -> Device:
    handle, props = _ggml.ggml_backend_dev_get(number), _DeviceProps()
    _ggml.ggml_backend_dev_get_props(handle, ctypes.byref(props))
    api = _ggml.ggml_backend_reg_name(_ggml.ggml_backend_dev_backend_reg(handle))
    name = (props.description or b"GPU").decode(errors="replace")
    gpu = Gpu(name, props.memory_free, props.memory_total, api.decode(errors="replace"))
    return Device(gpu, _KINDS.get(props.type, "separate"), (props.device_id or b"").decode())
