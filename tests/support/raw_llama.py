"""Generates greedily with llama.cpp's C functions, as a reference that shares no code with the
engine under test."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import llama_cpp
import numpy as np

N_CTX = 1024
N_PIECE_BYTES = 256


class RawModel:
    """Owns one model and one context with an f16 cache. `raw_model` creates and frees both."""

    def __init__(self, model: int, ctx: int) -> None:
        self._ctx = ctx
        self._vocab = llama_cpp.llama_model_get_vocab(model)
        self._n_vocab = llama_cpp.llama_vocab_n_tokens(self._vocab)

    def tokenize(self, text: str) -> list[int]:
        """Tokenizes without BOS and without special tokens."""
        data = text.encode()
        tokens = (llama_cpp.llama_token * (len(data) + 1))()
        n = llama_cpp.llama_tokenize(
            self._vocab, data, len(data), tokens, len(tokens), False, False
        )
        return list(tokens[:n])

    def text(self, tokens: Sequence[int]) -> str:
        return b"".join(map(self._piece, tokens)).decode(errors="replace")

    def greedy(self, prompt: Sequence[int], n_max: int) -> list[int]:
        """Returns at most `n_max` tokens after `prompt`, up to and including a newline, or up to an
        end token."""
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._ctx), True)
        tokens: list[int] = []
        self._eval(prompt)
        while len(tokens) < n_max:
            token = self._most_likely()
            if llama_cpp.llama_vocab_is_eog(self._vocab, token):
                break
            tokens.append(token)
            if b"\n" in self._piece(token):
                break
            self._eval([token])
        return tokens

    def _eval(self, tokens: Sequence[int]) -> None:
        array = (llama_cpp.llama_token * len(tokens))(*tokens)
        code = llama_cpp.llama_decode(self._ctx, llama_cpp.llama_batch_get_one(array, len(tokens)))
        assert code == 0, f"llama_decode gave {code} for {len(tokens)} tokens"

    def _most_likely(self) -> int:
        logits = llama_cpp.llama_get_logits_ith(self._ctx, -1)
        return int(np.argmax(np.ctypeslib.as_array(logits, shape=(self._n_vocab,))))

    def _piece(self, token: int) -> bytes:
        buffer = ctypes.create_string_buffer(N_PIECE_BYTES)
        n = llama_cpp.llama_token_to_piece(self._vocab, token, buffer, N_PIECE_BYTES, 0, False)
        return buffer.raw[:n]


@contextmanager
def raw_model(path: Path, adapter: Path | None = None) -> Iterator[RawModel]:
    llama_cpp.llama_backend_init()
    params = llama_cpp.llama_model_default_params()
    params.n_gpu_layers = 0
    params.use_extra_bufts = False  # as worker/llama/model has it on a CPU with AMX
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), params)
    assert model, f"llama.cpp does not load {path}"
    ctx_params = llama_cpp.llama_context_default_params()
    ctx_params.n_ctx = ctx_params.n_batch = N_CTX
    ctx = llama_cpp.llama_init_from_model(model, ctx_params)
    assert ctx, f"llama.cpp makes no context for {path}"
    try:
        if adapter:
            _apply(model, ctx, adapter)
        yield RawModel(model, ctx)
    finally:
        llama_cpp.llama_free(ctx)
        llama_cpp.llama_model_free(model)  # Frees its adapters too.


def _apply(model: int, ctx: int, adapter: Path) -> None:
    lora = llama_cpp.llama_adapter_lora_init(model, str(adapter).encode())
    assert lora, f"llama.cpp does not load {adapter}"
    adapters = (llama_cpp.llama_adapter_lora_p_ctypes * 1)(lora)
    code = llama_cpp.llama_set_adapters_lora(ctx, adapters, 1, (ctypes.c_float * 1)(1.0))
    assert code == 0, f"llama_set_adapters_lora gave {code}"
