"""Estimates how a model runs on a machine, and recommends a quantisation and a model. Pure.

models/memory_plan decides how a model is laid out; only `estimate` calls the planner.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from llmd.config import EngineConfig
from llmd.errors import LlmdError
from llmd.models import memory_plan
from llmd.models.catalog_schema import Entry, Variant
from llmd.models.decode_speed import tokens_per_s

# At lower speeds a suggested line appears after the next key. A CPU prefills hardly faster than it
# decodes, so the minimum on a CPU is higher.
_MIN_TOKENS_PER_S, _MIN_TOKENS_PER_S_ON_CPU = 30.0, 60.0
# Models up to this size can afford a better quantisation on any machine.
_SMALL_BYTES = 2_000_000_000
# Up to this share of the memory a better quantisation leaves enough for other programs.
_MAX_MEMORY_SHARE = 0.6
# Rough mean of the share of a model's weights that is before and after the layers.
_OUTPUT_SHARE = 0.08


@dataclass(frozen=True, slots=True)
class HostResources:
    """Holds a machine and the nominal bandwidth of the memory that models are read from (0: not
    known)."""

    machine: memory_plan.DescribedMachine
    bytes_per_s: float = 0.0

    @property
    def is_cpu(self) -> bool:
        return self.machine.backend == "cpu"

    @property
    def min_tokens_per_s(self) -> float:
        return _MIN_TOKENS_PER_S_ON_CPU if self.is_cpu else _MIN_TOKENS_PER_S

    @property
    def n_bytes(self) -> int:
        gpus = sum(gpu.free_bytes for gpu in self.machine.gpus)
        return gpus or self.machine.ram_free_bytes


@dataclass(frozen=True, slots=True)
class FitEstimate:
    """Estimates how a model runs on a machine. `n_layers` 0: not known. `n_bytes`: expected memory
    use, of CPU and GPUs together."""

    fits: bool
    n_layers: int
    n_gpu_layers: int
    n_ctx: int
    n_bytes: int
    tokens_per_s: float  # 0: not known
    is_whole: bool  # all layers are in the fastest memory


def estimate(
    shape: memory_plan.Shape, host: HostResources, engine: EngineConfig, active_share: float = 1.0
) -> FitEstimate:
    """Estimates whether and how fast a model runs on a host.

    `active_share`: the share of the weights that work on one token.
    """
    n_weights = shape.weight_bytes
    try:
        plan = memory_plan.plan_load(engine, host.machine, shape)
    except LlmdError:
        return FitEstimate(False, shape.n_layers, 0, 0, n_weights, 0.0, is_whole=False)
    n_all = plan.n_gpu_layers < 0 or plan.n_gpu_layers > shape.n_layers
    n_gpu_layers = 0 if host.is_cpu else shape.n_layers if n_all else plan.n_gpu_layers
    is_whole = host.is_cpu or n_all
    speed = 0.0
    if host.bytes_per_s and is_whole:
        n_read = n_weights * active_share + plan.kv_bytes
        backend = host.machine.backend
        speed = tokens_per_s(n_read, host.bytes_per_s, backend, shape.n_layers)
    n_bytes = _total_bytes(plan, host, n_weights)
    return FitEstimate(True, shape.n_layers, n_gpu_layers, plan.n_ctx, n_bytes, speed, is_whole)


def _total_bytes(plan: memory_plan.LoadPlan, host: HostResources, n_weight_bytes: int) -> int:
    """Returns the total memory use. With a GPU each weight is counted once, although the file is
    mapped too."""
    memory = plan.memory
    if memory is None:
        return n_weight_bytes + plan.kv_bytes
    if host.is_cpu:
        return memory.ram_bytes
    return memory.weight_bytes + memory.extra_bytes + memory.compute_bytes


def shape_from_catalog(entry: Entry, variant: Variant) -> memory_plan.Shape:
    """Builds a shape from the catalog's facts. All layers are assumed to be of the same size."""
    shape, n_layers = entry.shape, entry.shape.n_layers or 1
    n_output = round(_OUTPUT_SHARE * variant.n_bytes)
    bytes_per_layer = (variant.n_bytes - n_output) // n_layers
    return memory_plan.Shape(
        n_layers, shape.n_head_kv, shape.head_dim, shape.n_ctx_train, n_embd=shape.n_embd,
        n_head=shape.n_head, n_ff=shape.n_ff, n_vocab=shape.n_vocab,
        layer_bytes=(bytes_per_layer,) * n_layers, output_bytes=n_output,
    )  # fmt: skip


def estimate_variant(
    entry: Entry, variant: Variant, host: HostResources, engine: EngineConfig
) -> FitEstimate:
    return estimate(shape_from_catalog(entry, variant), host, engine, active_share(entry))


def active_share(entry: Entry | None) -> float:
    return entry.n_active_params_b / entry.n_params_b if entry and entry.n_params_b else 1.0


def best_quantisation(
    entry: Entry, host: HostResources, engine: EngineConfig
) -> tuple[Variant, str]:
    """Returns the quantisation to use on this machine and the reason, or the smallest if none
    fits."""
    by_kind = {variant.quantisation: variant for variant in entry.variants}
    estimates = {kind: estimate_variant(entry, v, host, engine) for kind, v in by_kind.items()}
    whole_kinds = [kind for kind in by_kind if estimates[kind].is_whole]
    for kind, why in _preferred_quantisations(by_kind, estimates, host):
        if kind in whole_kinds:
            return by_kind[kind], why
    if whole_kinds:
        kind = max(whole_kinds, key=lambda kind: by_kind[kind].n_bytes)
        return by_kind[kind], "the largest one that fits"
    smallest = min(by_kind.values(), key=lambda variant: variant.n_bytes)
    if estimates[smallest.quantisation].fits:
        return smallest, "the smallest, so that most layers fit on the GPU"
    return smallest, "the smallest, but too large for this machine"


def _preferred_quantisations(
    by_kind: dict[str, Variant], estimates: dict[str, FitEstimate], host: HostResources
) -> Iterable[tuple[str, str]]:
    minimum = host.min_tokens_per_s
    quick = {kind for kind, fit in estimates.items() if not 0 < fit.tokens_per_s < minimum}
    q8, q5 = by_kind.get("Q8_0"), by_kind.get("Q5_K_M")
    if host.is_cpu:
        yield "Q4_0", "the fastest on a CPU"
    if q8 and "Q8_0" in quick and q8.n_bytes <= _SMALL_BYTES:
        yield "Q8_0", "small enough for full quality"
    has_room = q5 and estimates["Q5_K_M"].n_bytes <= _MAX_MEMORY_SHARE * host.n_bytes
    if not host.is_cpu and has_room and "Q5_K_M" in quick:
        yield "Q5_K_M", "fits easily, with the least loss of quality"
    yield "Q4_K_M", "fast, with little loss of quality"
    yield "Q3_K_M", "small enough to fit, with some loss of quality"


def best_model(
    entries: Sequence[Entry], host: HostResources, engine: EngineConfig
) -> tuple[Entry, Variant, str] | None:
    """Returns the model with the best published score among those with a licence for any use that
    fit in this machine's fastest memory and are fast enough, with its quantisation and the reason;
    or None."""
    candidates = []
    for entry in entries:
        variant, why = best_quantisation(entry, host, engine)
        fit = estimate_variant(entry, variant, host, engine)
        is_fast = fit.tokens_per_s >= host.min_tokens_per_s
        if entry.allows_commerce and entry.fim_em and fit.is_whole and is_fast:
            candidates.append((entry, variant, why))
    return max(candidates, key=lambda each: each[0].fim_em, default=None)
