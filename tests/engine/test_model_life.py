"""Tests that a model is freed, and that an error of a GPU that comes late is not missed.

On a Mac a process that ends with a loaded model aborts (llama.cpp, pull request 24368).
"""

from __future__ import annotations

import ctypes
from argparse import Namespace
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.support.builtin import builtin_path
from tests.support.real_engine import load_real_engine
from tests.support.toy_gguf import write_vocabulary

from llmd.cli.bench import model_speed
from llmd.config import Config, EngineConfig
from llmd.engine import messages
from llmd.errors import DeviceError, EngineError, ModelError
from llmd.prompt.families import family_by_name
from llmd.worker import loader
from llmd.worker.llama import library, model, system_info
from llmd.worker.warm_up import batch_size


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts loads and frees of models."""
    counted: Counter[str] = Counter()

    def count(name: str) -> None:
        original: Any = getattr(model.c, name)

        def counting(*args: Any) -> Any:
            counted[name] += 1
            return original(*args)

        monkeypatch.setattr(model.c, name, counting)

    count("llama_model_load_from_file")
    count("llama_model_free")
    return counted


LOAD = messages.Load(str(builtin_path()), "auto", EngineConfig(n_ctx=512))


def test_a_closed_model_is_freed(calls: Counter[str]) -> None:
    with closing(loader.open_model(LOAD, lambda _: None)):
        pass
    assert set(calls.values()) == {1}
    assert len(calls) == 2


@pytest.mark.parametrize("message", ["code -3", "failed to allocate compute buffers"])
@pytest.mark.parametrize("step", ["warm_up", "llama.Context"])
def test_a_load_that_fails_frees_each_model_that_it_tried(
    monkeypatch: pytest.MonkeyPatch, calls: Counter[str], step: str, message: str
) -> None:
    def fail(*_: object) -> None:
        raise EngineError(message)

    monkeypatch.setattr(f"llmd.worker.loader.{step}", fail)
    with pytest.raises((EngineError, ModelError), match=message):
        loader.open_model(LOAD, lambda _: None)
    n_loads = calls["llama_model_load_from_file"]
    assert n_loads == calls["llama_model_free"]
    assert (n_loads > 1) == ("allocate" in message)  # less memory is tried


OUT_OF_MEMORY = b"error: Insufficient Memory (00000008)"


@pytest.mark.parametrize("is_on_gpu", [True, False])
def test_an_error_between_decode_and_logits_is_of_this_decode(is_on_gpu: bool) -> None:
    """On a GPU `llama_decode` returns 0 before the error, and the logits are of an earlier one."""
    engine = load_real_engine()
    context, cache = engine.context, engine.engine.cache
    context.is_on_gpu = is_on_gpu
    cache.decode([1, 2, 3])
    context.logits()
    cache.decode([4])
    library._log(4, b"ggml_metal_synchronize: error: command buffer 0 failed with status 5", None)
    library._log(4, OUT_OF_MEMORY, None)
    with pytest.raises(DeviceError if is_on_gpu else EngineError) as error:
        context.logits()
    assert isinstance(error.value, DeviceError) == is_on_gpu
    assert "failed to evaluate tokens: error: Insufficient Memory" in str(error.value)
    cache.decode([5])
    context.logits()


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ((b"x: error: buffer 0 failed", b"error: Caused GPU Timeout Error", b"y: ret = -3"),
         "error: Caused GPU Timeout Error"),
        ((b"error: other", OUT_OF_MEMORY, b"ret = -3"), OUT_OF_MEMORY.decode()),
        ((b"CUDA error: an illegal access", b"llama_decode: ret = -3"),
         "CUDA error: an illegal access"),
        ((), "no reason given"),
    ],
)  # fmt: skip
def test_the_reason_is_the_line_that_tells_most(lines: tuple[bytes, ...], told: str) -> None:
    library.clear_errors()
    for line in lines:
        library._log(4, line, None)
    assert library.last_error() == told


def test_an_error_in_the_moment_of_a_cancel_is_kept(capfd: pytest.CaptureFixture[str]) -> None:
    """A GPU sees no abort within a batch: what fails meanwhile is no abort."""
    flag = ctypes.create_string_buffer(b"\1", 2)
    library.clear_errors()
    library.expect_abort(ctypes.addressof(flag))
    for line in (b"graph_compute: ggml_backend_sched_graph_compute_async failed with error 1",
                 b"process_ubatch: failed to compute graph, compute status: 1",
                 b"decode: failed to decode, ret = 2", b"CUDA error: out of memory"):  # fmt: skip
        library._log(4, line, None)
    library.expect_abort(ctypes.addressof(ctypes.create_string_buffer(2)))
    assert library.last_error() == "CUDA error: out of memory"
    assert capfd.readouterr().err == "CUDA error: out of memory\n"


@pytest.mark.parametrize(
    ("engine", "n_batch"),
    [(EngineConfig(n_ctx=512), 64), (EngineConfig(n_ctx=512, n_batch=256), 256),
     (EngineConfig(n_ctx=512, n_ubatch=128), 128)],
)  # fmt: skip
def test_a_slow_gpu_gets_small_batches_unless_they_are_set(
    monkeypatch: pytest.MonkeyPatch, engine: EngineConfig, n_batch: int
) -> None:
    """The CPU's build, described as a GPU that prefills 225 tokens per second."""
    monkeypatch.setattr("llmd.worker.llama.context.backend", lambda: "metal")
    monkeypatch.setattr("llmd.worker.warm_up.batch_size", lambda _, *of: batch_size(225, *of))
    monkeypatch.setattr("llmd.models.memory_plan.search._N_BATCH_CPU", 512)
    load = messages.Load(str(builtin_path()), "auto", engine)
    with closing(loader.open_model(load, lambda _: None)) as opened:
        assert opened.context.n_batch == opened.setup.plan.n_batch == n_batch
        assert opened.setup.plan.prefill_per_s > 0


def test_a_device_is_read_with_its_memory_and_backend() -> None:
    device = system_info._device(0)  # of a build for the CPU alone: the CPU
    assert (device.gpu.api, device.kind) == ("CPU", "separate")
    assert 0 < device.gpu.free_bytes <= device.gpu.total_bytes


def test_the_bench_frees_its_model(
    calls: Counter[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMD_STATE_DIR", str(tmp_path))
    args = Namespace(depth=[0], batch=[1], threads=[1], repeat=1, out=str(tmp_path), json=False)
    model_speed.run(args, Config(model=str(builtin_path())), {})
    assert calls["llama_model_load_from_file"] == calls["llama_model_free"] == 1


def test_the_reason_why_a_model_does_not_load_is_told(tmp_path: Path) -> None:
    """Not llama.cpp's last line, "failed to load model"."""
    path = tmp_path / "toy.gguf"
    write_vocabulary(path, "toy", family_by_name("qwen-coder"), {})
    path.write_bytes(path.read_bytes().replace(b"default", b"smollx7"))
    with pytest.raises(ModelError, match="unknown pre-tokenizer type: 'smollx7'"):
        model.Model(path, vocab_only=True)
