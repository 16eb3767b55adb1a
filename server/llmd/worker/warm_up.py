"""Evaluates trial tokens after a load, so that the first request waits for nothing, and learns what
the model's memory can do and how fast a GPU is.

A trial that runs out of memory raises, so that the load can be retried with a smaller plan.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from llmd.worker import llama
from llmd.worker.kv_cache import KvCache

_N_DRAFT = 4  # a GPU has kernels of their own for 2 to 8 tokens, as a key takes
_STEP, _WORK_S = 64, 0.1


@dataclass(frozen=True, slots=True)
class WarmUp:
    """Holds the empty cache of a loaded model.

    `prefill_per_s`: measured tokens per second of a GPU; 0: a CPU, which is not measured.
    """

    cache: KvCache
    prefill_per_s: float = 0.0


def warm_up(model: llama.Model, context: llama.Context) -> WarmUp:
    """Evaluates one token, which reads all weights, and removes a second, which tests whether the
    memory can be cut. On a GPU it also compiles the kernels of prefill and short batches.

    Raises:
        EngineError: llama.cpp failed, most often for lack of memory.
    """
    vocabulary = model.vocabulary
    token = max(vocabulary.bos, vocabulary.eos, 0)
    trial = KvCache(context)
    for _ in range(2):
        trial.decode([token])
    # Some recurrent memories can remove one token, but no more.
    can_cut = trial.keep(1) == 1 and not model.is_recurrent
    trial.clear()
    prefill_per_s = _warm_gpu(trial, context, token) if context.is_on_gpu else 0.0
    # A sliding-window state holds only the window's cells, so it cannot be cut once restored.
    can_save = can_cut and not 0 < model.n_window < context.n_ctx
    return WarmUp(KvCache(context, can_cut, can_save), prefill_per_s)


def _warm_gpu(trial: KvCache, context: llama.Context, token: int) -> float:
    """Returns the prefill speed in tokens per second. The first batch of a size compiles kernels,
    so the second is measured."""
    n_batch = min(_STEP, context.n_batch)
    for size in (_N_DRAFT, n_batch):
        _evaluate(trial, context, [token] * size)
    start_s = time.perf_counter()
    _evaluate(trial, context, [token] * n_batch)
    prefill_per_s = n_batch / max(time.perf_counter() - start_s, 1e-6)
    if (size := batch_size(prefill_per_s, context.n_batch)) > n_batch:
        _evaluate(trial, context, [token] * size)  # its buffers too
    return prefill_per_s


def _evaluate(trial: KvCache, context: llama.Context, tokens: list[int]) -> None:
    trial.decode(tokens)
    context.logits()  # waits until a GPU has finished
    trial.clear()


def batch_size(prefill_per_s: float, n_batch_max: int) -> int:
    """Returns the tokens that a GPU evaluates at once: about 100 ms of work, since a GPU does not
    see a cancelled request before the batch's end. In steps of 64, the tile of Metal's kernels."""
    n_steps = max(1, round(_WORK_S * prefill_per_s / _STEP))
    return min(n_steps * _STEP, n_batch_max)
