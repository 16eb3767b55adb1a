"""Plans by machine and shape: values for `auto`, and values that the user set."""

from __future__ import annotations

from dataclasses import replace

import pytest

from llmd.config import EngineConfig
from llmd.errors import BadInput
from llmd.models.memory_plan import DescribedMachine, LoadPlan, Shape, plan_load, shape_from_fields

GIB = 1 << 30
CPU = DescribedMachine("cpu", 2)
METAL = DescribedMachine("metal", 8)
SHAPE = Shape(n_layers=30, n_head_kv=3, head_dim=64, n_ctx_train=8192)


def types(plan: LoadPlan) -> tuple[str, str, bool]:
    return plan.cache_type_k, plan.cache_type_v, plan.flash_attn


def test_auto_on_a_cpu() -> None:
    plan = plan_load(EngineConfig(), CPU, SHAPE)
    assert types(plan) == ("q4_0", "f16", False)
    assert (plan.n_ctx, plan.n_batch, plan.threads, plan.n_gpu_layers) == (2048, 64, 2, -1)
    assert plan.kv_bytes == 2048 * 30 * 3 * 64 * (18 / 32 + 2)


def test_auto_on_a_gpu() -> None:
    plan = plan_load(EngineConfig(), METAL, SHAPE)
    assert types(plan) == ("q4_0", "q4_0", True)
    assert (plan.n_batch, plan.threads) == (512, 8)


def test_a_small_model_sets_n_ctx() -> None:
    small = Shape(n_layers=2, n_head_kv=2, head_dim=64, n_ctx_train=512)
    assert plan_load(EngineConfig(), CPU, small).n_ctx == 512


@pytest.mark.parametrize("machine", [CPU, METAL])
def test_heads_that_blocks_do_not_divide(machine: DescribedMachine) -> None:
    odd = Shape(n_layers=2, n_head_kv=2, head_dim=80, n_ctx_train=2048)
    plan = plan_load(EngineConfig(cache_type_k="q8_0"), machine, odd)
    assert types(plan)[:2] == ("f16", "f16")


def test_what_the_user_set_is_obeyed() -> None:
    engine = EngineConfig(
        n_ctx=4096, n_gpu_layers=3, n_batch=128, threads=1, flash_attn=False, cache_type_k="q8_0"
    )
    plan = plan_load(engine, METAL, SHAPE)
    assert types(plan) == ("q8_0", "f16", False)
    assert (plan.n_ctx, plan.n_gpu_layers, plan.n_batch, plan.threads) == (4096, 3, 128, 1)


def test_a_quantised_v_brings_flash_attention() -> None:
    assert types(plan_load(EngineConfig(cache_type_v="q4_0"), CPU, SHAPE)) == ("q4_0", "q4_0", True)


def test_a_quantised_v_without_flash_attention() -> None:
    with pytest.raises(BadInput, match="needs flash attention"):
        plan_load(EngineConfig(cache_type_v="q8_0", flash_attn=False), CPU, SHAPE)


def test_a_batch_is_no_longer_than_the_context() -> None:
    assert plan_load(EngineConfig(n_ctx=256), METAL, SHAPE).n_batch == 256


def test_adapters_and_a_recurrent_state_are_held_beside_the_weights() -> None:
    small = DescribedMachine("cpu", 2, 0, 4 * GIB, 3 * GIB)
    bare = replace(SHAPE, layer_bytes=(10_000_000,) * 30)
    more = replace(bare, state_bytes=1_000_000, adapter_bytes=60_000_000)
    without, with_both = (plan_load(EngineConfig(), small, shape).memory for shape in (bare, more))
    assert without
    assert with_both
    assert with_both.ram_bytes - without.ram_bytes == 30 * 1_000_000 + 60_000_000
    assert with_both.mapped_bytes == without.mapped_bytes
    plan = plan_load(EngineConfig(), small, more)
    assert plan.kv_bytes == plan_load(EngineConfig(), small, bare).kv_bytes


MAMBA = {"ssm.conv_kernel": 4, "ssm.inner_size": 1536, "ssm.state_size": 16}
RWKV = {"wkv.head_size": 64, "token_shift_count": 2}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, 0),
        (MAMBA, 4 * (3 * 1536 + 1536 * 16)),
        (MAMBA | {"ssm.group_count": 1}, 4 * (3 * (1536 + 2 * 16) + 1536 * 16)),
        (RWKV, 4 * 768 * (64 + 2)),
    ],
    ids=["attention", "Mamba", "Mamba 2", "RWKV"],
)
def test_what_a_recurrent_layer_keeps(fields: dict[str, int], expected: int) -> None:
    fields = {"block_count": 2, "embedding_length": 768, **fields}
    shape = shape_from_fields(lambda key: (fields.get(key, 0),), 10, {})
    assert shape.state_bytes == expected
