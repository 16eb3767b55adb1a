"""Properties for any machine and model: more memory never gives fewer layers, a plan never takes
more than is free, and values that the user set stay."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from llmd.config import EngineConfig
from llmd.errors import LlmdError
from llmd.models.memory_plan import DescribedMachine, Gpu, LoadPlan, Shape, plan_load, smaller_plan

MIB, GIB = 1 << 20, 1 << 30
FIXED = ("n_ctx", "n_batch", "n_ubatch", "threads", "mmap", "mlock", "prio")


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    n_layers = draw(st.integers(1, 80))
    n_kv = draw(st.sampled_from([1, 2, 8, 32]))
    sizes = st.integers(MIB, 3 * GIB)
    layers = draw(st.lists(sizes, min_size=n_layers, max_size=n_layers))
    return Shape(
        n_layers=n_layers,
        n_head_kv=n_kv,
        head_dim=draw(st.sampled_from([64, 128, 192])),
        n_ctx_train=draw(st.sampled_from([1024, 8192, 1 << 17])),
        n_head=n_kv * draw(st.sampled_from([1, 4, 8])),
        n_embd=draw(st.integers(256, 8192)),
        n_ff=draw(st.integers(256, 30_000)),
        n_vocab=draw(st.integers(256, 260_000)),
        is_mla=draw(st.booleans()),
        layer_bytes=tuple(layers),
        input_bytes=draw(st.integers(MIB, GIB)),
        output_bytes=draw(st.just(0) | st.integers(MIB, GIB)),
        largest_bytes=max(layers) // 3,
        n_experts=draw(st.sampled_from([0, 64])),
        state_bytes=draw(st.just(0) | st.integers(1, 64 * MIB)),
        adapter_bytes=draw(st.just(0) | st.integers(1, 4 * GIB)),
    )


@st.composite
def machines(draw: st.DrawFn) -> DescribedMachine:
    ram = draw(st.integers(4 * GIB, 256 * GIB))
    backend = draw(st.sampled_from(["cpu", "metal", "gpu"]))
    n_gpus = {"cpu": 0, "metal": 1, "gpu": draw(st.integers(1, 8))}[backend]
    most = ram if backend == "metal" else 96 * GIB
    free = draw(st.lists(st.integers(0, most), min_size=n_gpus, max_size=n_gpus))
    gpus = tuple(Gpu("a", n, max(n, GIB)) for n in free)
    n_cores = draw(st.integers(1, 64))
    fast, ram_free = draw(st.integers(0, n_cores)), draw(st.integers(GIB, ram))
    is_unified = backend == "metal" or (n_gpus == 1 and draw(st.booleans()))
    return DescribedMachine(backend, n_cores, fast, ram, ram_free, gpus, is_unified)


AUTO = st.just("auto")
engines = st.builds(
    EngineConfig,
    n_ctx=AUTO | st.integers(256, 1 << 16),
    n_gpu_layers=st.just("all") | st.integers(0, 90),
    n_batch=AUTO | st.integers(1, 4096),
    n_ubatch=AUTO | st.integers(1, 4096),
    threads=AUTO | st.integers(1, 64),
    cache_type_k=st.sampled_from(["auto", "f16", "q8_0", "q4_0"]),
    cache_type_v=st.sampled_from(["auto", "f16", "q8_0", "q4_0"]),
    flash_attn=st.sampled_from(["auto", True, False]),
    tensor_split=AUTO | st.lists(st.integers(0, 9), min_size=1, max_size=8).map(tuple),
    mmap=st.booleans(),
    mlock=st.booleans(),
    prio=st.integers(-1, 3),
)


def planned(engine: EngineConfig, machine: DescribedMachine, shape: Shape) -> LoadPlan | None:
    try:
        return plan_load(engine, machine, shape)
    except LlmdError:
        return None


def n_layers(plan: LoadPlan | None) -> int:
    return -1 if plan is None or plan.memory is None else sum(plan.memory.units_per_gpu)


@settings(deadline=None, max_examples=300)
@given(engines, machines(), shapes(), st.integers(0, 8 * GIB), st.data())
def test_more_memory_never_gives_fewer_layers(
    engine: EngineConfig, machine: DescribedMachine, shape: Shape, n_more: int, data: st.DataObject
) -> None:
    ram = machine.ram_free_bytes + data.draw(st.integers(0, n_more))
    gpus = tuple(
        replace(gpu, free_bytes=gpu.free_bytes + data.draw(st.integers(0, n_more)))
        for gpu in machine.gpus
    )
    more = replace(machine, ram_free_bytes=ram, gpus=gpus)
    assert n_layers(planned(engine, machine, shape)) <= n_layers(planned(engine, more, shape))


@settings(deadline=None, max_examples=300)
@given(engines, machines(), shapes())
def test_a_plan_takes_no_more_than_is_free(
    engine: EngineConfig, machine: DescribedMachine, shape: Shape
) -> None:
    plan = planned(engine, machine, shape)
    if plan is None:
        return
    memory = plan.memory
    assert memory
    rooms = [gpu.free_bytes for gpu in machine.gpus]
    assert all(n <= room for n, room in zip(memory.gpu_bytes, rooms, strict=True))
    held = memory.ram_bytes - memory.mapped_bytes
    assert held <= machine.ram_free_bytes - machine.ram_reserve_bytes
    if not shape.n_experts:
        assert memory.ram_bytes <= machine.ram_free_bytes


@settings(deadline=None, max_examples=300)
@given(engines, machines(), shapes(), st.booleans())
def test_what_the_user_fixed_stays(
    engine: EngineConfig, machine: DescribedMachine, shape: Shape, is_shrunk: bool
) -> None:
    plan = planned(engine, machine, shape)
    if plan and is_shrunk:
        plan = (smaller_plan(engine, machine, shape, plan) or (None,))[0]
    if plan is None:
        return
    for key in FIXED:
        if (wanted := getattr(engine, key)) != "auto":
            assert getattr(plan, key) == wanted, key
    if engine.n_gpu_layers != "all":
        assert plan.n_gpu_layers == engine.n_gpu_layers
    if engine.tensor_split != "auto":
        assert plan.tensor_split == engine.tensor_split
    for key in ("cache_type_k", "cache_type_v"):
        assert getattr(engine, key) in ("auto", getattr(plan, key))
    assert engine.flash_attn in ("auto", plan.flash_attn)
