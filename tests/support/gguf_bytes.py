"""Builds the bytes of GGUF files, also invalid ones. Shares no code with the gguf package or
llmd."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from struct import pack
from types import MappingProxyType
from typing import Any

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
_LETTERS = {
    U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "?",
    U64: "Q", I64: "q", F64: "d",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Raw:
    """Holds a value: the number of its type, and its bytes, which may be invalid."""

    kind: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Tensor:
    name: str | bytes
    dims: tuple[int, ...]
    offset: int
    kind: int = 0  # F32
    n_dims: int | None = None  # written in place of the true number


@dataclass(frozen=True, slots=True)
class Gguf:
    fields: Sequence[tuple[str | bytes, Raw]] = ()
    tensors: Sequence[Tensor] = ()
    data: bytes = b""
    magic: bytes = b"GGUF"
    version: int = 3
    n_tensors: int | None = None  # written in place of the true number
    n_kv: int | None = None  # written in place of the true number
    alignment: int = 32  # of the data, whatever `general.alignment` says

    def encode(self) -> bytes:
        n_tensors = len(self.tensors) if self.n_tensors is None else self.n_tensors
        n_kv = len(self.fields) if self.n_kv is None else self.n_kv
        parts = [self.magic, pack("<IQQ", self.version, n_tensors, n_kv)]
        parts += [text(key) + pack("<I", raw.kind) + raw.data for key, raw in self.fields]
        parts += map(_tensor, self.tensors)
        header = b"".join(parts)
        return header + bytes(-len(header) % self.alignment if self.tensors else 0) + self.data


def text(value: str | bytes, n_bytes: int | None = None) -> bytes:
    """Encodes a length and the text. `n_bytes` is written in place of the true length."""
    data = value.encode() if isinstance(value, str) else value
    return pack("<Q", len(data) if n_bytes is None else n_bytes) + data


def number(kind: int, value: float) -> Raw:
    return Raw(kind, pack(f"<{_LETTERS[kind]}", value))


def string(value: str | bytes, n_bytes: int | None = None) -> Raw:
    return Raw(STRING, text(value, n_bytes))


def array(
    kind: int, items: Sequence[str | bytes] | Sequence[float], n_items: int | None = None
) -> Raw:
    """Encodes an array. `n_items` is written in place of the true length."""
    data = b"".join(
        text(item) if isinstance(item, str | bytes) else pack(f"<{_LETTERS[kind]}", item)
        for item in items
    )
    return Raw(ARRAY, pack("<IQ", kind, len(items) if n_items is None else n_items) + data)


def _tensor(tensor: Tensor) -> bytes:
    n_dims = len(tensor.dims) if tensor.n_dims is None else tensor.n_dims
    dims = pack(f"<I{len(tensor.dims)}q", n_dims, *tensor.dims)
    return text(tensor.name) + dims + pack("<IQ", tensor.kind, tensor.offset)


def tiny(changes: Mapping[str, Raw | None] = MappingProxyType({}), **lies: Any) -> Gguf:
    """Returns a one-layer llama that llama.cpp can load. A change to None removes the field."""
    fields = [(key, raw) for key, raw in {**_FIELDS, **changes}.items() if raw is not None]
    tensors, n_bytes = placed(_SHAPES)
    return replace(Gguf(fields, tensors, bytes(n_bytes)), **lies)


def placed(shapes: Mapping[str, tuple[int, ...]], alignment: int = 32) -> tuple[list[Tensor], int]:
    """Returns consecutive F32 tensors and the size of their data in bytes."""
    tensors, end = [], 0
    for name, dims in shapes.items():
        tensors.append(Tensor(name, dims, end))
        end += -(-4 * prod(dims) // alignment) * alignment
    return tensors, end


TOKENS = [*(chr(letter) for letter in range(97, 123)), "ab", "<P>", "<S>", "<M>", "<E>", "\u0120"]
_N = len(TOKENS)
_FIELDS = {
    "general.architecture": string("llama"),
    "general.name": string("tiny"),
    "llama.context_length": number(U32, 64),
    "llama.embedding_length": number(U32, 32),
    "llama.block_count": number(U32, 1),
    "llama.feed_forward_length": number(U32, 32),
    "llama.attention.head_count": number(U32, 2),
    "llama.attention.head_count_kv": number(U32, 1),
    "llama.attention.layer_norm_rms_epsilon": number(F32, 1e-5),
    "llama.rope.dimension_count": number(U32, 16),
    "tokenizer.ggml.model": string("gpt2"),
    "tokenizer.ggml.pre": string("default"),
    "tokenizer.ggml.tokens": array(STRING, TOKENS),
    "tokenizer.ggml.token_type": array(I32, [1] * (_N - 5) + [3] * 4 + [1]),
    "tokenizer.ggml.merges": array(STRING, ["a b"]),
    "tokenizer.ggml.bos_token_id": number(U32, 30),
    "tokenizer.ggml.eos_token_id": number(U32, 30),
    "tokenizer.ggml.fim_pre_token_id": number(U32, 27),
    "tokenizer.ggml.fim_suf_token_id": number(U32, 28),
    "tokenizer.ggml.fim_mid_token_id": number(U32, 29),
}
_SHAPES = {
    "token_embd.weight": (32, _N),
    "output_norm.weight": (32,),
    "blk.0.attn_norm.weight": (32,),
    "blk.0.attn_q.weight": (32, 32),
    "blk.0.attn_k.weight": (32, 16),
    "blk.0.attn_v.weight": (32, 16),
    "blk.0.attn_output.weight": (32, 32),
    "blk.0.ffn_norm.weight": (32,),
    "blk.0.ffn_gate.weight": (32, 32),
    "blk.0.ffn_up.weight": (32, 32),
    "blk.0.ffn_down.weight": (32, 32),
}
