"""llama.cpp through its C functions: model, vocabulary, context. The only importer of llama_cpp.

It knows nothing of requests, families or the mirror of the KV cache. One thread of the worker
calls it. llama.cpp's log is silent but for errors, which go to stderr; the last ones are kept.
"""

from __future__ import annotations

import ctypes
import re
import sys
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from llama_cpp import llama_cpp as c

from llmd.config import CacheType
from llmd.errors import EngineError, ModelError
from llmd.models.fit import LoadPlan, Shape
from llmd.prompt.families import Role

Logits = npt.NDArray[np.float32]
State = npt.NDArray[np.uint8]

_LEVEL_ERROR = 4  # ggml.h, enum ggml_log_level
_GGML_TYPES: dict[CacheType, int] = {
    "f16": c.GGML_TYPE_F16,
    "q8_0": c.GGML_TYPE_Q8_0,
    "q4_0": c.GGML_TYPE_Q4_0,
}
_N_CACHED_SEGMENTS = 64  # chosen: prefix, suffix and frame of a few documents
# Text that stands before a segment so that a sentencepiece vocabulary's own space goes before it.
# A control character is a byte token there, which merges with nothing.
_GUARDS = (b"\x01", b"\x02", b"\n", b"|")

_PIECE_BYTES = 256  # of most tokens
_NO_TEXT = c.LLAMA_TOKEN_ATTR_CONTROL | c.LLAMA_TOKEN_ATTR_UNKNOWN | c.LLAMA_TOKEN_ATTR_UNUSED

_errors: deque[str] = deque(maxlen=8)
_cancel_flag = ctypes.c_char()  # rebound by Context.watch


@c.llama_log_callback  # type: ignore[untyped-decorator]
def _log(level: int, text: bytes, _: int) -> None:
    if level == _LEVEL_ERROR:
        line = text.decode(errors="replace").strip()
        if _cancel_flag.value != b"\0":  # llama.cpp calls a decode that we aborted an error
            return
        _errors.append(line)
        print(line, file=sys.stderr, flush=True)


c.llama_log_set(_log, ctypes.c_void_p(0))
c.llama_backend_init()


def last_error() -> str:
    """The last line that llama.cpp logged as an error, or empty."""
    return _errors[-1] if _errors else ""


def backend() -> str:
    if not c.llama_supports_gpu_offload():
        return "cpu"
    return "metal" if sys.platform == "darwin" else "gpu"


class Model:
    """A loaded GGUF. Its contexts and vocabulary live no longer than it does."""

    def __init__(
        self,
        path: Path,
        n_gpu_layers: int = -1,
        use_mmap: bool = True,
        vocab_only: bool = False,
        on_progress: Callable[[float], None] | None = None,
    ) -> None:
        """The caller has read the file's header (models/header): native code trusts it.

        Raises:
            ModelError: llama.cpp cannot load the file.
        """

        @c.llama_progress_callback  # type: ignore[untyped-decorator]
        def report(share: float, _: int) -> bool:
            if on_progress:
                on_progress(share)
            return True

        params = c.llama_model_default_params()
        params.n_gpu_layers = n_gpu_layers
        params.load_mode = c.LLAMA_LOAD_MODE_MMAP if use_mmap else c.LLAMA_LOAD_MODE_NONE
        params.vocab_only = vocab_only
        params.progress_callback = report
        _errors.clear()
        self.handle: Any = c.llama_model_load_from_file(str(path).encode(), params)
        if not self.handle:
            said = last_error() or "no reason given"
            raise ModelError(f"Model file `{path}` cannot be loaded: llama.cpp says `{said}`")
        self.vocabulary = Vocabulary(self)

    def close(self) -> None:
        if self.handle:
            c.llama_model_free(self.handle)
            self.handle = None

    def meta(self, key: str) -> str:
        """A metadata value as text, or empty."""
        buffer = ctypes.create_string_buffer(1024)
        n_bytes = c.llama_model_meta_val_str(self.handle, key.encode(), buffer, len(buffer))
        return buffer.value.decode(errors="replace") if n_bytes >= 0 else ""

    @property
    def name(self) -> str:
        return self.meta("general.name")

    @property
    def quantisation(self) -> str:
        name = c.llama_ftype_name(c.llama_model_ftype(self.handle))
        return name.decode() if name else ""

    @property
    def is_recurrent(self) -> bool:
        """Whether some of its layers keep one state that every token changes."""
        return bool(c.llama_model_is_recurrent(self.handle) or c.llama_model_is_hybrid(self.handle))

    @property
    def n_window(self) -> int:
        """How far some of its layers look back, in tokens; 0: all of them look at everything."""
        return int(c.llama_model_n_swa(self.handle))

    @property
    def shape(self) -> Shape:
        n_head = max(c.llama_model_n_head(self.handle), 1)
        declared = self.meta(f"{self.meta('general.architecture')}.attention.key_length")
        return Shape(
            n_layers=c.llama_model_n_layer(self.handle),
            n_head_kv=c.llama_model_n_head_kv(self.handle),
            head_dim=int(declared or c.llama_model_n_embd(self.handle) // n_head),
            n_ctx_train=c.llama_model_n_ctx_train(self.handle),
        )


class Vocabulary:
    """Text to tokens and back. Plain text never becomes a special token."""

    def __init__(self, model: Model) -> None:
        self._model = model  # keeps it alive
        self._handle: Any = c.llama_model_get_vocab(model.handle)
        self.n_tokens: int = c.llama_vocab_n_tokens(self._handle)
        self.bos: int = c.llama_vocab_bos(self._handle)
        self.eos: int = c.llama_vocab_eos(self._handle)
        self.add_bos: bool = c.llama_vocab_get_add_bos(self._handle) and self.bos >= 0
        self._buffer = ctypes.create_string_buffer(_PIECE_BYTES)
        self._attrs = [c.llama_vocab_get_attr(self._handle, i) for i in range(self.n_tokens)]
        self._user_defined = self._user_defined_spellings()
        self._guard = self._working_guard()
        self._segments: OrderedDict[str, tuple[int, ...]] = OrderedDict()

    @property
    def declared(self) -> dict[Role, int]:
        """The FIM sentinels that the file names, or that llama.cpp knows by their spelling."""
        found: dict[Role, int] = {
            "pre": c.llama_vocab_fim_pre(self._handle),
            "suf": c.llama_vocab_fim_suf(self._handle),
            "mid": c.llama_vocab_fim_mid(self._handle),
        }
        return {role: token for role, token in found.items() if token >= 0}

    def find(self, spelling: str) -> int | None:
        """The token that is spelled exactly so."""
        tokens = self._raw(spelling.encode(), parse_special=True)
        if len(tokens) != 1 or self._text(tokens[0]) != spelling:
            return None
        return tokens[0]

    def is_eog(self, token: int) -> bool:
        return bool(c.llama_vocab_is_eog(self._handle, token))

    def piece(self, token: int) -> bytes:
        """The token's bytes; none for a control token."""
        buffer, size = self._buffer, _PIECE_BYTES
        n_bytes = c.llama_token_to_piece(self._handle, token, buffer, size, 0, False)
        if n_bytes < 0:
            buffer = ctypes.create_string_buffer(-n_bytes)
            n_bytes = c.llama_token_to_piece(self._handle, token, buffer, -n_bytes, 0, False)
        return ctypes.string_at(buffer, n_bytes)

    def text_pieces(self) -> list[tuple[bytes, int]]:
        """Bytes and id of every token that is text and nothing more (50,000 take 50 ms).

        In some vocabularies runs of whitespace are user-defined; they mean the same as text.
        """
        kinds = {attr for attr in set(self._attrs) if not attr & _NO_TEXT}
        found = [(self.piece(i), i) for i, attr in enumerate(self._attrs) if attr in kinds]
        return [(piece, i) for piece, i in found if self._is_text(piece, self._attrs[i])]

    @staticmethod
    def _is_text(piece: bytes, attr: int) -> bool:
        if attr & c.LLAMA_TOKEN_ATTR_USER_DEFINED:
            return bool(piece) and not piece.strip()
        return bool(piece) and (len(piece) == 1 or not attr & c.LLAMA_TOKEN_ATTR_BYTE)

    def tokenize(self, text: str) -> tuple[int, ...]:
        """The tokens of a whole segment, remembered by its text."""
        if (tokens := self._segments.get(text)) is None:
            tokens = tuple(token for part in self._cut(text) for token in self._guarded(part))
            self._segments[text] = tokens
            if len(self._segments) > _N_CACHED_SEGMENTS:
                self._segments.popitem(last=False)
        self._segments.move_to_end(text)
        return tokens

    def _cut(self, text: str) -> list[str]:
        """Cuts inside every user-defined spelling, which llama.cpp would match in any text.

        "a<pad>b" becomes "a<" and "pad>b".
        """
        if self._user_defined is None:
            return [text] if text else []
        parts, start = [], 0
        while match := self._user_defined.search(text, start):
            parts.append(text[start : match.start() + 1])
            start = match.start() + 1
        return [part for part in (*parts, text[start:]) if part]

    def _guarded(self, text: str) -> list[int]:
        encoded = text.encode(errors="replace")
        if not self._guard:
            return self._raw(encoded)
        for guard in (self._guard, *_GUARDS):
            before, tokens = self._raw(guard), self._raw(guard + encoded)
            if tokens[: len(before)] == before:
                return tokens[len(before) :]
        return self._raw(encoded)

    def _working_guard(self) -> bytes:
        """Empty where the vocabulary puts nothing before a text."""
        said = b"".join(map(self.piece, self._raw(b"a")))
        return b"" if said == b"a" else _GUARDS[0]

    def _raw(self, text: bytes, parse_special: bool = False) -> list[int]:
        capacity = len(text) + 8
        tokens = (c.llama_token * capacity)()
        n_tokens = c.llama_tokenize(
            self._handle, text, len(text), tokens, capacity, False, parse_special
        )
        if n_tokens < 0:
            raise EngineError(f"llama.cpp cannot tokenize a segment of {len(text)} bytes")
        return tokens[:n_tokens]

    def _text(self, token: int) -> str:
        return (c.llama_vocab_get_text(self._handle, token) or b"").decode(errors="replace")

    def _user_defined_spellings(self) -> re.Pattern[str] | None:
        """One character alone cannot be cut, and whitespace means the same either way."""
        found = {
            self._text(token)
            for token, attr in enumerate(self._attrs)
            if attr & c.LLAMA_TOKEN_ATTR_USER_DEFINED
        }
        found = {text for text in found if len(text) > 1 and text.strip()}
        if not found:
            return None
        return re.compile("|".join(map(re.escape, sorted(found, key=len, reverse=True))))


class Context:
    """A llama_context of one sequence, and the batch that feeds it."""

    def __init__(self, model: Model, plan: LoadPlan) -> None:
        """
        Raises:
            EngineError: llama.cpp cannot make it, mostly for want of memory.
        """
        self._model = model  # keeps it alive
        _errors.clear()
        self._handle: Any = c.llama_init_from_model(model.handle, _context_params(plan))
        if not self._handle:
            said = last_error() or "no reason given"
            raise EngineError(f"The KV cache cannot be set up: llama.cpp says `{said}`")
        self._memory: Any = c.llama_get_memory(self._handle)
        self.n_ctx: int = c.llama_n_ctx(self._handle)
        self.n_batch = plan.n_batch
        self._n_vocab = model.vocabulary.n_tokens
        self._batch = c.llama_batch_init(plan.n_batch, 0, 1)
        shape = (plan.n_batch,)
        self._tokens = np.ctypeslib.as_array(self._batch.token, shape)
        self._positions = np.ctypeslib.as_array(self._batch.pos, shape)
        self._wants_logits = np.ctypeslib.as_array(self._batch.logits, shape)
        np.ctypeslib.as_array(self._batch.n_seq_id, shape)[:] = 1
        for idx in range(plan.n_batch):
            self._batch.seq_id[idx][0] = 0
        # libc's strlen is the abort callback: it reads the flag's byte without the interpreter.
        self._strlen = ctypes.cast(ctypes.CDLL(None).strlen, c.ggml_abort_callback)

    def close(self) -> None:
        if self._handle:
            c.llama_batch_free(self._batch)
            c.llama_free(self._handle)
            self._handle = None

    def watch(self, flag_address: int) -> None:
        """From here on a decode ends with 2 once the byte at the address is not zero.

        Invariant: the byte after it is zero. GPU backends never look.
        """
        global _cancel_flag
        _cancel_flag = ctypes.c_char.from_address(flag_address)
        c.llama_set_abort_callback(self._handle, self._strlen, ctypes.c_void_p(flag_address))

    def decode(self, tokens: Sequence[int], start: int, n_logits: int) -> int:
        """Evaluates up to n_batch tokens from position `start`, the last `n_logits` of them with
        logits. Returns llama_decode's code: 0, 1 (no room), 2 (aborted), negative (error)."""
        n_tokens = len(tokens)
        self._tokens[:n_tokens] = tokens
        self._positions[:n_tokens] = range(start, start + n_tokens)
        self._wants_logits[: n_tokens - n_logits] = 0
        self._wants_logits[n_tokens - n_logits : n_tokens] = 1
        self._batch.n_tokens = n_tokens
        return int(c.llama_decode(self._handle, self._batch))

    def logits(self, n_before: int = 0) -> Logits:
        """Those of the `n_before`-th token before the last one that was decoded; a copy."""
        pointer = c.llama_get_logits_ith(self._handle, -1 - n_before)
        if not pointer:
            raise EngineError("llama.cpp has no logits for the last token")
        return np.ctypeslib.as_array(pointer, (self._n_vocab,)).copy()

    def seq_rm(self, start: int) -> bool:
        """Removes the cells from position `start` on. False where the model cannot do that."""
        return bool(c.llama_memory_seq_rm(self._memory, 0, start, -1))

    def clear(self) -> None:
        c.llama_memory_clear(self._memory, True)

    def state(self) -> State:
        """A copy of all cells, in memory of its own.

        Raises:
            EngineError: llama.cpp could not copy them.
        """
        n_bytes = int(c.llama_state_seq_get_size(self._handle, 0))
        state = np.empty(n_bytes, np.uint8)
        n_copied = n_bytes and c.llama_state_seq_get_data(self._handle, _at(state), n_bytes, 0)
        if not n_bytes or n_copied != n_bytes:
            raise EngineError("llama.cpp could not copy the cells of the KV cache")
        return state

    def restore(self, state: State) -> bool:
        """Puts the cells of `state` in the place of those that are there. False: it failed, and
        what is there cannot be trusted."""
        n_read = c.llama_state_seq_set_data(self._handle, _at(state), state.size, 0)
        return bool(n_read == state.size)


def _at(state: State) -> Any:
    """Its address, for the length of a call."""
    return ctypes.byref(ctypes.c_uint8.from_buffer(state.data))


def _context_params(plan: LoadPlan) -> Any:
    params = c.llama_context_default_params()
    params.n_ctx = plan.n_ctx
    params.n_batch = params.n_ubatch = plan.n_batch
    params.n_seq_max = 1
    params.n_threads = params.n_threads_batch = plan.threads
    params.type_k = _GGML_TYPES[plan.cache_type_k]
    params.type_v = _GGML_TYPES[plan.cache_type_v]
    params.flash_attn_type = (
        c.LLAMA_FLASH_ATTN_TYPE_ENABLED if plan.flash_attn else c.LLAMA_FLASH_ATTN_TYPE_DISABLED
    )
    params.kv_unified = True
    params.swa_full = True  # else the tail of a sliding-window model's cells cannot be cut
    params.no_perf = True
    return params
