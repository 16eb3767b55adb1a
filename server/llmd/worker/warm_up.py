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
_STRIDE = 7919  # a prime: the tokens are arbitrary, but differ


@dataclass(frozen=True, slots=True)
class WarmUp:
    """Holds the empty cache of a loaded model.

    `prefill_per_s`: measured tokens per second of a GPU; 0: a CPU, which is not measured.
    """

    cache: KvCache
    prefill_per_s: float = 0.0


def warm_up(model: llama.Model, context: llama.Context, min_batch: int = _STEP) -> WarmUp:
    """Evaluates one token, which reads all weights, and removes a second, which tests whether the
    memory can be cut. On a GPU it also compiles the kernels of prefill and short batches, and
    lowers `context.n_batch`, to `min_batch` at least, so that a batch takes about 100 ms.

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
    prefill_per_s = 0.0
    if context.is_on_gpu:
        # Different tokens: in a mixture of experts equal ones need few of the weights.
        tokens = [_STRIDE * n % vocabulary.n_tokens for n in range(context.n_batch)]
        prefill_per_s = _warm_gpu(trial, context, tokens, min_batch)
    # A sliding-window state holds only the window's cells, so it cannot be cut once restored.
    can_save = can_cut and not 0 < model.n_window < context.n_ctx
    return WarmUp(KvCache(context, can_cut, can_save), prefill_per_s)


def _warm_gpu(trial: KvCache, context: llama.Context, tokens: list[int], min_batch: int) -> float:
    """Returns the prefill speed in tokens per second. The first batch of a size compiles kernels,
    so the second is measured."""
    n_batch = min(_STEP, context.n_batch)
    for size in (min(_N_DRAFT, n_batch), n_batch):
        _evaluate(trial, context, tokens[:size])
    start_s = time.perf_counter()
    _evaluate(trial, context, tokens[:n_batch])
    prefill_per_s = n_batch / max(time.perf_counter() - start_s, 1e-6)
    context.n_batch = batch_size(prefill_per_s, min_batch, context.n_batch)
    if context.n_batch != n_batch:
        _evaluate(trial, context, tokens[: context.n_batch])  # its buffers too
    return prefill_per_s


def _evaluate(trial: KvCache, context: llama.Context, tokens: list[int]) -> None:
    trial.decode(tokens)
    context.logits()  # waits until a GPU has finished
    trial.clear()


def batch_size(prefill_per_s: float, min_batch: int, max_batch: int) -> int:
    """Returns the tokens that a GPU evaluates at once: about 100 ms of work, since a GPU does not
    see a cancelled request before the batch's end. In steps of 64, the tile of Metal's kernels."""
    n_steps = max(1, round(_WORK_S * prefill_per_s / _STEP))
    return min(max(n_steps * _STEP, min_batch), max_batch)
