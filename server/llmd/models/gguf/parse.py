"""Parses the fields and tensors of a GGUF within hard bounds. Raises a ModelError that names the
bound that was exceeded. Skips a chat template like any other long text.

Sources: docs/gguf.md, ggml.h and gguf.cpp of ggml.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from struct import calcsize
from typing import NoReturn, TypeVar

from llmd.models.gguf.byte_reader import (
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
MAX_LAYERS = 512  # llama-hparams.h; longer arrays of numbers are skipped
MAX_TEXT_BYTES = 4096  # longer texts (chat templates, licences) are skipped
_MIN_FIELD_BYTES = 8 + 1 + 4 + 1  # a key of one byte, a type, a value
_MIN_TENSOR_BYTES = 8 + 1 + 4 + 8 + 4 + 8  # a name of one byte, one dimension, a type, an offset
# Value types by number, docs/gguf.md, as struct's letters.
_SCALARS = {
    0: ("UINT8", "B"), 1: ("INT8", "b"), 2: ("UINT16", "H"), 3: ("INT16", "h"),
    4: ("UINT32", "I"), 5: ("INT32", "i"), 6: ("FLOAT32", "f"), 7: ("BOOL", "?"),
    10: ("UINT64", "Q"), 11: ("INT64", "q"), 12: ("FLOAT64", "d"),
}  # fmt: skip
_STRING, _ARRAY = 8, 9
# Tensor types by number: values per block, bytes per block. ggml-common.h; the missing numbers are
# types that ggml removed.
TENSOR_TYPES = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34),
    9: (32, 40), 10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210),
    15: (256, 292), 16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18),
    21: (256, 110), 22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8),
    28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17),
    40: (64, 36), 41: (128, 18), 42: (64, 18),
}  # fmt: skip

# Files that are often saved in place of a GGUF: start of the file, description, advice.
_OTHER_FORMATS = (
    (rb"\s*<", "is a web page", "download the file itself, not its page"),
    (rb"version https://git-lfs", "is a Git LFS pointer", "run `git lfs pull` in its repository"),
    (rb"\s*[{\[]", "is JSON, perhaps a server's error message", DOWNLOAD_AGAIN),
    (rb"PK\x03\x04|\x80[\x02-\x05]", "is a PyTorch or zip archive", "convert it to GGUF"),
    (rb".{8}\{", "is a safetensors file", "convert it to GGUF"),
    (rb"lmgg|tjgg|fmgg|algg", "is in the old GGML format", "download a GGUF of this model"),
)
TOKENS_KEY = "tokenizer.ggml.tokens"


@dataclass(frozen=True, slots=True)
class Field:
    """Holds one metadata value. `value` is None if the value was skipped, and a set of bytes for
    the tokens."""

    kind: str  # "UINT32", "ARRAY of STRING"
    value: object
    n_items: int = 1


@dataclass(frozen=True, slots=True)
class Fields:
    """Holds the metadata of one file."""

    path: Path
    by_key: dict[str, Field]

    def reject(self, problem: str, advice: str = CHOOSE_ANOTHER) -> NoReturn:
        reject(self.path, problem, advice)

    def get(self, key: str, default: T) -> T:
        """Returns the field's value, or the default if the field is missing.

        Raises:
            ModelError: the field's type is not the one that llama.cpp requires, which the type of
                the default stands for.
        """
        if key not in self.by_key:
            return default
        expected = {str: "STRING", int: "UINT32", bool: "BOOL"}[type(default)]
        expected = "UINT16" if key in ("split.no", "split.count") else expected
        field, problem = self.by_key[key], f"has a `{sanitize(key)}` of"
        if field.kind != expected:
            self.reject(f"{problem} type {field.kind}, expected {expected}")
        if not isinstance(field.value, type(default)):
            self.reject(f"{problem} more than {MAX_TEXT_BYTES} bytes")
        return field.value

    def counts(self, key: str) -> tuple[int, ...]:
        """Returns one count per layer, one count for all layers, or nothing if the field is
        missing."""
        if key not in self.by_key:
            return ()
        field = self.by_key[key]
        if field.kind in ("ARRAY of UINT32", "ARRAY of INT32") and isinstance(field.value, tuple):
            return field.value
        return (self.get(key, 0),)


@dataclass(frozen=True, slots=True)
class Tensors:
    """Summarises the tensors of one file."""

    n_bytes: int  # padding included
    n_embedding_rows: int | None  # rows of token_embd.weight
    bytes_by_name: Mapping[str, int]


def read_contents(reader: Reader) -> tuple[Fields, Tensors]:
    """Reads all of a header."""
    _check_version(reader)
    n_tensors = _read_count(reader, "tensor", _MIN_TENSOR_BYTES)
    fields = _read_fields(reader, _read_count(reader, "field", _MIN_FIELD_BYTES))
    return fields, _read_tensors(reader, n_tensors, fields)


def _check_version(reader: Reader) -> None:
    if not reader.file_bytes:
        reject(reader.path, "is empty")
    file_start = reader.file.peek(64)[:64]
    for pattern, format_name, advice in _OTHER_FORMATS:
        if re.match(pattern, file_start, re.DOTALL):
            reject(reader.path, f"{format_name}, expected GGUF", advice)
    if file_start[:4] != b"GGUF"[: len(file_start)]:
        problem = f"is not GGUF: it starts with 0x{file_start[:4].hex()}, expected 0x47475546"
        reject(reader.path, problem, CHOOSE_ANOTHER)
    reader.skip(4)
    version = reader.read_number(U32)
    if version and version & 0xFFFF == 0:
        reject(reader.path, "is big-endian, expected little-endian", CHOOSE_ANOTHER)
    if version not in (2, 3):
        reject(reader.path, f"is GGUF version {version}, expected 2 or 3", CHOOSE_ANOTHER)


def _read_count(reader: Reader, name: str, min_bytes: int) -> int:
    reader.item = f"the {name} count"
    n_items = reader.read_number(U64)
    max_items = min(MAX_ITEMS, (reader.file_bytes - reader.offset) // min_bytes)
    if n_items > max_items:
        reader.reject_damaged(f"is {n_items}, expected at most {max_items} in a file of this size")
    return n_items


def _read_fields(reader: Reader, n_kv: int) -> Fields:
    fields: dict[str, Field] = {}
    for idx in range(n_kv):
        reader.item = f"field {idx + 1} of {n_kv}"
        key = reader.read_name(MAX_KEY_BYTES)
        reader.item = f"field `{sanitize(key)}`"
        if key in fields:
            reader.reject_damaged("appears twice")
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
        reader.reject_damaged("is an array of arrays, which llama.cpp does not support")
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
    """Returns the name of a number's type, and the layout of `n_items` numbers for struct."""
    if kind not in _SCALARS:
        reader.reject_damaged(f"has value type {kind}, which GGUF does not define")
    name, letter = _SCALARS[kind]
    return name, f"<{n_items}{letter}"


def _read_tensors(reader: Reader, n_tensors: int, fields: Fields) -> Tensors:
    """Reads the tensors' descriptions, and checks that the file holds the tensors' data.

    Raises:
        ModelError: a description is invalid, or the file is too short.
    """
    alignment, sizes = _read_alignment(fields), dict[str, int]()
    end = n_bytes = 0  # end of the last tensor's data, with and without padding
    n_embedded = None
    for idx in range(n_tensors):
        reader.item = f"tensor {idx + 1} of {n_tensors}"
        name = reader.read_name(MAX_TENSOR_NAME_BYTES)
        reader.item = f"tensor `{sanitize(name)}`"
        if name in sizes:
            reader.reject_damaged("appears twice")
        dims, sizes[name] = _read_tensor(reader)
        _check_offset(reader, reader.read_number(U64), end, alignment)
        n_bytes = end + sizes[name]
        end = _padded(n_bytes, alignment)
        if name == "token_embd.weight":
            n_embedded = dims[-1]
    needed = _padded(reader.offset, alignment) + n_bytes
    if n_tensors and needed > reader.file_bytes:
        reject(reader.path, f"has {reader.file_bytes} bytes, expected {needed} for its tensors")
    return Tensors(end, n_embedded, sizes)


def _read_alignment(fields: Fields) -> int:
    alignment, allowed = fields.get("general.alignment", 32), [1 << n for n in range(5, 17)]
    # ggml aborts where CPU buffers are aligned to less than 32; 64 KiB is the largest page.
    if alignment not in allowed:
        expected = f"a power of 2 from {allowed[0]} to {allowed[-1]}"
        reject(fields.path, f"has a `general.alignment` of {alignment}, expected {expected}")
    return alignment


def _read_tensor(reader: Reader) -> tuple[tuple[int, ...], int]:
    """Returns a tensor's dimensions (row length first) and size in bytes."""
    n_dims = reader.read_number(U32)
    if not 1 <= n_dims <= MAX_DIMS:
        reader.reject_damaged(f"has {n_dims} dimensions, expected 1 to {MAX_DIMS}")
    dims = reader.read_struct(f"<{n_dims}q")
    if min(dims) < 1 or prod(dims) > MAX_ELEMENTS:
        shape = " x ".join(map(str, dims))
        reader.reject_damaged(f"has the shape {shape}, expected 1 to {MAX_ELEMENTS} elements")
    kind = reader.read_number(U32)
    if kind not in TENSOR_TYPES:
        problem = f"has {reader.item} of type {kind}, which this llama.cpp does not support"
        reject(reader.path, problem, CHOOSE_ANOTHER)
    n_block, block_bytes = TENSOR_TYPES[kind]
    if dims[0] % n_block:
        reader.reject_damaged(f"has rows of {dims[0]} values, expected a multiple of {n_block}")
    return dims, prod(dims) // n_block * block_bytes


def _check_offset(reader: Reader, offset: int, expected: int, alignment: int) -> None:
    """Checks that a tensor directly follows the previous one, as llama.cpp requires."""
    if offset % alignment:
        reader.reject_damaged(f"is at offset {offset}, expected a multiple of {alignment}")
    if offset != expected:
        reason = "overlaps the previous tensor" if offset < expected else "leaves a gap"
        reader.reject_damaged(f"is at offset {offset}, expected {expected}: it {reason}")


def _padded(n_bytes: int, alignment: int) -> int:
    return -(-n_bytes // alignment) * alignment


@dataclass(frozen=True, slots=True)
class Header:
    """Holds the metadata and tensor sizes of one file. Missing counts are 0 and missing texts are
    empty. Where a count differs between layers, the maximum is kept."""

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
    shape: Shape  # of this file's tensors; see `whole_shape` for all parts

    def key(self, suffix: str) -> str:
        """Returns the full key of an architecture's own field."""
        return f"{self.architecture}.{suffix}"
