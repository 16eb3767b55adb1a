"""Tests a llama.cpp that cannot be loaded: the sentence of the worker, of the daemon and of doctor.

A stub in the place of the binding raises what a build for CUDA, ROCm or Vulkan raises.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from llmd.cli.doctor.build import BuildFacts, HardwareFacts, judge_build
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
def raises(tmp_path: Path) -> Callable[[str, str], tuple[str, ...]]:
    """Returns the command of a worker in which the import of llama_cpp raises an error."""
    (tmp_path / "stub" / "llama_cpp").mkdir(parents=True)

    def command(error: str, message: str) -> tuple[str, ...]:
        code = RAISE[error].format(message)
        (tmp_path / "stub" / "llama_cpp" / "__init__.py").write_text(code)
        start = f"import sys; sys.path.insert(0, {str(tmp_path / 'stub')!r})"
        return (sys.executable, "-c", f"{start}; from llmd.worker.main import main; main()")

    return command


@pytest.mark.parametrize("error", RAISE)
@pytest.mark.parametrize("message", MESSAGES)
async def test_a_library_that_is_missing_is_told_once(
    raises: Callable[[str, str], tuple[str, ...]], model: Path, message: str, error: str
) -> None:
    engine = EngineClient(Config(model=str(model)), command=raises(error, message))
    living = asyncio.create_task(engine.run())
    try:
        await until(lambda: engine.state == "failed", "it is given up")
        assert (await Asked(engine).answer()).error == engine.reason
    finally:
        living.cancel()
        await asyncio.gather(living, return_exceptions=True)
    assert "which is not found; install" in engine.reason
    assert "times within" not in engine.reason  # no other try would help


@pytest.mark.parametrize("message", MESSAGES)
def test_doctor_does_not_propose_to_build_it_again(message: str) -> None:
    build = BuildFacts("1", "1", "python", fault=f"ended with 1: RuntimeError: {message}")
    (problem,) = judge_build(build, HardwareFacts())
    assert problem.level == "problem"
    assert "which is not found" in problem.text
    assert problem.fix.startswith("install ")
    assert "pip" not in problem.fix
