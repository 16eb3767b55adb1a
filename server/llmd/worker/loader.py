"""Loads a model from its file, plans its memory, and describes the result to the daemon."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from llmd import machine
from llmd.config import EngineConfig
from llmd.engine import messages
from llmd.models import memory_plan
from llmd.models.gguf.validate import check_adapter, check_model, whole_shape
from llmd.models.memory_plan.devices import gpu_backends
from llmd.prompt.families import PLAIN, Match, recognise
from llmd.worker import llama
from llmd.worker.kv_cache import KvCache
from llmd.worker.prompt_tokens import LoadedModel
from llmd.worker.token_healing import HealingTable
from llmd.worker.warm_up import warm_up


def load_engine(
    load: messages.Load, unset_flag_address: int, on_progress: Callable[[float], None]
) -> tuple[LoadedModel, messages.Loaded]:
    """Loads a model for requests. `on_progress` receives the share loaded so far, 0 to 1.

    `unset_flag_address`: address of a cancel flag that is never set, in force between requests.

    Raises:
        LlmdError: the file is invalid, or the machine has too little memory for it.
    """
    priority_problem = machine.set_priority(load.engine.prio)
    opened = open_model(load, on_progress)
    opened.context.set_abort_flag(unset_flag_address)
    vocabulary = opened.model.vocabulary
    match = recognise(opened.model.name, vocabulary.declared, vocabulary.find, load.order)
    table = HealingTable(vocabulary.text_pieces())
    engine = LoadedModel(opened.context, vocabulary, match, opened.cache, table)
    return engine, _loaded_message(opened, Path(load.path), match, priority_problem)


@dataclass(frozen=True, slots=True)
class LoadSetup:
    """Holds a load plan and what the plan was made from."""

    engine: EngineConfig
    machine: memory_plan.DescribedMachine
    shape: memory_plan.Shape
    plan: memory_plan.LoadPlan


@dataclass(frozen=True, slots=True)
class OpenModel:
    """Holds a loaded model that has evaluated its first tokens."""

    model: llama.Model
    context: llama.Context
    cache: KvCache
    setup: LoadSetup

    def close(self) -> None:
        self.context.close()
        self.model.close()


def open_model(load: messages.Load, on_progress: Callable[[float], None]) -> OpenModel:
    """Opens a model and its context, with a smaller plan when an attempt runs out of memory.

    Raises:
        LlmdError: the file is invalid, or the machine has too little memory for it.
    """
    path = Path(load.path)
    header = check_model(path)
    for adapter, _ in load.adapters:
        check_adapter(Path(adapter), header)
    adapter_bytes = sum(Path(adapter).stat().st_size for adapter, _ in load.adapters)
    shape = replace(whole_shape(path, header), adapter_bytes=adapter_bytes)
    setup = plan_setup(load, path, shape)

    def attempt(plan: memory_plan.LoadPlan) -> OpenModel:
        return _open_with_plan(load, path, replace(setup, plan=plan), on_progress)

    return memory_plan.retry_smaller(
        attempt, load.engine, setup.machine, setup.shape, setup.plan, path.name
    )


def plan_setup(load: messages.Load, path: Path, shape: memory_plan.Shape) -> LoadSetup:
    """Plans how to load a model on this machine, `load.n_shrunk` steps below the best plan.

    Raises:
        LlmdError: the model does not fit, or the user's settings contradict each other.
    """
    host = describe_machine()
    plan = memory_plan.plan_load(load.engine, host, shape, path.name)
    for _ in range(load.n_shrunk):
        if smaller := memory_plan.smaller_plan(load.engine, host, shape, plan, path.name):
            plan, host = smaller
    return LoadSetup(load.engine, host, shape, plan)


def describe_machine() -> memory_plan.DescribedMachine:
    """Describes this machine's cores, free memory and GPUs at this moment."""
    gpus, is_unified = llama.gpus()
    return memory_plan.DescribedMachine(
        llama.backend(),
        machine.n_cores(),
        machine.n_fast_cores(),
        machine.memory_bytes(),
        machine.available_bytes(),
        gpus,
        is_unified,
        is_calm=machine.read_memory().level == machine.NORMAL_PRESSURE,
        ram_wired_bytes=machine.wired_bytes(),
        built_for=gpu_backends(llama.backends()),
        gpu_problem="" if gpus else llama.gpu_problem(),
        variables=machine.gpu_variables(os.environ),
    )


def _open_with_plan(
    load: messages.Load,
    path: Path,
    setup: LoadSetup,
    on_progress: Callable[[float], None],
) -> OpenModel:
    plan = setup.plan
    model = llama.Model(
        path,
        n_gpu_layers=plan.n_gpu_layers,
        use_mmap=plan.mmap,
        on_progress=on_progress,
        use_mlock=plan.mlock,
        tensor_split=plan.tensor_split,
        use_gpu=setup.machine.backend != "cpu",
    )
    try:
        for adapter, scale in load.adapters:
            model.apply_adapter(Path(adapter), scale)
        context = llama.Context(model, plan)
        try:
            warmed = warm_up(model, context, _least_batch(load.engine, plan))
        except BaseException:
            context.close()
            raise
        plan = replace(plan, n_batch=context.n_batch, n_ubatch=min(plan.n_ubatch, context.n_batch),
                       prefill_per_s=warmed.prefill_per_s)  # fmt: skip
        return OpenModel(model, context, warmed.cache, replace(setup, plan=plan))
    except BaseException:
        model.close()
        raise


def _least_batch(engine: EngineConfig, plan: memory_plan.LoadPlan) -> int:
    """Returns the smallest batch that the user's settings allow."""
    if engine.n_batch != "auto":
        return plan.n_batch
    return 0 if engine.n_ubatch == "auto" else plan.n_ubatch


def _loaded_message(
    opened: OpenModel, path: Path, match: Match, priority_problem: str
) -> messages.Loaded:
    model, cache, setup = opened.model, opened.cache, opened.setup
    name, plan, shape = model.name or path.stem, setup.plan, setup.shape
    n_gpu_layers = shape.n_layers if plan.n_gpu_layers < 0 else plan.n_gpu_layers
    backend = setup.machine.backend
    notice = model_notice(name, match.family is PLAIN, cache.can_cut, cache.can_save)
    problems = (memory_plan.gpu_problem(setup.machine),
                memory_plan.plan_problem(setup.machine, shape, plan))  # fmt: skip
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
        notice=". ".join(filter(None, (notice, *problems, priority_problem))),
        plan=memory_plan.explain_plan(
            setup.engine, setup.machine, shape, plan, llama.has_params_fit()
        ),
        planned_bytes=plan.memory.ram_bytes if plan.memory else 0,
    )


def model_notice(name: str, is_plain: bool, can_cut: bool, can_save: bool) -> str:
    """Returns the limits of a model that the user should know; empty: the model has none."""
    limits = []
    if is_plain:
        limits.append(
            "has no FIM tokens; it continues the text before the cursor and cannot see what"
            " follows. Choose a model trained for infilling"
        )
    if not can_cut:
        limits.append("cannot remove single KV cells; every request evaluates its whole prompt")
    elif not can_save:
        limits.append(
            "cannot save its KV cells; each switch to another document evaluates the whole prompt"
        )
    return f"Model `{name}` " + ". It ".join(limits) if limits else ""


if __name__ == "__main__":  # run as a program by the daemon, which must not load llama.cpp itself
    print(msgspec.json.encode(describe_machine()).decode())
