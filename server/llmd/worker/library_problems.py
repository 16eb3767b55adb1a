"""Explains why llama.cpp's library cannot be loaded, or why it found no GPU. Pure.

A build for CUDA needs the driver's library even to be loaded (ggml-cuda/CMakeLists.txt). To build
llama.cpp again changes nothing then.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

INTEL_MAC = "llmd uses Metal on Apple silicon only"
_MISSING = re.compile(r"(lib[\w.+-]+?\.so[\w.]*): cannot open shared")
_TOOLKIT = "; install {}, or add the folder of its libraries to LD_LIBRARY_PATH"
# By the beginning of a library's name: where the library comes from, and what to do.
_LIBRARIES = {
    "libcuda.so": (
        "the NVIDIA driver",
        "; install the driver (in a container start it with `--gpus all`, in WSL install the"
        " driver of Windows)",
    ),
    "libcudart": ("the CUDA toolkit", _TOOLKIT.format("the toolkit")),
    "libcublas": ("the CUDA toolkit", _TOOLKIT.format("the toolkit")),
    "libvulkan": ("the Vulkan loader", "; install it (Debian: `libvulkan1`)"),
    "libamdhip": ("ROCm", _TOOLKIT.format("ROCm")),
    "libhipblas": ("ROCm", _TOOLKIT.format("ROCm")),
    "librocblas": ("ROCm", _TOOLKIT.format("ROCm")),
}
_OLD_DRIVER = re.compile(r"driver version is insufficient|unsupported display driver", re.I)
_HIDDEN = re.compile(r"no CUDA-capable device|no ROCm-capable device|no devices? found", re.I)
_FAILED = re.compile(r"failed to initialize (?:CUDA|ROCm): ?(.+)")


def explain_missing_library(message: str) -> str:
    """Explains a failed import of llama_cpp. Empty: not because a library is missing."""
    if not (missing := _MISSING.search(message)):
        return ""
    name = missing[1]
    known = next((each for start, each in _LIBRARIES.items() if name.startswith(start)), None)
    source, fix = known or ("another package", "; install the package that has it")
    return f"llama.cpp cannot be loaded: it needs `{name}` of {source}, which is not found{fix}"


def explain_failed_import(message: str) -> str:
    """Explains why llama_cpp cannot be imported."""
    reason = explain_missing_library(message)
    return reason or f"llama.cpp cannot be loaded: {message}; `llmd doctor` says how to build it"


def explain_no_gpu(errors: Sequence[str]) -> str:
    """Explains what llama.cpp logged while it looked for GPUs; empty: nothing of use."""
    text = "\n".join(errors)
    if _OLD_DRIVER.search(text):
        return "the GPU's driver is older than this build's CUDA; update the driver"
    if _HIDDEN.search(text):
        return "no GPU may be used here; look at CUDA_VISIBLE_DEVICES and the container's options"
    if failed := _FAILED.search(text):
        return f"it reports `{failed[1].strip()}`; load the driver again, or restart the machine"
    return ""
