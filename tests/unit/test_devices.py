"""Tests which devices a model is loaded on, as llama.cpp decides (src/llama.cpp)."""

from __future__ import annotations

import pytest

from llmd.config import EngineConfig
from llmd.models.memory_plan import DescribedMachine, Gpu, Shape, explain_plan, plan_load
from llmd.models.memory_plan.devices import Device, choose_backend, devices_in_use

CARD = "0000:01:00.0"


def gpu(name: str, api: str, id_: str = "") -> Device:
    return Device(Gpu(name, 8, 8, api), "separate", id_)


def integrated(name: str, api: str) -> Device:
    return Device(Gpu(name, 8, 8, api), "integrated")


@pytest.mark.parametrize(
    ("found", "used"),
    [
        ([], []),
        ([gpu("a", "CUDA", CARD), gpu("b", "CUDA", "0000:02:00.0")], ["a", "b"]),
        ([gpu("a", "CUDA", CARD), gpu("A", "Vulkan", CARD)], ["a"]),  # two backends, one card
        ([integrated("i", "Vulkan"), gpu("a", "Vulkan", CARD)], ["a"]),  # a laptop's two
        ([integrated("i", "Vulkan"), integrated("I", "ROCm")], ["i"]),
        ([integrated("i", "Vulkan"), integrated("j", "Vulkan")], ["i", "j"]),
        ([gpu("a", "CUDA"), gpu("b", "CUDA")], ["a", "b"]),  # ids that are not known
        ([gpu("a", "CUDA", CARD), gpu("far", "RPC"), integrated("i", "Vulkan")], ["far", "a"]),
        ([integrated("i", "Vulkan"), gpu("far", "RPC")], ["far", "i"]),
    ],
)
def test_the_devices_are_llama_cpps(found: list[Device], used: list[str]) -> None:
    assert [each.gpu.name for each in devices_in_use(found)] == used


@pytest.mark.parametrize(
    ("can_offload", "platform", "arch", "expected"),
    [
        (False, "linux", "x86_64", "cpu"),
        (True, "linux", "x86_64", "gpu"),
        (True, "linux", "aarch64", "gpu"),
        (True, "darwin", "arm64", "metal"),
        (True, "darwin", "x86_64", "cpu"),  # an Intel Mac, or Python under Rosetta
        (False, "darwin", "arm64", "cpu"),
    ],
)
def test_metal_counts_on_apple_silicon_alone(
    can_offload: bool, platform: str, arch: str, expected: str
) -> None:
    assert choose_backend(can_offload, platform, arch) == expected


@pytest.mark.parametrize(
    ("built_for", "problem", "said"),
    [
        ((), "", "Layers: all on the CPU, the only backend in this build of llama.cpp."),
        (("CUDA",), "", "llama.cpp was built for CUDA, which has no GPU to use; `llmd doctor`"),
        (("CUDA",), "update the driver", "for CUDA, which has no GPU to use: update the driver."),
        (("MTL",), "Apple silicon only", "for Metal, which has no GPU to use: Apple silicon only."),
    ],
)
def test_a_build_for_a_gpu_that_found_none_is_told(
    built_for: tuple[str, ...], problem: str, said: str
) -> None:
    host = DescribedMachine("cpu", 8, built_for=built_for, gpu_problem=problem)
    shape = Shape(2, 2, 64, 512)
    lines = explain_plan(EngineConfig(), host, shape, plan_load(EngineConfig(), host, shape))
    assert said in next(line for line in lines if line.startswith("Layers: "))


def test_the_variables_of_the_environment_are_shown() -> None:
    host = DescribedMachine("gpu", 8, variables=("CUDA_VISIBLE_DEVICES=1",))
    shape = Shape(2, 2, 64, 512)
    lines = explain_plan(EngineConfig(), host, shape, plan_load(EngineConfig(), host, shape))
    assert any("CUDA_VISIBLE_DEVICES=1" in line for line in lines)
