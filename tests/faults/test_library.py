"""Tests a llama.cpp that cannot be loaded: the sentence of the worker, of the daemon and of doctor.

A stub in the place of the binding raises what a build for CUDA, ROCm or Vulkan raises.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from llmd.config import Config
from llmd.engine.client import EngineClient
from tests.support.fault_engine import Asked, until
from tests.support.recordings import llama_cpp_errors

MESSAGES = [text for kind, text in llama_cpp_errors()
            if kind == "missing_library" and "Failed to load" in text]  # fmt: skip
RAISE = {
    "RuntimeError": "raise RuntimeError({!r})",
    "OSError": "raise OSError({!r})",
    "ImportError": "raise ImportError({!r})",
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "model.gguf").touch()
    return tmp_path / "model.gguf"


@pytest.fixture
def raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Makes the import of llama_cpp raise an error with a message."""
    (tmp_path / "stub" / "llama_cpp").mkdir(parents=True)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "stub"))

    def write(error: str, message: str) -> None:
        code = RAISE[error].format(message)
        (tmp_path / "stub" / "llama_cpp" / "__init__.py").write_text(code)

    return write


@pytest.mark.parametrize("error", RAISE)
@pytest.mark.parametrize("message", MESSAGES)
async def test_a_library_that_is_missing_is_told_once(
    raises: Callable[[str, str], None], model: Path, message: str, error: str
) -> None:
    raises(error, message)
    engine = EngineClient(Config(model=str(model)))
    living = asyncio.create_task(engine.run())
    try:
        await until(lambda: engine.state == "failed", "it is given up")
        assert (await Asked(engine).answer()).error == engine.reason
    finally:
        living.cancel()
        await asyncio.gather(living, return_exceptions=True)
    assert "which is not found; install" in engine.reason
    assert "times within" not in engine.reason  # no other try would help


def test_doctor_does_not_propose_to_build_it_again(
    raises: Callable[[str, str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raises("RuntimeError", MESSAGES[0])
    for variable in ("HOME", "LLMD_STATE_DIR", "LLMD_RUNTIME_DIR"):
        monkeypatch.setenv(variable, str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-m", "llmd", "doctor", "--json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = [row for row in json.loads(done.stdout)["findings"] if row["topic"] == "llama.cpp"]
    (problem,) = (row for row in found if row["level"] == "problem")
    assert "`libcuda.so.1` of the NVIDIA driver" in problem["text"]
    assert "install the driver" in problem["fix"]
    assert "pip" not in problem["fix"]
