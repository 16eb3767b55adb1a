"""How a model is laid out on a machine: context, cache types, batch, threads. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from llmd.config import Engine

N_CTX_AUTO = 2048  # the windows take about 1,100 tokens, 1,650 before they are laid anew
BATCH_CPU = 64  # a prefill can be cancelled between batches; bigger ones are 4 % faster
BATCH_GPU = 512

# Bytes per element: blocks of 32 with their scale.
_BYTES = {"f16": 2.0, "q8_0": 34 / 32, "q4_0": 18 / 32}


@dataclass(frozen=True, slots=True)
class Machine:
    backend: str  # "cpu", "metal", "gpu"
    n_cores: int


@dataclass(frozen=True, slots=True)
class Shape:
    n_layers: int
    n_head_kv: int
    head_dim: int
    n_ctx_train: int


@dataclass(frozen=True, slots=True)
class LoadPlan:
    n_ctx: int
    n_batch: int
    threads: int
    n_gpu_layers: int  # -1: all
    flash_attn: bool
    cache_type_k: str
    cache_type_v: str
    kv_bytes: int


def n_gpu_layers(engine: Engine) -> int:
    return -1 if engine.n_gpu_layers == "all" else engine.n_gpu_layers


def plan_load(engine: Engine, machine: Machine, shape: Shape) -> LoadPlan:
    """What the user fixed is obeyed; the rest follows from machine and model.

    Measured on a CPU at depth 1,024: K q4_0 with V f16 and no flash attention prefills and
    decodes fastest; on a GPU both are q4_0, which needs flash attention.
    """
    on_gpu = machine.backend != "cpu"
    quantised_v = engine.cache_type_v not in ("auto", "f16")
    flash = (on_gpu or quantised_v) if engine.flash_attn == "auto" else engine.flash_attn
    type_k = "q4_0" if engine.cache_type_k == "auto" else engine.cache_type_k
    wanted_v = (
        ("q4_0" if on_gpu else "f16") if engine.cache_type_v == "auto" else engine.cache_type_v
    )
    type_v = wanted_v if flash else "f16"  # llama.cpp refuses a quantised V without it
    if shape.head_dim % 32:
        type_k = type_v = "f16"
    n_ctx = min(N_CTX_AUTO, shape.n_ctx_train) if engine.n_ctx == "auto" else engine.n_ctx
    row = shape.n_head_kv * shape.head_dim * (_BYTES[type_k] + _BYTES[type_v])
    return LoadPlan(
        n_ctx=n_ctx,
        n_batch=(BATCH_GPU if on_gpu else BATCH_CPU)
        if engine.n_batch == "auto"
        else engine.n_batch,
        threads=machine.n_cores if engine.threads == "auto" else engine.threads,
        n_gpu_layers=n_gpu_layers(engine),
        flash_attn=flash,
        cache_type_k=type_k,
        cache_type_v=type_v,
        kv_bytes=int(n_ctx * shape.n_layers * row),
    )
