"""Loads a GGUF file and reads the model's metadata."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from llama_cpp import llama_cpp as c

from llmd.errors import ModelError
from llmd.models.memory_plan import Shape
from llmd.worker.llama import library
from llmd.worker.llama.system_info import can_repack
from llmd.worker.llama.vocabulary import Vocabulary

_LOAD_MODES = {  # by mmap and mlock
    (False, False): c.LLAMA_LOAD_MODE_NONE,
    (True, False): c.LLAMA_LOAD_MODE_MMAP,
    (False, True): c.LLAMA_LOAD_MODE_MLOCK,
    (True, True): c.LLAMA_LOAD_MODE_MMAP_MLOCK,
}


class Model:
    """Owns a loaded llama_model. Contexts and vocabulary must not outlive the model."""

    def __init__(
        self,
        path: Path,
        n_gpu_layers: int = -1,
        use_mmap: bool = True,
        vocab_only: bool = False,
        on_progress: Callable[[float], None] | None = None,
        use_mlock: bool = False,
        tensor_split: Sequence[float] = (),
        use_gpu: bool = True,
    ) -> None:
        """Invariant: the caller checked the header (models/gguf/header); llama.cpp trusts the file.

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
        params.load_mode = _LOAD_MODES[use_mmap, use_mlock]
        if tensor_split:
            size = int(c.llama_max_devices())
            self._split = (ctypes.c_float * size)(*tensor_split[:size])
            params.tensor_split = self._split
        if not use_gpu:  # no device, or llama.cpp would compute large batches on it
            params.split_mode, params.main_gpu = c.LLAMA_SPLIT_MODE_NONE, -1
        params.use_extra_bufts = can_repack()
        params.vocab_only = vocab_only
        params.progress_callback = report
        library.clear_errors()
        self.handle: Any = c.llama_model_load_from_file(str(path).encode(), params)
        if not self.handle:
            raise ModelError(
                f"Model file `{path}` cannot be loaded: llama.cpp reports `{library.last_error()}`"
            )
        self.vocabulary = Vocabulary(self.handle)
        self.adapters: list[tuple[Any, float]] = []

    def apply_adapter(self, adapter: Path, scale: float) -> None:
        """Applies a LoRA adapter to contexts that are created later.

        Invariant: the caller checked the adapter's header.

        Raises:
            ModelError: llama.cpp rejects the adapter for this model.
        """
        library.clear_errors()
        handle: Any = c.llama_adapter_lora_init(self.handle, str(adapter).encode())
        if not handle:
            raise ModelError(
                f"Adapter `{adapter}` cannot be used: llama.cpp reports `{library.last_error()}`"
            )
        self.adapters.append((handle, scale))

    def close(self) -> None:
        if self.handle:
            c.llama_model_free(self.handle)
            self.handle = None

    def metadata(self, key: str) -> str:
        """Returns a metadata value as text; empty: the file has no such key."""
        buffer = ctypes.create_string_buffer(1024)
        n_bytes = c.llama_model_meta_val_str(self.handle, key.encode(), buffer, len(buffer))
        return buffer.value.decode(errors="replace") if n_bytes >= 0 else ""

    @property
    def name(self) -> str:
        return self.metadata("general.name")

    @property
    def quantisation(self) -> str:
        name = c.llama_ftype_name(c.llama_model_ftype(self.handle))
        return name.decode() if name else ""

    @property
    def is_recurrent(self) -> bool:
        """Returns whether any layer has a recurrent state, which every token changes."""
        return bool(c.llama_model_is_recurrent(self.handle) or c.llama_model_is_hybrid(self.handle))

    @property
    def n_window(self) -> int:
        """Returns the sliding window in tokens; 0: all layers attend to the whole context."""
        return int(c.llama_model_n_swa(self.handle))

    @property
    def shape(self) -> Shape:
        n_head = max(c.llama_model_n_head(self.handle), 1)
        declared = self.metadata(f"{self.metadata('general.architecture')}.attention.key_length")
        return Shape(
            n_layers=c.llama_model_n_layer(self.handle),
            n_head_kv=c.llama_model_n_head_kv(self.handle),
            head_dim=int(declared or c.llama_model_n_embd(self.handle) // n_head),
            n_ctx_train=c.llama_model_n_ctx_train(self.handle),
        )
