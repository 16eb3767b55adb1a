"""`llmd doctor` on what llama.cpp was built for, beside described machines."""

from __future__ import annotations

import pytest

from llmd.cli.doctor.build import BuildFacts, HardwareFacts, cpu_features, judge_build
from llmd.cli.doctor.finding import Finding
from llmd.models.memory_plan import Gpu

GB = 10**9
INFO = "CUDA : ARCHS = 750 | USE_GRAPHS = 1 | CPU : SSE3 = 1 | AVX2 = 1 | FMA = 0 | OPENMP = 1 | "
CARD = Gpu("NVIDIA GeForce RTX 3090", 23 * GB, 24 * GB)


def build(
    *backends: str, info: str = "", gpus: tuple[Gpu, ...] = (), fault: str = ""
) -> BuildFacts:
    return BuildFacts("0.3.36", "0.3.36", "/v/bin/python", (*backends, "CPU"), info, gpus, fault)


def said(made: BuildFacts, hardware: HardwareFacts | None = None) -> list[Finding]:
    return list(judge_build(made, hardware or HardwareFacts()))


def not_ok(findings: list[Finding]) -> list[Finding]:
    return [each for each in findings if each.level != "ok"]


def test_the_features_are_the_cpus() -> None:
    assert cpu_features(INFO) == {"SSE3", "AVX2", "OPENMP"}
    assert cpu_features("") == frozenset()


def test_backends_have_the_names_that_people_know() -> None:
    (found,) = said(build("MTL", "Vulkan", gpus=(CARD,)))[:1]
    assert found.text == "llama-cpp-python 0.3.36 was built for Metal and Vulkan and the CPU"
    assert said(build())[0].text.endswith("was built for the CPU")


@pytest.mark.parametrize(
    ("maker", "compilers", "flag", "needs"),
    [
        ("NVIDIA", {"nvcc"}, "-DGGML_CUDA=on", ""),
        ("NVIDIA", set(), "-DGGML_CUDA=on", "install `nvcc`"),
        ("NVIDIA", {"glslc"}, "-DGGML_VULKAN=on", ""),
        ("AMD", {"hipcc", "glslc"}, "-DGGML_HIP=on", ""),
        ("AMD", {"glslc"}, "-DGGML_VULKAN=on", ""),
        ("AMD", set(), "-DGGML_HIP=on", "install `hipcc`"),
        ("Apple", set(), "-DGGML_METAL=on", ""),
    ],
)
def test_a_gpu_that_no_backend_serves_names_the_command(
    maker: str, compilers: set[str], flag: str, needs: str
) -> None:
    machine = HardwareFacts(makers=frozenset({maker}), compilers=frozenset(compilers))
    (found,) = not_ok(said(build(), machine))
    assert found.level == "note"
    assert f"This machine has a GPU by {maker}, but llama.cpp was built without" in found.text
    assert found.fix.startswith(needs or "`CMAKE_ARGS=")
    assert (
        f'CMAKE_ARGS="{flag}" /v/bin/python -m pip install --force-reinstall --no-deps'
        " --no-cache-dir --no-binary llama-cpp-python llama-cpp-python==0.3.36`"
    ) in found.fix


@pytest.mark.parametrize("backend", ["CUDA", "Vulkan"])
def test_a_gpu_that_a_backend_serves_is_told_with_its_memory(backend: str) -> None:
    findings = said(build(backend, gpus=(CARD,)), HardwareFacts(makers=frozenset({"NVIDIA"})))
    assert not_ok(findings) == []
    assert findings[1].text == "NVIDIA GeForce RTX 3090: 23.0 of 24.0 GB are free"


def test_a_backend_without_a_gpu_points_at_the_driver() -> None:
    (found,) = not_ok(said(build("CUDA")))
    assert (found.level, found.text) == ("note", "CUDA found no GPU that it can use")
    assert "driver" in found.fix


def test_features_that_lie_idle_are_named_and_the_gpu_is_kept() -> None:
    machine = HardwareFacts(cpu_flags=frozenset({"avx2", "fma", "avx512f", "sse2"}))
    (found,) = not_ok(said(build("CUDA", info=INFO, gpus=(CARD,)), machine))
    assert found.text == "This CPU supports FMA, AVX512, but llama.cpp was built without"
    assert 'CMAKE_ARGS="-DGGML_NATIVE=on -DGGML_CUDA=on"' in found.fix


def test_a_fault_is_a_problem_and_ends_the_list() -> None:
    machine = HardwareFacts(makers=frozenset({"NVIDIA"}), compilers=frozenset({"nvcc"}))
    (found,) = said(build(fault="ended by SIGSEGV: it said nothing"), machine)
    assert (found.level, "SIGSEGV" in found.text) == ("problem", True)
    assert "-DGGML_CUDA=on" in found.fix


def test_another_version_than_the_pinned_one_is_a_problem() -> None:
    other = BuildFacts("0.3.30", "0.3.36", "python", ("CPU",))
    (found,) = not_ok(said(other))
    assert found.level == "problem"
    assert found.text.endswith("is version 0.3.30, expected version 0.3.36")
    assert "llama-cpp-python==0.3.36" in found.fix
    missing = BuildFacts("", "0.3.36", "python", fault="no module")
    assert "is not installed" in said(missing)[0].text


def test_an_intel_python_on_an_apple_chip_is_told() -> None:
    machine = HardwareFacts(makers=frozenset({"Apple"}), is_translated=True)
    assert "for Intel on an Apple chip" in not_ok(said(build(), machine))[0].text
