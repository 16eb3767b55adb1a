"""Bytes of a GGUF to its fields and tensors, with hard bounds; a ModelError says which one did not
hold. A chat template is passed over like any other long text.

Sources: docs/gguf.md, ggml.h and gguf.cpp of ggml.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from struct import calcsize
from typing import TypeVar

from llmd.models.gguf.reader import (
    CHOOSE_ANOTHER,
    DOWNLOAD_AGAIN,
    U32,
    U64,
    Reader,
    reject,
    sanitize,
)
from llmd.models.memory_plan.model_shape import Shape

T = TypeVar("T")

MAX_ITEMS = 1 << 16  # real headers have at most some 100 fields and 3,000 tensors
MAX_ARRAY_ITEMS = 1 << 22
MAX_KEY_BYTES = (1 << 16) - 1  # docs/gguf.md
MAX_TENSOR_NAME_BYTES = 63  # ggml.h, GGML_MAX_NAME with its final NUL
MAX_DIMS = 4  # ggml.h, GGML_MAX_DIMS
MAX_ELEMENTS = (1 << 63) - 1  # ggml counts in int64_t
MAX_LAYERS = 512  # llama-hparams.h; longer arrays of numbers are not kept
MAX_TEXT_BYTES = 4096  # longer texts are not kept: chat templates, licences
_MIN_FIELD_BYTES = 8 + 1 + 4 + 1  # a key of one byte, a type, a value
_MIN_TENSOR_BYTES = 8 + 1 + 4 + 8 + 4 + 8  # a name of one byte, one dimension, a type, an offset
# Value types by number, docs/gguf.md, as struct's letters.
_SCALARS = {
    0: ("UINT8", "B"), 1: ("INT8", "b"), 2: ("UINT16", "H"), 3: ("INT16", "h"),
    4: ("UINT32", "I"), 5: ("INT32", "i"), 6: ("FLOAT32", "f"), 7: ("BOOL", "?"),
    10: ("UINT64", "Q"), 11: ("INT64", "q"), 12: ("FLOAT64", "d"),
}  # fmt: skip
_STRING, _ARRAY = 8, 9
# Tensor types by number: values in a block, bytes of a block. ggml-common.h; gaps were removed.
TENSOR_TYPES = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34),
    9: (32, 40), 10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210),
    15: (256, 292), 16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18),
    21: (256, 110), 22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8),
    28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17),
    40: (64, 36), 41: (128, 18), 42: (64, 18),
}  # fmt: skip

_OTHER_FORMATS = (  # how files begin that are saved in place of a GGUF, what they are, what to do
    (rb"\s*<", "is a web page", "download the file itself, not its page"),
    (rb"version https://git-lfs", "is a Git LFS pointer", "run `git lfs pull` where it lies"),
    (rb"\s*[{\[]", "is JSON text, perhaps a server's error", DOWNLOAD_AGAIN),
    (rb"PK\x03\x04|\x80[\x02-\x05]", "is a PyTorch or zip archive", "convert it to GGUF"),
    (rb".{8}\{", "is a safetensors file", "convert it to GGUF"),
    (rb"lmgg|tjgg|fmgg|algg", "is in the old GGML format", "take a GGUF of this model"),
)
TOKENS_KEY = "tokenizer.ggml.tokens"


@dataclass(frozen=True, slots=True)
class Field:
    kind: str  # "UINT32", "ARRAY of STRING"
    value: object  # None where it was passed over
    n_items: int = 1


@dataclass(frozen=True, slots=True)
class Fields:
    path: Path
    by_key: dict[str, Field]

    def get(self, key: str, default: T) -> T:
        """Of the very type in which llama.cpp reads the field: of the default's."""
        if key not in self.by_key:
            return default
        expected = {str: "STRING", int: "UINT32", bool: "BOOL"}[type(default)]
        expected = "UINT16" if key in ("split.no", "split.count") else expected
        field, problem = self.by_key[key], f"has a `{sanitize(key)}` of"
        if field.kind != expected:
            reject(self.path, f"{problem} type {field.kind}, expected {expected}", CHOOSE_ANOTHER)
        if not isinstance(field.value, type(default)):
            reject(self.path, f"{problem} over {MAX_TEXT_BYTES} bytes", CHOOSE_ANOTHER)
        return field.value

    def counts(self, key: str) -> tuple[int, ...]:
        """That of each layer, or the one of all; empty where there is no such field."""
        if key not in self.by_key:
            return ()
        field = self.by_key[key]
        if field.kind in ("ARRAY of UINT32", "ARRAY of INT32") and isinstance(field.value, tuple):
            return field.value
        return (self.get(key, 0),)


@dataclass(frozen=True, slots=True)
class Tensors:
    n_items: int
    n_bytes: int  # with their padding
    n_embedding_rows: int | None  # rows of token_embd.weight
    bytes_by_name: Mapping[str, int]  # bytes, by name


def read_counts(reader: Reader) -> tuple[int, int]:
    """Its numbers of tensors and of fields."""
    _check_version(reader)
    return _read_count(reader, "tensors", _MIN_TENSOR_BYTES), _read_count(
        reader, "fields", _MIN_FIELD_BYTES
    )


def _check_version(reader: Reader) -> None:
    if not reader.n_bytes:
        reject(reader.path, "is empty")
    file_start = reader.file.peek(64)[:64]
    for pattern, format_name, advice in _OTHER_FORMATS:
        if re.match(pattern, file_start, re.DOTALL):
            reject(reader.path, f"{format_name}, expected GGUF", advice)
    if file_start[:4] != b"GGUF"[: len(file_start)]:
        problem = f"is not GGUF: it begins with 0x{file_start[:4].hex()}, expected 0x47475546"
        reject(reader.path, problem, CHOOSE_ANOTHER)
    reader.skip(4)
    version = reader.read_number(U32)
    if version and version & 0xFFFF == 0:
        reject(reader.path, "is big-endian, expected little-endian", CHOOSE_ANOTHER)
    if version not in (2, 3):
        reject(reader.path, f"is GGUF version {version}, expected 2 or 3", CHOOSE_ANOTHER)


def _read_count(reader: Reader, name: str, min_bytes: int) -> int:
    reader.item = f"its number of {name}"
    n_items = reader.read_number(U64)
    max_items = min(MAX_ITEMS, (reader.n_bytes - reader.offset) // min_bytes)
    if n_items > max_items:
        reader.reject_damaged(f"is {n_items}, expected at most {max_items} in a file of this size")
    return n_items


def read_fields(reader: Reader, n_kv: int) -> Fields:
    fields: dict[str, Field] = {}
    for idx in range(n_kv):
        reader.item = f"field {idx + 1} of {n_kv}"
        key = reader.read_name(MAX_KEY_BYTES)
        reader.item = f"field `{sanitize(key)}`"
        if key in fields:
            reader.reject_damaged("is there twice")
        fields[key] = _read_value(reader, reader.read_number(U32), key)
    return Fields(reader.path, fields)


def _read_value(reader: Reader, kind: int, key: str) -> Field:
    if kind == _STRING:
        return Field("STRING", reader.read_text(MAX_TEXT_BYTES))
    if kind != _ARRAY:
        name, layout = _struct_layout(reader, kind, 1)
        return Field(name, reader.read_struct(layout)[0])
    kind, n_items = reader.read_number(U32), reader.read_number(U64)
    if kind == _ARRAY:
        reader.reject_damaged("is an array of arrays, which llama.cpp does not read")
    if n_items > MAX_ARRAY_ITEMS:
        reader.reject_damaged(f"has {n_items} items, expected at most {MAX_ARRAY_ITEMS}")
    if kind == _STRING:
        return Field("ARRAY of STRING", reader.read_strings(n_items, key == TOKENS_KEY), n_items)
    name, layout = _struct_layout(reader, kind, n_items)
    if n_items <= MAX_LAYERS:
        return Field(f"ARRAY of {name}", reader.read_struct(layout), n_items)
    reader.skip(calcsize(layout))
    return Field(f"ARRAY of {name}", None, n_items)


def _struct_layout(reader: Reader, kind: int, n_items: int) -> tuple[str, str]:
    """The name of a number's type, and so many of them for struct."""
    if kind not in _SCALARS:
        reader.reject_damaged(f"has value type {kind}, which GGUF does not have")
    name, letter = _SCALARS[kind]
    return name, f"<{n_items}{letter}"


def read_tensors(reader: Reader, n_tensors: int, fields: Fields) -> Tensors:
    alignment, sizes = _read_alignment(fields), dict[str, int]()
    end = n_bytes = 0  # of the last tensor: its end with padding, and that without
    n_embedded = None
    for idx in range(n_tensors):
        reader.item = f"tensor {idx + 1} of {n_tensors}"
        name = reader.read_name(MAX_TENSOR_NAME_BYTES)
        reader.item = f"tensor `{sanitize(name)}`"
        if name in sizes:
            reader.reject_damaged("is there twice")
        dims, size = _read_tensor(reader)
        sizes[name] = size
        _check_offset(reader, reader.read_number(U64), end, alignment)
        n_bytes = end + size
        end = _padded(n_bytes, alignment)
        if name == "token_embd.weight":
            n_embedded = dims[-1]
    needed = _padded(reader.offset, alignment) + n_bytes
    if n_tensors and needed > reader.n_bytes:
        reject(reader.path, f"is {reader.n_bytes} bytes, its tensors need {needed}")
    return Tensors(n_tensors, end, n_embedded, sizes)


def _read_alignment(fields: Fields) -> int:
    alignment, allowed = fields.get("general.alignment", 32), [1 << n for n in range(5, 17)]
    if (
        alignment not in allowed
    ):  # CPU buffers start at 32 or ggml aborts; 64 KiB is the largest page
        expected = f"a power of 2 from {allowed[0]} to {allowed[-1]}"
        reject(fields.path, f"has a `general.alignment` of {alignment}, expected {expected}")
    return alignment


def _read_tensor(reader: Reader) -> tuple[tuple[int, ...], int]:
    """Its dimensions, the row's length first, and its bytes."""
    n_dims = reader.read_number(U32)
    if not 1 <= n_dims <= MAX_DIMS:
        reader.reject_damaged(f"has {n_dims} dimensions, expected 1 to {MAX_DIMS}")
    dims = reader.read_struct(f"<{n_dims}q")
    if min(dims) < 1 or prod(dims) > MAX_ELEMENTS:
        shape = " x ".join(map(str, dims))
        reader.reject_damaged(f"has the shape {shape}, expected 1 to {MAX_ELEMENTS} elements")
    kind = reader.read_number(U32)
    if kind not in TENSOR_TYPES:
        problem = f"has {reader.item} of type {kind}, which this llama.cpp does not know"
        reject(reader.path, problem, CHOOSE_ANOTHER)
    n_block, block_bytes = TENSOR_TYPES[kind]
    if dims[0] % n_block:
        reader.reject_damaged(f"has rows of {dims[0]} values, expected whole blocks of {n_block}")
    return dims, prod(dims) // n_block * block_bytes


def _check_offset(reader: Reader, offset: int, expected: int, alignment: int) -> None:
    """llama.cpp takes no other order and no gaps."""
    if offset % alignment:
        reader.reject_damaged(f"lies at {offset}, expected a multiple of {alignment}")
    if offset != expected:
        reason = "overlaps the one before" if offset < expected else "leaves a gap"
        reader.reject_damaged(f"lies at {offset}, expected {expected}: it {reason}")


def _padded(n_bytes: int, alignment: int) -> int:
    return -(-n_bytes // alignment) * alignment


@dataclass(frozen=True, slots=True)
class Header:
    """Counts are 0 and texts empty where the file does not say. Of counts that differ between
    layers, the greatest."""

    architecture: str
    name: str
    kind: str  # general.type: model, adapter, mmproj
    file_type: int | None
    n_tensors: int
    n_kv: int
    n_vocab: int
    n_embedding_rows: int | None  # rows of token_embd.weight
    n_ctx_train: int
    n_layers: int
    embedding_length: int
    head_count: int
    head_count_kv: int
    key_length: int
    fim_token_ids: Mapping[str, int]  # by role: pre, suf, mid, pad, rep, sep
    split_no: int  # from 0
    split_count: int  # 1: all in one file
    tensor_bytes: int
    file_bytes: int
    bytes_by_tensor: Mapping[str, int]  # of the tensors in this file, by name
    shape: Shape  # as this file has it; `whole_shape` for all parts

    def key(self, suffix: str) -> str:
        """Of one of the architecture's own fields."""
        return f"{self.architecture}.{suffix}"
