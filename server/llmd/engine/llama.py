"""llama.cpp through its C interface: the only importer of llama_cpp.

Never the high-level `Llama` class: it compiles chat templates found in the file.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import llama_cpp as c
import numpy as np
import numpy.typing as npt

from llmd.engine.vocabulary import Attributes, split_spellings
from llmd.errors import ModelError
from llmd.models.fit import LoadPlan, Shape
from llmd.prompt.families import Role

_TYPES = {"f16": c.GGML_TYPE_F16, "q8_0": c.GGML_TYPE_Q8_0, "q4_0": c.GGML_TYPE_Q4_0}
_last_error = [""]

GGML_LOG_LEVEL_ERROR = 4  # ggml.h; the binding lacks it


def _log(level: int, text: bytes, _: Any) -> None:
    """llama.cpp is quiet; its last error line is kept, for the sentence about a failed load."""
    if level == GGML_LOG_LEVEL_ERROR:
        _last_error[0] = text.decode("utf-8", "replace").strip()


_log_callback = c.llama_log_callback(_log)  # llama.cpp calls it for as long as the process lives


def start_backend() -> None:
    c.llama_log_set(_log_callback, ctypes.c_void_p(0))
    c.llama_backend_init()


def backend() -> str:
    if not c.llama_supports_gpu_offload():
        return "cpu"
    return "metal" if sys.platform == "darwin" else "gpu"


class Model:
    """A loaded GGUF."""

    def __init__(
        self,
        path: str,
        n_gpu_layers: int = -1,
        use_mmap: bool = True,
        vocab_only: bool = False,
        on_progress: Callable[[float], None] = lambda _: None,
    ) -> None:
        """
        Raises:
            ModelError: llama.cpp can't load the file.
        """
        params = c.llama_model_default_params()
        params.n_gpu_layers = n_gpu_layers
        params.load_mode = c.LLAMA_LOAD_MODE_MMAP if use_mmap else c.LLAMA_LOAD_MODE_NONE
        params.vocab_only = vocab_only

        def progress(share: float, _: Any) -> bool:
            on_progress(share)
            return True

        params.progress_callback = c.llama_progress_callback(progress)
        self.handle = c.llama_model_load_from_file(path.encode(), params)
        if not self.handle:
            raise ModelError(f"Model file `{path}` can't be loaded: {_last_error[0]}")
        self.vocabulary = Vocabulary(self.handle)

    def metadata(self, key: str) -> str:
        buffer = ctypes.create_string_buffer(1024)
        n_bytes = c.llama_model_meta_val_str(self.handle, key.encode(), buffer, len(buffer))
        return buffer.value.decode("utf-8", "replace") if n_bytes >= 0 else ""

    @property
    def name(self) -> str:
        return self.metadata("general.name")

    @property
    def quantisation(self) -> str:
        name = c.llama_ftype_name(c.llama_model_ftype(self.handle))
        return name.decode() if name else "?"

    @property
    def shape(self) -> Shape:
        n_head = max(1, c.llama_model_n_head(self.handle))
        return Shape(
            n_layers=c.llama_model_n_layer(self.handle),
            n_head_kv=c.llama_model_n_head_kv(self.handle),
            head_dim=c.llama_model_n_embd(self.handle) // n_head,
            n_ctx_train=c.llama_model_n_ctx_train(self.handle),
        )


class Vocabulary:
    """Text to tokens and back. Text is text: no spelling in it becomes a special token."""

    CACHED_TEXTS = 64

    def __init__(self, model: Any) -> None:
        self._vocab = c.llama_model_get_vocab(model)
        self.n_tokens = c.llama_vocab_n_tokens(self._vocab)
        self._guard = self._find_guard()
        self._spellings = self._user_defined()
        self.tokenize = lru_cache(self.CACHED_TEXTS)(self._tokenize)

    @property
    def opening(self) -> tuple[int, ...]:
        """The beginning-of-text token, for a model that wants one."""
        bos = c.llama_vocab_bos(self._vocab)
        return (bos,) if c.llama_vocab_get_add_bos(self._vocab) and bos >= 0 else ()

    @property
    def declared(self) -> dict[Role, int]:
        """The sentinels that the file names by id or that llama.cpp knows by spelling."""
        found: dict[Role, int] = {
            "pre": c.llama_vocab_fim_pre(self._vocab),
            "suf": c.llama_vocab_fim_suf(self._vocab),
            "mid": c.llama_vocab_fim_mid(self._vocab),
        }
        return {role: token for role, token in found.items() if token >= 0}

    def is_eog(self, token: int) -> bool:
        return bool(c.llama_vocab_is_eog(self._vocab, token))

    def find(self, spelling: str) -> int | None:
        """The special token of this spelling."""
        tokens = self._raw(spelling.encode(), parse_special=True)
        if len(tokens) == 2 and not self._text(tokens[0]).strip("▁ "):
            tokens = tokens[1:]  # sentencepiece puts a space in front
        if len(tokens) == 1 and self._text(tokens[0]) == spelling:
            return tokens[0]
        return None

    def piece(self, token: int) -> bytes:
        buffer = ctypes.create_string_buffer(256)
        n_bytes = c.llama_token_to_piece(self._vocab, token, buffer, len(buffer), 0, False)
        return buffer.raw[: max(n_bytes, 0)]

    def _tokenize(self, text: str) -> tuple[int, ...]:
        parts = split_spellings(text, self._spellings)
        return tuple(token for part in parts for token in self._plain(part))

    def _plain(self, text: str) -> list[int]:
        """Sentencepiece vocabularies put a space before each text: it goes before a guard."""
        data = text.encode("utf-8", "replace")
        if not self._guard:
            return self._raw(data)
        guard = self._raw(self._guard)
        return self._raw(self._guard + data)[len(guard) :]

    def _raw(self, data: bytes, parse_special: bool = False) -> list[int]:
        size = len(data) + 8
        tokens = (c.llama_token * size)()
        n_tokens = c.llama_tokenize(
            self._vocab, data, len(data), tokens, size, False, parse_special
        )
        return list(tokens[: max(n_tokens, 0)])

    def _find_guard(self) -> bytes:
        if c.llama_vocab_type(self._vocab) != c.LLAMA_VOCAB_TYPE_SPM:
            return b""
        return b"\n"  # in these vocabularies a byte token, merged with nothing

    def _user_defined(self) -> Attributes:
        user_defined = c.LLAMA_TOKEN_ATTR_USER_DEFINED
        return tuple(
            text
            for token in range(self.n_tokens)
            if c.llama_vocab_get_attr(self._vocab, token) & user_defined
            and (text := self._text(token)).strip(" \n\t\r▁")
            and len(text) > 1
        )

    def _text(self, token: int) -> str:
        return (c.llama_vocab_get_text(self._vocab, token) or b"").decode("utf-8", "replace")


class Context:
    """One KV cache of one sequence, and evaluation into it."""

    SEQ_ID = 0

    def __init__(self, model: Model, plan: LoadPlan) -> None:
        """
        Raises:
            ModelError: no context of this plan can be made.
        """
        params = c.llama_context_default_params()
        params.n_ctx = plan.n_ctx
        params.n_batch = params.n_ubatch = plan.n_batch
        params.n_seq_max = 1
        params.n_threads = params.n_threads_batch = plan.threads
        params.kv_unified = True
        params.swa_full = True
        params.no_perf = True
        params.type_k, params.type_v = _TYPES[plan.cache_type_k], _TYPES[plan.cache_type_v]
        params.flash_attn_type = int(plan.flash_attn)
        self._handle = c.llama_init_from_model(model.handle, params)
        if not self._handle:
            raise ModelError(f"No context of {plan.n_ctx} tokens can be made: {_last_error[0]}")
        self.n_ctx, self.n_batch = c.llama_n_ctx(self._handle), plan.n_batch
        self._memory = c.llama_get_memory(self._handle)
        self._batch = c.llama_batch_init(plan.n_batch, 0, 1)
        self._n_vocab = model.vocabulary.n_tokens

    def abort_when(self, flag_address: int) -> None:
        """Aborts a decode when the byte there is not zero.

        The callback is libc's `strlen`, called about 460 times a token without any Python: of
        one byte and a zero after it, it is 1 or 0. llama.cpp reads it on the CPU backend only.
        """
        strlen = ctypes.cast(ctypes.CDLL(None).strlen, c.ggml_abort_callback)
        c.llama_set_abort_callback(self._handle, strlen, ctypes.c_void_p(flag_address))

    def decode(self, tokens: Sequence[int], start: int) -> int:
        """Evaluates at most n_batch tokens from position `start`; logits of the last are kept.

        Returns llama_decode's code: 0, 1 no cells left, 2 aborted, below 0 an error.
        """
        batch = self._batch
        batch.n_tokens = len(tokens)
        for i, token in enumerate(tokens):
            batch.token[i] = token
            batch.pos[i] = start + i
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = self.SEQ_ID
            batch.logits[i] = i == len(tokens) - 1
        return int(c.llama_decode(self._handle, batch))

    def logits(self) -> npt.NDArray[np.float32]:
        """Of the last token evaluated; valid until the next decode. Shape (n_vocab,)."""
        pointer = c.llama_get_logits_ith(self._handle, -1)
        return np.ctypeslib.as_array(pointer, shape=(self._n_vocab,))

    def remove_from(self, start: int) -> bool:
        """Removes the cells from position `start` on; False where this memory can't be cut."""
        return bool(c.llama_memory_seq_rm(self._memory, self.SEQ_ID, start, -1))

    def clear(self) -> None:
        c.llama_memory_clear(self._memory, True)
