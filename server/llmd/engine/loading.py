"""From a model's file to an engine that can be asked, and what there is to know of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from llmd.engine import frames, llama
from llmd.engine.cache import Cache
from llmd.engine.heal import Table
from llmd.engine.layout import Engine
from llmd.machine import memory_bytes, n_cores
from llmd.models import fit
from llmd.models.header import check_model
from llmd.prompt.families import PLAIN, Match, recognise


def load_engine(
    load: frames.Load, no_flag: int, tell: Callable[[float], None]
) -> tuple[Engine, frames.Loaded]:
    """`no_flag` is the address of a flag that nobody sets, `tell` is told the share loaded.

    Raises:
        LlmdError: the file is no good, or the machine too small for it.
    """
    path = Path(load.path)
    header = check_model(path)
    fit.check_memory(path.name, header.tensor_bytes, memory_bytes())
    model = llama.Model(
        path,
        n_gpu_layers=fit.n_gpu_layers(load.engine),
        use_mmap=load.engine.mmap,
        on_progress=tell,
    )
    machine = fit.Machine(llama.backend(), n_cores())
    plan = fit.plan_load(load.engine, machine, model.shape)
    context = llama.Context(model, plan)
    context.watch(no_flag)
    vocabulary = model.vocabulary
    match = recognise(model.name, vocabulary.declared, vocabulary.find, load.order)
    cache = warm_cache(model, context)
    engine = Engine(context, vocabulary, match, cache, Table(vocabulary.text_pieces()))
    return engine, _loaded(model, path, match, machine, plan, cache)


def warm_cache(model: llama.Model, context: llama.Context) -> Cache:
    """A token through all layers reads in the weights, so that the first request need not. A
    second one is taken back, which not every memory can do."""
    vocabulary = model.vocabulary
    token = max(vocabulary.bos, vocabulary.eos, 0)
    trial = Cache(context)
    for _ in range(2):
        trial.decode([token])
    # Some recurrent memories can go one token back, but no further.
    can_cut = trial.keep(1) == 1 and not model.is_recurrent
    trial.clear()
    # A sliding window's state holds the window's cells only, so it cannot be cut once restored.
    can_save = can_cut and not 0 < model.n_window < context.n_ctx
    return Cache(context, can_cut, can_save)


def _loaded(
    model: llama.Model,
    path: Path,
    match: Match,
    machine: fit.Machine,
    plan: fit.LoadPlan,
    cache: Cache,
) -> frames.Loaded:
    name, shape = model.name or path.stem, model.shape
    n_gpu_layers = shape.n_layers if plan.n_gpu_layers < 0 else plan.n_gpu_layers
    return frames.Loaded(
        name=name,
        family=match.family.name,
        order=match.order,
        quantisation=model.quantisation,
        backend=machine.backend,
        n_ctx=cache.n_ctx,
        n_layers=shape.n_layers,
        n_gpu_layers=0 if machine.backend == "cpu" else min(n_gpu_layers, shape.n_layers),
        cache_type_k=plan.cache_type_k,
        cache_type_v=plan.cache_type_v,
        flash_attn=plan.flash_attn,
        n_batch=plan.n_batch,
        threads=plan.threads,
        kv_bytes=fit.kv_bytes(shape, cache.n_ctx, plan.cache_type_k, plan.cache_type_v),
        notice=notice(name, match.family is PLAIN, cache.can_cut, cache.can_save),
    )


def notice(name: str, is_plain: bool, can_cut: bool, can_save: bool) -> str:
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
