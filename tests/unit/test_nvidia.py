"""Tests what is read of NVIDIA's driver and GPUs, from outputs recorded on other machines."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.support.recordings import llama_cpp_errors, nvidia_names, recorded

from llmd.machine import gpu_makers, gpu_variables
from llmd.machine.gpus import NVIDIA_DRIVER, WSL_DRIVER, nvidia_driver, parse_nvidia_driver
from llmd.models.decode_speed import nominal_bandwidth
from llmd.worker.library_problems import explain_failed_import, explain_missing_library
from llmd.worker.library_problems import explain_no_gpu as explain


@pytest.mark.parametrize(("name", "text"), recorded("proc_driver_nvidia"))
def test_the_driver_s_version_is_that_of_the_file_s_name(name: str, text: str) -> None:
    assert f"_{parse_nvidia_driver(text)}_" in f"_{name}_"
    assert parse_nvidia_driver("NVRM version: ?") == ""


def test_a_driver_that_is_not_there_has_no_version(tmp_path: Path) -> None:
    assert nvidia_driver(tmp_path / "version") == ""


@pytest.mark.parametrize("driver", [WSL_DRIVER, NVIDIA_DRIVER])
def test_a_gpu_on_no_pci_bus_is_seen_by_its_driver(
    tmp_path: Path, driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    assert gpu_makers(tmp_path / "devices", tmp_path) == frozenset()
    (tmp_path / driver).parent.mkdir(parents=True)
    (tmp_path / driver).touch()
    assert gpu_makers(tmp_path / "devices", tmp_path) == {"NVIDIA"}


CARDS = [(name, gb_per_s) for name, gb_per_s in nvidia_names() if gb_per_s or "MIG" in name]


@pytest.mark.parametrize(("name", "gb_per_s"), CARDS)
def test_cards_have_their_bandwidth_and_parts_of_them_none(name: str, gb_per_s: float) -> None:
    assert (nominal_bandwidth(name) or 0) / 1e9 == pytest.approx(gb_per_s, rel=0.04)


LIBRARIES = [text for kind, text in llama_cpp_errors() if kind == "missing_library"]
FIXES = {
    "libcuda.so": "install the driver.*--gpus all.*WSL",
    "libcudart": "the CUDA toolkit.*LD_LIBRARY_PATH",
    "libcublas": "the CUDA toolkit.*LD_LIBRARY_PATH",
    "libvulkan": "the Vulkan loader.*libvulkan1",
    "libamdhip64": "ROCm.*LD_LIBRARY_PATH",
    "libhipblas": "ROCm.*LD_LIBRARY_PATH",
}


@pytest.mark.parametrize("message", LIBRARIES)
def test_a_missing_library_is_named_with_where_it_comes_from(message: str) -> None:
    told = explain_missing_library(message)
    (fix,) = (fix for name, fix in FIXES.items() if f"`{name}" in told)
    assert re.search(fix, told)
    assert explain_failed_import(message) == told
    assert "rebuil" not in told  # which would change nothing


def test_other_failed_imports_are_told_as_they_are() -> None:
    assert explain_missing_library("No module named 'llama_cpp'") == ""
    told = explain_failed_import("No module named 'llama_cpp'")
    assert "No module named 'llama_cpp'; `llmd doctor`" in told
    assert "`libfoo.so.2` of another package" in explain_missing_library(
        "libfoo.so.2: cannot open shared object file: No such file or directory"
    )


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("old_driver", "update the driver"),
     ("no_device", "CUDA_VISIBLE_DEVICES|load the driver again")],
)  # fmt: skip
def test_why_there_is_no_gpu_is_told(kind: str, expected: str) -> None:
    messages = [text for each, text in llama_cpp_errors() if each == kind]
    assert len(messages) >= 3
    for text in messages:
        assert re.search(expected, explain(text.splitlines())), text
    assert explain(()) == explain(["the file is damaged"]) == ""


def test_variables_that_choose_gpus_are_shown() -> None:
    environ = {"CUDA_VISIBLE_DEVICES": "1", "PATH": "/bin", "HIP_VISIBLE_DEVICES": "", "X": "GGML_",
               "GGML_CUDA_ENABLE_UNIFIED_MEMORY": "1", "HF_TOKEN": "secret"}  # fmt: skip
    assert gpu_variables(environ) == (
        "CUDA_VISIBLE_DEVICES=1", "GGML_CUDA_ENABLE_UNIFIED_MEMORY=1", "HIP_VISIBLE_DEVICES=",
    )  # fmt: skip
