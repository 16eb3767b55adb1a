"""How a model is laid out on a machine: context length, batch, cache types. Pure.

What the user set is obeyed; what is `auto` is chosen here, by the measurements that
docs/ARCHITECTURE.md keeps.
"""

from __future__ import annotations

from dataclasses import dataclass

from llmd.config import CacheType, Engine
from llmd.errors import BadInput, ModelError

N_CTX = 2048  # tokens: the prompt's windows and what is decoded, with room to spare
N_BATCH_CPU = 64  # a cancelled prefill loses at most this many
N_BATCH_GPU = 512
_GIB = 1 << 30
_BLOCK = 32  # values that a quantised cache type stores together
_BYTES_PER_VALUE: dict[CacheType, float] = {"f16": 2.0, "q8_0": 34 / 32, "q4_0": 18 / 32}


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
    n_gpu_layers: int  # -1: all
    n_batch: int
    threads: int
    cache_type_k: CacheType
    cache_type_v: CacheType
    flash_attn: bool
    kv_bytes: int


def plan_load(engine: Engine, machine: Machine, shape: Shape) -> LoadPlan:
    """
    Raises:
        BadInput: a quantised V with flash attention switched off.
    """
    is_cpu = machine.backend == "cpu"
    n_ctx = min(N_CTX, shape.n_ctx_train or N_CTX) if engine.n_ctx == "auto" else engine.n_ctx
    n_batch = engine.n_batch
    if n_batch == "auto":
        n_batch = N_BATCH_CPU if is_cpu else N_BATCH_GPU
    type_k, type_v, flash_attn = _cache_types(engine, is_cpu, shape.head_dim)
    return LoadPlan(
        n_ctx=n_ctx,
        n_gpu_layers=n_gpu_layers(engine),
        n_batch=min(n_batch, n_ctx),
        threads=machine.n_cores if engine.threads == "auto" else engine.threads,
        cache_type_k=type_k,
        cache_type_v=type_v,
        flash_attn=flash_attn,
        kv_bytes=kv_bytes(shape, n_ctx, type_k, type_v),
    )


def check_memory(file_name: str, n_weight_bytes: int, n_machine_bytes: int) -> None:
    """
    Raises:
        ModelError: the weights alone are more than the machine may hold.
    """
    if n_weight_bytes >= n_machine_bytes:
        raise ModelError(
            f"Model file `{file_name}` needs more than {n_weight_bytes / _GIB:.1f} GiB of memory,"
            f" this machine has {n_machine_bytes / _GIB:.1f} GiB;"
            " choose a smaller model or quantisation"
        )


def n_gpu_layers(engine: Engine) -> int:
    return -1 if engine.n_gpu_layers == "all" else engine.n_gpu_layers


def kv_bytes(shape: Shape, n_ctx: int, type_k: CacheType, type_v: CacheType) -> int:
    n_values = n_ctx * shape.n_layers * shape.n_head_kv * shape.head_dim
    return round(n_values * (_BYTES_PER_VALUE[type_k] + _BYTES_PER_VALUE[type_v]))


def _cache_types(engine: Engine, is_cpu: bool, head_dim: int) -> tuple[CacheType, CacheType, bool]:
    """On a CPU a quantised V costs more than it saves, with the flash attention it needs."""
    can_quantise = head_dim % _BLOCK == 0
    wants_flash = engine.flash_attn
    if wants_flash == "auto":
        wants_flash = not is_cpu
    type_k = "q4_0" if engine.cache_type_k == "auto" else engine.cache_type_k
    type_v = engine.cache_type_v
    if type_v == "auto":
        type_v = "q4_0" if wants_flash and not is_cpu else "f16"
    if not can_quantise:
        type_k = type_v = "f16"
    if type_v != "f16" and engine.flash_attn is False:
        raise BadInput(
            f"Config `engine.cache_type_v`: {type_v} needs flash attention, which"
            " `engine.flash_attn` switches off; set one of them to auto"
        )
    return type_k, type_v, wants_flash or type_v != "f16"
