"""Measures how many tokens per second the model evaluates on this machine (`llmd bench model`), by
batch, depth and cache type, and recommends settings. Loads the model in this process, as the
worker does.

A batch of 1 is decoding, a batch of 64 a prefill that can still be cancelled, batches between
these are verified drafts.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import msgspec

from llmd.cli.bench import model_speed_report
from llmd.cli.bench.model_speed_report import FILL, BatchSpeed, EngineVariant
from llmd.cli.progress import steps
from llmd.cli.report_files import write_report
from llmd.config import Config
from llmd.engine.process import load_message
from llmd.errors import BadInput, EngineError
from llmd.models import measured_speed
from llmd.models.memory_plan import LoadPlan
from llmd.models.resolve import resolve_model
from llmd.worker.llama import Context, Model
from llmd.worker.loader import LoadSetup, open_model

_STRIDE = 7919  # a prime: the tokens are arbitrary, but differ


def run(args: argparse.Namespace, config: Config, about: Mapping[str, str]) -> None:
    """
    Raises:
        BadInput: an option is 0, or the folder `--out` cannot be written.
        LlmdError: the model cannot be loaded.
    """
    if 0 in (*args.batch, *(args.threads or ()), args.repeat):
        raise BadInput("Options --batch, --threads and --repeat take 1 or more")
    load = load_message(config, resolve_model(config.model))
    path = Path(load.path)
    with closing(open_model(load, lambda _: None)) as opened:
        loaded = opened.setup
        opened.context.close()
        speeds = _measure_all(args, opened.model, loaded)
    if not speeds:
        raise EngineError(f"Model `{path.name}` runs with none of the cache types; see the log")
    measured_speed.record(path, model_speed_report.decode_speed(speeds))
    setup = {"model": path.name, "backend": loaded.machine.backend, **about}
    config_lines = model_speed_report.config_lines(speeds)
    text = "\n\n".join([
        "\n".join(f"- {name}: {value}" for name, value in setup.items()),
        "Tokens per second, by the number of tokens evaluated at once:",
        model_speed_report.speed_table(speeds),
        "Recommended settings for a key of 64 prompt tokens and 12 generated, in `config.toml`:",
        f"```toml\n{config_lines}```",
    ])  # fmt: skip
    data = {"setup": setup, "speeds": speeds, "proposal": config_lines}
    write_report(args, "model", text, data, model_speed_report.speed_charts(speeds))


def _measure_all(args: argparse.Namespace, model: Model, loaded: LoadSetup) -> list[BatchSpeed]:
    """Measures all cache types with the usual threads, then the best type with other threads."""
    base = loaded.plan
    n_ctx = max(args.depth) + max(args.batch)
    plan = replace(base, n_ctx=n_ctx, n_batch=max(*args.batch, FILL))
    threads = [n for n in args.threads or (1, base.threads) if n != base.threads]
    candidates = model_speed_report.variants(loaded.shape, base.threads)
    _print_duration(args, model, plan, len(candidates), threads)
    speeds: list[BatchSpeed] = []
    with steps(len(candidates) + len(threads), "bench") as advance:
        for variant in candidates:
            speeds += _measure_variant(args, model, plan, variant)
            advance(f"{variant.cache_type_k}, {variant.cache_type_v}")
        for n_threads in threads if speeds else ():
            variant = msgspec.structs.replace(
                model_speed_report.best_variant(speeds), threads=n_threads
            )
            speeds += _measure_variant(args, model, plan, variant)
            advance(f"{n_threads} threads")
    return speeds


def _print_duration(
    args: argparse.Namespace, model: Model, plan: LoadPlan, n_candidates: int, threads: list[int]
) -> None:
    """Estimates the duration from one short and one long batch with the planned settings."""
    with closing(Context(model, plan)) as context:
        tokens = _arbitrary_tokens(model, FILL)
        token_s, fill_s = (
            min(_time_batch(context, tokens, 0, n) for _ in range(2))
            for n in (1, min(FILL, plan.n_ctx))
        )
    variant_s = model_speed_report.run_time_s(token_s, fill_s, args.depth, args.batch, args.repeat)
    # Fewer threads take longer in proportion; more threads are not counted on to be faster.
    n_units = n_candidates + sum(max(1.0, plan.threads / n) for n in threads)
    minutes = n_units * variant_s / 60
    duration = f"{minutes:.0f} minutes" if minutes >= 1.5 else "a minute"
    n_settings = n_candidates + len(threads)
    print(f"Measuring {n_settings} settings, about {duration}", file=sys.stderr, flush=True)


def _measure_variant(
    args: argparse.Namespace, model: Model, plan: LoadPlan, variant: EngineVariant
) -> list[BatchSpeed]:
    """Returns the best of `--repeat` measurements for each depth and batch; nothing if llama.cpp
    does not support the variant."""
    plan = replace(
        plan, cache_type_k=variant.cache_type_k, cache_type_v=variant.cache_type_v,
        flash_attn=variant.flash_attn, threads=variant.threads,
    )  # fmt: skip
    try:
        context = Context(model, plan)
    except EngineError:
        return []
    speeds, n_filled = [], 0
    with closing(context):
        tokens = _arbitrary_tokens(model, context.n_ctx)
        for depth in sorted(set(args.depth)):
            _fill(context, tokens, n_filled, depth)
            n_filled = depth
            for n_batch in args.batch:
                times_s = [_time_batch(context, tokens, depth, n_batch) for _ in range(args.repeat)]
                speeds.append(BatchSpeed(variant, depth, n_batch, round(n_batch / min(times_s), 1)))
    return speeds


def _arbitrary_tokens(model: Model, n_tokens: int) -> list[int]:
    return [_STRIDE * n % model.vocabulary.n_tokens for n in range(n_tokens)]


def _fill(context: Context, tokens: Sequence[int], start: int, end: int) -> None:
    for first in range(start, end, FILL):
        context.decode(tokens[first : min(first + FILL, end)], first, 1)


def _time_batch(context: Context, tokens: Sequence[int], depth: int, n_batch: int) -> float:
    """Returns seconds. Leaves the cache's cells as they were."""
    start_s = time.perf_counter()
    code = context.decode(tokens[depth : depth + n_batch], depth, 1)
    context.logits()  # waits until a GPU has finished
    spent_s = time.perf_counter() - start_s
    if code:
        raise EngineError(f"llama.cpp cannot evaluate {n_batch} tokens at once: code {code}")
    if not context.seq_rm(depth):
        context.clear()
        _fill(context, tokens, 0, depth)
    return spent_s
