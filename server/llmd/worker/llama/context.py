"""Evaluates tokens: the cells of the KV cache, their logits, and their state as bytes."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from llama_cpp import llama_cpp as c

from llmd.config import CacheType
from llmd.errors import DeviceError, EngineError
from llmd.models.memory_plan import LoadPlan
from llmd.worker.llama import library
from llmd.worker.llama.model import Model
from llmd.worker.llama.system_info import backend

Logits = npt.NDArray[np.float32]  # (n_vocab,), or (n,) for a selection of tokens
StateBytes = npt.NDArray[np.uint8]  # (n_bytes,)

_GGML_TYPES: dict[CacheType, int] = {
    "f16": c.GGML_TYPE_F16,
    "q8_0": c.GGML_TYPE_Q8_0,
    "q4_0": c.GGML_TYPE_Q4_0,
}


class Context:
    """Owns a llama_context with one sequence, and the llama_batch that feeds the context."""

    def __init__(self, model: Model, plan: LoadPlan) -> None:
        """
        Raises:
            EngineError: llama.cpp failed to create the context, most often for lack of memory.
        """
        self._model = model  # a context must not outlive its model
        library.clear_errors()
        self._handle: Any = c.llama_init_from_model(model.handle, _context_params(plan))
        if not self._handle:
            raise EngineError(
                f"KV cache cannot be created: llama.cpp reports `{library.last_error()}`"
            )
        self._apply_adapters(model.adapters)
        self._memory: Any = c.llama_get_memory(self._handle)
        self.n_ctx: int = c.llama_n_ctx(self._handle)
        self.n_batch = plan.n_batch  # may be lowered
        self.is_on_gpu = backend() != "cpu"
        self._n_vocab = model.vocabulary.n_tokens
        self._batch = c.llama_batch_init(plan.n_batch, 0, 1)
        shape = (plan.n_batch,)
        self._tokens = np.ctypeslib.as_array(self._batch.token, shape)
        self._positions = np.ctypeslib.as_array(self._batch.pos, shape)
        self._wants_logits = np.ctypeslib.as_array(self._batch.logits, shape)
        np.ctypeslib.as_array(self._batch.n_seq_id, shape)[:] = 1
        for idx in range(plan.n_batch):
            self._batch.seq_id[idx][0] = 0
        # The abort callback is libc's strlen, which reads the flag's byte without the interpreter.
        self._strlen = ctypes.cast(ctypes.CDLL(None).strlen, c.ggml_abort_callback)

    def close(self) -> None:
        if self._handle:
            c.llama_batch_free(self._batch)
            c.llama_free(self._handle)
            self._handle = None

    def _apply_adapters(self, adapters: Sequence[tuple[Any, float]]) -> None:
        if not adapters:
            return
        handles = (c.llama_adapter_lora_p_ctypes * len(adapters))(*(lora for lora, _ in adapters))
        scales = (ctypes.c_float * len(adapters))(*(scale for _, scale in adapters))
        if c.llama_set_adapters_lora(self._handle, handles, len(adapters), scales):
            raise EngineError("llama.cpp failed to apply the LoRA adapters to the model")

    def set_abort_flag(self, flag_address: int) -> None:
        """Makes later decodes return 2 (aborted) once the byte at `flag_address` is not zero.

        Invariant: the byte at `flag_address + 1` is zero. GPU backends ignore the flag.
        """
        library.expect_abort(flag_address)
        c.llama_set_abort_callback(self._handle, self._strlen, ctypes.c_void_p(flag_address))

    def decode(self, tokens: Sequence[int], start: int, n_logits: int) -> int:
        """Evaluates up to `n_batch` tokens from position `start`, and computes logits for the last
        `n_logits` of them. Returns llama_decode's code: 0, 1 (no room), 2 (aborted), negative
        (error). A GPU may still be evaluating, and fail later."""
        library.clear_errors()
        n_tokens = len(tokens)
        self._tokens[:n_tokens] = tokens
        self._positions[:n_tokens] = range(start, start + n_tokens)
        self._wants_logits[: n_tokens - n_logits] = 0
        self._wants_logits[n_tokens - n_logits : n_tokens] = 1
        self._batch.n_tokens = n_tokens
        return int(c.llama_decode(self._handle, self._batch))

    def failure(self, what: str) -> EngineError:
        """Returns the error to raise where llama.cpp failed at `what`, with llama.cpp's reason."""
        kind = DeviceError if self.is_on_gpu else EngineError
        return kind(f"llama.cpp failed to {what}: {library.last_error()}")

    def logits(self, n_before: int = 0) -> Logits:
        """Returns a copy of the logits, float32 of shape `(n_vocab,)`, of one decoded token.

        `n_before`: how many tokens before the last decoded token.

        Raises:
            EngineError: the last decode computed no logits for that token, or failed on a GPU
                after `decode` had returned: the logits are then those of an earlier decode.
        """
        pointer = c.llama_get_logits_ith(self._handle, -1 - n_before)  # waits for a GPU
        if library.has_errors():
            raise self.failure("evaluate tokens")
        if not pointer:
            raise EngineError(f"llama.cpp has no logits for token {n_before} before the last")
        return np.ctypeslib.as_array(pointer, (self._n_vocab,)).copy()

    def seq_rm(self, start: int) -> bool:
        """Removes the cells from position `start` on. Returns False if the memory cannot be cut."""
        return bool(c.llama_memory_seq_rm(self._memory, 0, start, -1))

    def clear(self) -> None:
        c.llama_memory_clear(self._memory, True)

    def state(self) -> StateBytes:
        """Returns a copy of all cells, uint8 of shape `(n_bytes,)`.

        Raises:
            EngineError: llama.cpp could not copy the cells.
        """
        n_bytes = int(c.llama_state_seq_get_size(self._handle, 0))
        state = np.empty(n_bytes, np.uint8)
        n_copied = n_bytes and c.llama_state_seq_get_data(self._handle, _address(state), n_bytes, 0)
        if not n_bytes or n_copied != n_bytes:
            raise EngineError("llama.cpp failed to copy the cells of the KV cache")
        return state

    def restore(self, state: StateBytes) -> bool:
        """Replaces all cells by those of `state`. Returns False on failure: the cells are then
        undefined."""
        n_read = c.llama_state_seq_set_data(self._handle, _address(state), state.size, 0)
        return bool(n_read == state.size)


def _address(state: StateBytes) -> Any:
    """Returns the array's address, valid for the duration of one call."""
    return ctypes.byref(ctypes.c_uint8.from_buffer(state.data))


def _context_params(plan: LoadPlan) -> Any:
    params = c.llama_context_default_params()
    params.n_ctx = plan.n_ctx
    params.n_batch, params.n_ubatch = plan.n_batch, plan.n_ubatch or plan.n_batch
    params.n_seq_max = 1
    params.n_threads = params.n_threads_batch = plan.threads
    params.type_k = _GGML_TYPES[plan.cache_type_k]
    params.type_v = _GGML_TYPES[plan.cache_type_v]
    params.flash_attn_type = (
        c.LLAMA_FLASH_ATTN_TYPE_ENABLED if plan.flash_attn else c.LLAMA_FLASH_ATTN_TYPE_DISABLED
    )
    params.kv_unified = True
    params.swa_full = True  # otherwise the last cells of a sliding-window model cannot be removed
    params.no_perf = True
    return params
