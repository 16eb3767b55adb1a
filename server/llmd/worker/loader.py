"""From a model's file to an engine that can be asked, and what there is to know of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from llmd import machine
from llmd.config import EngineConfig as EngineConfig
from llmd.engine import messages
from llmd.models import memory_plan
from llmd.models.gguf.header import check_adapter, check_model, whole_shape
from llmd.prompt.families import PLAIN, Match, recognise
from llmd.worker import llama
from llmd.worker.kv_cache import KvCache
from llmd.worker.prompt_tokens import LoadedModel
from llmd.worker.token_healing import HealingTable


def load_engine(
    load: messages.Load, no_flag: int, tell: Callable[[float], None]
) -> tuple[LoadedModel, messages.Loaded]:
    """`no_flag` is the address of a flag that nobody sets, `tell` is told the share loaded.

    Raises:
        LlmdError: the file is no good, or the machine too small for it.
    """
    refused_prio = machine.set_priority(load.engine.prio)
    model, context, setup = open_model(load, tell)
    context.set_abort_flag(no_flag)
    vocabulary = model.vocabulary
    match = recognise(model.name, vocabulary.declared, vocabulary.find, load.order)
    cache = warm_cache(model, context)
    engine = LoadedModel(context, vocabulary, match, cache, HealingTable(vocabulary.text_pieces()))
    return engine, _loaded_message(model, Path(load.path), match, setup, cache, refused_prio)


def open_model(
    load: messages.Load, tell: Callable[[float], None]
) -> tuple[llama.Model, llama.Context, LoadSetup]:
    """
    Raises:
        LlmdError: see `load_engine`.
    """
    path = Path(load.path)
    header = check_model(path)
    for adapter, _ in load.adapters:
        check_adapter(Path(adapter), header)
    n_adapters = sum(Path(adapter).stat().st_size for adapter, _ in load.adapters)
    shape = replace(whole_shape(path, header), adapter_bytes=n_adapters)
    setup = plan_setup(load, path, shape)

    def attempt(plan: memory_plan.LoadPlan) -> tuple[llama.Model, llama.Context]:
        return _open_with_plan(load, path, plan, tell)

    (model, context), plan = memory_plan.retry_smaller(
        attempt, load.engine, setup.machine, setup.shape, setup.plan, path.name
    )
    return model, context, replace(setup, plan=plan)


@dataclass(frozen=True, slots=True)
class LoadSetup:
    engine: EngineConfig
    machine: memory_plan.DescribedMachine
    shape: memory_plan.Shape
    plan: memory_plan.LoadPlan


def plan_setup(load: messages.Load, path: Path, shape: memory_plan.Shape) -> LoadSetup:
    """
    Raises:
        LlmdError: it does not fit, or what the user set does not go together.
    """
    here = describe_machine()
    plan = memory_plan.plan_load(load.engine, here, shape, path.name)
    for _ in range(load.n_shrunk):
        if less := memory_plan.smaller_plan(load.engine, here, shape, plan, path.name):
            plan, here = less
    return LoadSetup(load.engine, here, shape, plan)


def describe_machine() -> memory_plan.DescribedMachine:
    """This machine as it is now."""
    gpus, is_unified = llama.gpus()
    return memory_plan.DescribedMachine(
        llama.backend(),
        machine.n_cores(),
        machine.n_fast_cores(),
        machine.memory_bytes(),
        machine.available_bytes(),
        gpus,
        is_unified,
    )


def _open_with_plan(
    load: messages.Load, path: Path, plan: memory_plan.LoadPlan, tell: Callable[[float], None]
) -> tuple[llama.Model, llama.Context]:
    model = llama.Model(
        path,
        n_gpu_layers=plan.n_gpu_layers,
        use_mmap=plan.mmap,
        on_progress=tell,
        use_mlock=plan.mlock,
        tensor_split=plan.tensor_split,
    )
    try:
        for adapter, scale in load.adapters:
            model.apply_adapter(Path(adapter), scale)
        return model, llama.Context(model, plan)
    except BaseException:
        model.close()
        raise


def warm_cache(model: llama.Model, context: llama.Context) -> KvCache:
    """A token through all layers reads in the weights, so that the first request need not. A
    second one is taken back, which not every memory can do."""
    vocabulary = model.vocabulary
    token = max(vocabulary.bos, vocabulary.eos, 0)
    trial = KvCache(context)
    for _ in range(2):
        trial.decode([token])
    # Some recurrent memories can go one token back, but no further.
    can_cut = trial.keep(1) == 1 and not model.is_recurrent
    trial.clear()
    # A sliding window's state holds the window's cells only, so it cannot be cut once restored.
    can_save = can_cut and not 0 < model.n_window < context.n_ctx
    return KvCache(context, can_cut, can_save)


def _loaded_message(
    model: llama.Model,
    path: Path,
    match: Match,
    setup: LoadSetup,
    cache: KvCache,
    refused_prio: str,
) -> messages.Loaded:
    name, plan, shape = model.name or path.stem, setup.plan, setup.shape
    n_gpu_layers = shape.n_layers if plan.n_gpu_layers < 0 else plan.n_gpu_layers
    backend = setup.machine.backend
    said = model_notice(name, match.family is PLAIN, cache.can_cut, cache.can_save)
    return messages.Loaded(
        name=name,
        family=match.family.name,
        order=match.order,
        quantisation=model.quantisation,
        backend=backend,
        n_ctx=cache.n_ctx,
        n_layers=shape.n_layers,
        n_gpu_layers=0 if backend == "cpu" else min(n_gpu_layers, shape.n_layers),
        cache_type_k=plan.cache_type_k,
        cache_type_v=plan.cache_type_v,
        flash_attn=plan.flash_attn,
        n_batch=plan.n_batch,
        threads=plan.threads,
        kv_bytes=memory_plan.kv_bytes(shape, cache.n_ctx, plan.cache_type_k, plan.cache_type_v),
        notice=". ".join(filter(None, (said, refused_prio))),
        plan=memory_plan.explain_plan(
            setup.engine, setup.machine, shape, plan, llama.has_params_fit()
        ),
        planned_bytes=plan.memory.ram_bytes if plan.memory else 0,
    )


def model_notice(name: str, is_plain: bool, can_cut: bool, can_save: bool) -> str:
    """What the user should know of the model, as one sentence; empty where all is as usual."""
    said = []
    if is_plain:
        said.append(
            "has no FIM tokens; it continues the text before the cursor and cannot see what"
            " follows. Choose a model trained for infilling"
        )
    if not can_cut:
        said.append("has a memory that cannot be cut; every request evaluates its whole prompt")
    elif not can_save:
        said.append(
            "has a memory that cannot be parked; each change of document evaluates its prompt anew"
        )
    return f"Model `{name}` " + ". It ".join(said) if said else ""


if __name__ == "__main__":  # for who must not load llama.cpp itself
    print(msgspec.json.encode(describe_machine()).decode())
