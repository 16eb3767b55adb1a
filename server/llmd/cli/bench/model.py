"""`llmd bench model`: how many tokens a second the model evaluates on this machine, by batch, depth
and cache type, and what to set for it. Loads the model itself, as the daemon's worker does.

A batch of 1 is decoding, one of 64 a prefill that can still be cancelled, those between are
drafts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from llmd.cli.bench.recommend import (
    BatchSpeed,
    EngineVariant,
    best_variant,
    config_lines,
    decode_speed,
    speed_chart,
    speed_table,
    speeds_json,
    variants,
)
from llmd.cli.progress import steps
from llmd.config import Config
from llmd.engine.process import load_message
from llmd.errors import BadInput, EngineError
from llmd.models import measured_speed, memory_plan
from llmd.models.resolve import resolve_model
from llmd.worker import llama
from llmd.worker.loader import LoadSetup, open_model

FILL = 64  # tokens at once, up to the depth
_STRIDE = 7919  # a prime: any tokens will do, as long as they differ


def run(
    args: argparse.Namespace, config: Config, about: Mapping[str, str]
) -> tuple[Mapping[str, str], str]:
    """Files by name, and what is printed.

    Raises:
        BadInput: an option asks for nothing.
        LlmdError: the model cannot be loaded.
    """
    if 0 in (*args.batch, *(args.threads or ()), args.repeat):
        raise BadInput("Options --batch, --threads and --repeat take 1 or more")
    load = load_message(config, resolve_model(config.model))
    path = Path(load.path)
    model, context, loaded = open_model(load, lambda _: None)
    context.close()
    found = _measure_all(args, model, loaded)
    if not found:
        raise EngineError(f"Model `{path.name}` runs with none of the cache types; see the log")
    measured_speed.keep(path, decode_speed(found))
    setup = {"model": path.name, "backend": loaded.machine.backend, **about}
    text = "\n\n".join([
        "\n".join(f"- {name}: {said}" for name, said in setup.items()),
        "Tokens a second, by how many are evaluated at once:",
        speed_table(found),
        "What to set for a key of 64 prompt tokens and 12 generated, in `config.toml`:",
        f"```toml\n{config_lines(found)}```",
    ])  # fmt: skip
    told = speeds_json(setup, found)
    files = {"model.md": text + "\n", "model.json": told + "\n", "model.svg": speed_chart(found)}
    return files, told if args.json else text


def _measure_all(
    args: argparse.Namespace, model: llama.Model, loaded: LoadSetup
) -> list[BatchSpeed]:
    """All cache types with the usual threads, then the best of them with others."""
    base, depths = loaded.plan, sorted(set(args.depth))
    n_ctx = depths[-1] + max(args.batch)
    plan = replace(base, n_ctx=n_ctx, n_batch=max(*args.batch, FILL))
    others = [n for n in args.threads or (1, base.threads) if n != base.threads]
    kinds = variants(loaded.shape, base.threads)
    found: list[BatchSpeed] = []
    with steps(len(kinds) + len(others), "bench") as advance:
        for way in kinds:
            found += _measure_variant(model, plan, way, args, depths)
            advance(f"{way.cache_type_k}, {way.cache_type_v}")
        for n_threads in others if found else ():
            way = msgspec.structs.replace(best_variant(found), threads=n_threads)
            found += _measure_variant(model, plan, way, args, depths)
            advance(f"{n_threads} threads")
    return found


def _measure_variant(
    model: llama.Model,
    plan: memory_plan.LoadPlan,
    way: EngineVariant,
    args: argparse.Namespace,
    depths: Sequence[int],
) -> list[BatchSpeed]:
    """None where llama.cpp cannot do it that way."""
    plan = replace(
        plan, cache_type_k=way.cache_type_k, cache_type_v=way.cache_type_v,
        flash_attn=way.flash_attn, threads=way.threads,
    )  # fmt: skip
    try:
        context = llama.Context(model, plan)
    except EngineError:
        return []
    try:
        return list(_measure_depths(context, model, way, args, depths))
    finally:
        context.close()


def _measure_depths(
    context: llama.Context,
    model: llama.Model,
    way: EngineVariant,
    args: argparse.Namespace,
    depths: Sequence[int],
) -> Iterator[BatchSpeed]:
    n_vocab = model.vocabulary.n_tokens
    tokens = [_STRIDE * n % n_vocab for n in range(context.n_ctx)]
    n_filled = 0
    for depth in depths:
        _fill(context, tokens, n_filled, depth)
        n_filled = depth
        for n_batch in args.batch:
            best_s = min(_time_batch(context, tokens, depth, n_batch) for _ in range(args.repeat))
            yield BatchSpeed(way, depth, n_batch, round(n_batch / best_s, 1))


def _fill(context: llama.Context, tokens: Sequence[int], start: int, end: int) -> None:
    for at in range(start, end, FILL):
        context.decode(tokens[at : min(at + FILL, end)], at, 1)


def _time_batch(context: llama.Context, tokens: Sequence[int], depth: int, n_batch: int) -> float:
    """Seconds; the cells are as before."""
    start_s = time.perf_counter()
    code = context.decode(tokens[depth : depth + n_batch], depth, 1)
    context.logits()  # a GPU has finished by then
    spent_s = time.perf_counter() - start_s
    if code:
        raise EngineError(f"llama.cpp does not evaluate {n_batch} tokens: code {code}")
    if not context.seq_rm(depth):
        context.clear()
        _fill(context, tokens, 0, depth)
    return spent_s
