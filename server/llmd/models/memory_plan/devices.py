"""Chooses the devices that a model is loaded on, as llama.cpp does (src/llama.cpp). Pure.

The memory plan shares layers among these devices, so a device more or in another place would
overfill one. An integrated GPU is used only where there is no other, and a card that two backends
report (CUDA and Vulkan in one build) is one card.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from llmd.models.memory_plan.hardware import Gpu


@dataclass(frozen=True, slots=True)
class Device:
    """Describes a device that ggml reports. `id`: its PCI address; empty: not known."""

    gpu: Gpu
    kind: Literal["separate", "integrated"]
    id: str = ""


Backend = Literal["cpu", "metal", "gpu"]


def gpu_backends(names: Sequence[str]) -> tuple[str, ...]:
    """Returns those of ggml's names of the compiled backends that are for GPUs."""
    return tuple(name for name in names if name not in ("CPU", "BLAS", "RPC", "AMX"))


def choose_backend(can_offload: bool, platform: str, arch: str) -> Backend:
    """Returns what computes a model. `platform`, `arch`: as Python's sys and platform name them.

    Metal counts on Apple silicon alone: an Intel Mac's GPU has a memory of its own, and no flash
    attention (ggml-metal-device.m, has_simdgroup_mm).
    """
    if not can_offload or (platform == "darwin" and arch != "arm64"):
        return "cpu"
    return "metal" if platform == "darwin" else "gpu"


def devices_in_use(devices: Sequence[Device]) -> tuple[Device, ...]:
    """Returns the devices of one load in llama.cpp's order: remote ones, then separate GPUs, or
    else the integrated GPUs of the first backend that has one."""
    remote = [each for each in devices if each.kind == "separate" and each.gpu.api == "RPC"]
    separate: list[Device] = []
    integrated: list[Device] = []
    for device in devices:
        if device in remote:
            continue
        if device.kind == "integrated":
            if not integrated or integrated[-1].gpu.api == device.gpu.api:
                integrated.append(device)
        elif not device.id or device.id not in [each.id for each in separate]:
            separate.append(device)
    return (*remote, *(separate or integrated))
