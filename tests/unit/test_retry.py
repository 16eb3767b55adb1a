"""Retries of loads that run out of memory, and errors that name the user's own settings."""

from __future__ import annotations

import pytest
from tests.support.recordings import llama_cpp_errors

from llmd.config import EngineConfig
from llmd.errors import EngineError, ModelError
from llmd.models.memory_plan import (
    DescribedMachine,
    Gpu,
    LoadPlan,
    Shape,
    is_out_of_memory,
    plan_load,
    retry_smaller,
)

GIB = 1 << 30
SHAPE = Shape(
    32, 8, 128, 32768, n_head=32, n_embd=4096, n_ff=11008, n_vocab=32000,
    layer_bytes=(GIB // 4,) * 32, input_bytes=GIB // 8, output_bytes=GIB // 8,
)  # fmt: skip
CARD = DescribedMachine("gpu", 8, 0, 64 * GIB, 60 * GIB, (Gpu("card", 24 * GIB, 24 * GIB),))
CPU = DescribedMachine("cpu", 8, 0, 64 * GIB, 60 * GIB)
MESSAGE = "KV cache cannot be created: llama.cpp reports `failed to allocate buffer for kv cache`"


def load(
    engine: EngineConfig, machine: DescribedMachine, most: int, message: str = MESSAGE
) -> tuple[list[LoadPlan], LoadPlan]:
    """Returns all plans tried, and the plan that loaded, if at most `most` bytes are available."""
    tried: list[LoadPlan] = []

    def attempt(plan: LoadPlan) -> LoadPlan:
        tried.append(plan)
        assert plan.memory
        memory = plan.memory
        if memory.ram_bytes + sum(memory.gpu_bytes) - memory.mapped_bytes > most:
            raise EngineError(message)
        return plan

    first = plan_load(engine, machine, SHAPE)
    return tried, retry_smaller(attempt, engine, machine, SHAPE, first)


def test_layers_are_removed_until_the_model_loads() -> None:
    tried, plan = load(EngineConfig(), CARD, 7 * GIB)
    assert tried[0].n_gpu_layers == -1
    n_layers = [each.n_gpu_layers for each in tried[1:]]
    assert n_layers == sorted(set(n_layers), reverse=True)
    assert 0 < plan.n_gpu_layers < 33
    assert plan == tried[-1]


def test_on_a_cpu_batch_and_context_shrink() -> None:
    _, whole = load(EngineConfig(), CPU, 60 * GIB)
    assert whole.memory
    held = whole.memory.ram_bytes - whole.memory.mapped_bytes
    tried, plan = load(EngineConfig(), CPU, held - 40_000_000)
    assert len(tried) > 1
    assert (plan.n_ctx, plan.n_ubatch) < (whole.n_ctx, whole.n_ubatch)


def test_a_fixed_context_is_named_and_not_touched() -> None:
    with pytest.raises(ModelError, match=r"failed to allocate.*lower `engine.n_ctx`, which is 90"):
        load(EngineConfig(n_ctx=90_000), CPU, 0)


def test_fixed_layers_are_named_and_not_touched() -> None:
    engine = EngineConfig(n_gpu_layers=33, n_ctx=2048, n_ubatch=512)
    with pytest.raises(ModelError, match=r"lower `engine.n_gpu_layers`, which is 33 .*or `engine"):
        load(engine, CARD, 0)


def test_another_error_is_not_tried_again() -> None:
    with pytest.raises(EngineError, match="unknown model architecture"):
        load(EngineConfig(), CARD, 0, "llama.cpp reports `unknown model architecture`")


def test_user_settings_that_do_not_fit_are_reported_before_the_load() -> None:
    small = DescribedMachine("gpu", 8, 0, 64 * GIB, 60 * GIB, (Gpu("card", 4 * GIB, 8 * GIB),))
    with pytest.raises(
        ModelError, match=r"`engine.n_gpu_layers` is 33, and (\d+) fit; set it to \1"
    ):
        plan_load(EngineConfig(n_gpu_layers=33), small, SHAPE, "a.gguf")
    with pytest.raises(ModelError, match=r"`engine.n_ctx` is 1000000; lower it, or set it to auto"):
        plan_load(EngineConfig(n_ctx=1_000_000), CPU, SHAPE, "a.gguf")


@pytest.mark.parametrize(
    ("message", "is_so"),
    [
        ("failed to allocate CUDA0 buffer of size 4294967296", True),
        ("ggml_backend_cuda_buffer_type_alloc_buffer: allocating 8 MiB on device 0: cudaMalloc"
         " failed: out of memory", True),
        ("ErrorOutOfDeviceMemory", True),
        ("unable to allocate CPU buffer", True),
        ("std::bad_alloc", True),
        ("tensor 'x' data is not within the file bounds", False),
        ("failed to open model", False),
    ],
)  # fmt: skip
def test_failed_allocations_are_recognised(message: str, is_so: bool) -> None:
    assert is_out_of_memory(message) is is_so


@pytest.mark.parametrize("kind", ["out_of_memory", "device_lost"])
def test_recorded_messages_tell_memory_from_a_lost_device(kind: str) -> None:
    recorded = [text for each, text in llama_cpp_errors() if each == kind]
    assert len(recorded) >= 3
    for text in recorded:
        assert any(map(is_out_of_memory, text.splitlines())) == (kind == "out_of_memory"), text
