"""Tests which attention a GPU computes, and the cache types that follow, by the cases of
ggml-metal-device.m (supports_op), ggml-cuda/fattn.cu and ggml-vulkan.cpp."""

from __future__ import annotations

import re

import pytest

from llmd.config import CacheType, EngineConfig
from llmd.models.catalog import catalog
from llmd.models.memory_plan import (
    DescribedMachine,
    Gpu,
    Shape,
    explain_plan,
    plan_load,
    plan_problem,
)
from llmd.models.memory_plan.attention import attends
from llmd.models.recommend import shape_from_catalog

GIB = 1 << 30


def shape(k_size: int, v_size: int = 0, n_head: int = 32, n_head_kv: int = 8) -> Shape:
    return Shape(2, n_head_kv, k_size, 4096, v_size, n_head, n_embd=2048)


def machine(api: str) -> DescribedMachine:
    backend, gpu = "metal" if api == "MTL" else "gpu", Gpu("a", 20 * GIB, 24 * GIB, api)
    return DescribedMachine(backend, 8, 0, 32 * GIB, 24 * GIB, (gpu,), api == "MTL")


@pytest.mark.parametrize(
    ("api", "model", "types", "expected"),
    [
        ("MTL", shape(128), ("q4_0", "q4_0"), True),
        ("MTL", shape(128), ("q8_0", "q4_0"), False),
        ("MTL", shape(128), ("q4_0", "f16"), False),
        ("MTL", shape(32), ("f16", "f16"), True),
        ("MTL", shape(160), ("f16", "f16"), False),
        ("MTL", shape(72, 64), ("f16", "f16"), False),
        ("MTL", shape(128, 256), ("f16", "f16"), False),
        ("MTL", shape(192, 128), ("q4_0", "q4_0"), True),
        ("MTL", shape(576, 512, 128, 1), ("q4_0", "q4_0"), True),
        ("CUDA", shape(128), ("q8_0", "q4_0"), True),  # slow, see below
        ("CUDA", shape(32), ("f16", "f16"), False),
        ("CUDA", shape(48), ("f16", "f16"), False),
        ("CUDA", shape(80), ("f16", "f16"), True),
        ("CUDA", shape(256), ("q4_0", "q4_0"), True),
        ("CUDA", shape(192), ("q4_0", "q4_0"), False),
        ("CUDA", shape(192, 128, 16, 16), ("q4_0", "q4_0"), False),  # deepseek-coder-v2-lite
        ("CUDA", shape(192, 128, 128, 16), ("q4_0", "q4_0"), True),
        ("CUDA", shape(192, 128, 64, 16), ("q4_0", "q4_0"), False),  # 4 to a K head
        ("CUDA", shape(320, 256, 64, 2), ("q4_0", "q4_0"), True),
        ("CUDA", shape(320, 256, 16, 1), ("q4_0", "q4_0"), False),
        ("CUDA", shape(576, 512, 128, 1), ("q4_0", "q4_0"), True),
        ("CUDA", shape(576, 512, 1, 1), ("q4_0", "q4_0"), False),
        ("CUDA", shape(512, 512, 8, 8), ("q4_0", "q4_0"), False),
        ("ROCm", shape(48), ("f16", "f16"), False),
        ("Vulkan", shape(48), ("q8_0", "q4_0"), True),
        ("Vulkan", shape(100), ("f16", "f16"), False),
        ("SYCL", shape(100), ("f16", "f16"), True),  # not known here
    ],
)
def test_what_a_backend_attends(
    api: str, model: Shape, types: tuple[CacheType, CacheType], expected: bool
) -> None:
    assert attends(api, model, *types) is expected


@pytest.mark.parametrize("api", ["MTL", "CUDA"])
@pytest.mark.parametrize(
    ("k", "v", "expected"),
    [
        ("auto", "auto", ("q4_0", "q4_0")),
        ("auto", "q8_0", ("q8_0", "q8_0")),
        ("auto", "f16", ("f16", "f16")),
        ("q8_0", "auto", ("q8_0", "q8_0")),
        ("f16", "auto", ("f16", "f16")),
    ],
)
def test_on_a_gpu_an_unset_type_follows_the_set_one(
    api: str, k: CacheType, v: CacheType, expected: tuple[str, str]
) -> None:
    made = plan_load(EngineConfig(cache_type_k=k, cache_type_v=v), machine(api), shape(128))
    assert (made.cache_type_k, made.cache_type_v) == expected
    assert made.flash_attn
    assert plan_problem(machine(api), shape(128), made) == ""


@pytest.mark.parametrize(
    ("api", "k", "v", "said"),
    [
        ("MTL", "q8_0", "q4_0", "Metal has no flash attention for .*q8_0.*q4_0.*one type"),
        ("CUDA", "q8_0", "q4_0", "CUDA converts .* for each batch; set both to one type"),
        ("CUDA", "f16", "q8_0", "CUDA converts .* for each batch; set both to one type"),
        ("CUDA", "q8_0", "f16", "CUDA converts .* for each batch; set both to one type"),
        ("Vulkan", "q8_0", "q4_0", "^$"),
    ],
)
def test_a_pair_that_is_slow_is_named(api: str, k: CacheType, v: CacheType, said: str) -> None:
    engine = EngineConfig(cache_type_k=k, cache_type_v=v)
    made = plan_load(engine, machine(api), shape(128))
    assert (made.cache_type_k, made.cache_type_v) == (k, v)  # what is set is obeyed
    assert re.search(said, plan_problem(machine(api), shape(128), made))
    lines = explain_plan(engine, machine(api), shape(128), made)
    assert any(line.startswith("Attention: ") for line in lines) == (said != "^$")


def test_a_set_pair_that_needs_no_flash_attention_does_without() -> None:
    engine = EngineConfig(cache_type_k="q8_0", cache_type_v="f16")
    made = plan_load(engine, machine("MTL"), shape(128))
    assert (made.cache_type_k, made.cache_type_v, made.flash_attn) == ("q8_0", "f16", False)


@pytest.mark.parametrize("api", ["MTL", "CUDA", "Vulkan"])
@pytest.mark.parametrize("name", catalog())
def test_no_model_of_the_catalog_falls_to_the_cpu(api: str, name: str) -> None:
    entry = catalog()[name]
    model = shape_from_catalog(entry, entry.variants[0])
    made = plan_load(EngineConfig(), machine(api).with_unlimited_memory(), model)
    assert plan_problem(machine(api), model, made) == ""


def test_heads_that_cuda_does_not_attend_get_f16_and_no_flash_attention() -> None:
    made = plan_load(EngineConfig(), machine("CUDA"), shape(192, 128, 16, 16))
    assert (made.cache_type_k, made.cache_type_v, made.flash_attn) == ("f16", "f16", False)
    forced = plan_load(EngineConfig(flash_attn=True), machine("CUDA"), shape(192, 128, 16, 16))
    said = plan_problem(machine("CUDA"), shape(192, 128, 16, 16), forced)
    assert said.startswith("CUDA has no flash attention for this model's heads")
    assert said.endswith("set `engine.flash_attn` and `engine.cache_type_v` to auto")
    quantised = EngineConfig(cache_type_v="q8_0")
    made = plan_load(quantised, machine("CUDA"), shape(192, 128, 16, 16))
    said = plan_problem(machine("CUDA"), shape(192, 128, 16, 16), made)
    assert said.endswith("`engine.cache_type_v` to auto")  # which brought flash attention
