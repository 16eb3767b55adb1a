"""Reads which GPUs the machine has without llama.cpp, which may be built for none of them."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from llmd.machine import macos

WSL_DRIVER = "usr/lib/wsl/lib/libcuda.so.1"
NVIDIA_DRIVER = "proc/driver/nvidia/version"
_DRIVER_VERSION = re.compile(r"NVRM version: .*?  (\d+\.[\d.]+)  ")
# Variables that choose or limit the GPUs of a process. The daemon has those of the editor or shell
# that started it first.
_VARIABLES = re.compile(r"(CUDA|HIP|ROCR|GPU|GGML_VK|ZE)_VISIBLE_DEVICES|CUDA_DEVICE_ORDER"
                        r"|HSA_OVERRIDE_GFX_VERSION|GGML_(CUDA|VK)_\w+")  # fmt: skip


def gpu_makers(
    devices: Path = Path("/sys/bus/pci/devices"), root: Path = Path("/")
) -> frozenset[str]:
    """Returns the GPU vendors, among those with a llama.cpp backend, found on the PCI bus, by their
    driver, or as an Apple chip. WSL, Jetson and GB10 have an NVIDIA GPU that is on no PCI bus."""
    if sys.platform == "darwin":
        return frozenset({"Apple"} if platform.machine() == "arm64" or is_translated() else ())
    makers = {"0x10de": "NVIDIA", "0x1002": "AMD"}
    by_driver = (root / WSL_DRIVER).exists() or (root / NVIDIA_DRIVER).exists()
    present = {"NVIDIA"} if by_driver else set()
    for kind in devices.glob("*/class"):
        with suppress(OSError):
            if kind.read_text().startswith("0x03"):  # display controllers
                present.add(makers.get(kind.with_name("vendor").read_text().strip(), ""))
    return frozenset(present - {""})


def is_translated() -> bool:
    """Returns whether Rosetta translates this Intel program on an Apple chip."""
    return sys.platform == "darwin" and macos.sysctl_number("sysctl.proc_translated") == 1


def nvidia_driver(file: Path = Path("/") / NVIDIA_DRIVER) -> str:
    """Returns the version of NVIDIA's driver; empty: none, or not known."""
    try:
        return parse_nvidia_driver(file.read_text(errors="replace"))
    except OSError:
        return ""


def parse_nvidia_driver(text: str) -> str:
    """Parses the kernel module's version from /proc/driver/nvidia/version."""
    found = _DRIVER_VERSION.search(text)
    return found[1] if found else ""


def gpu_variables(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Returns `NAME=VALUE` of the variables that choose or limit GPUs, sorted."""
    return tuple(f"{name}={value}" for name, value in sorted(environ.items())
                 if _VARIABLES.fullmatch(name))  # fmt: skip
