"""The gate before native code: reads a GGUF's header with hard bounds, and says what is wrong.

llama.cpp ends its process on some headers, so none reaches it that was not read here first. No
memory is mapped: a file that shrinks while it is read must end in a sentence, not in SIGBUS. A
chat template is passed over like any other long text.

Sources: docs/gguf.md, ggml.h and gguf.cpp of ggml; llama-vocab.cpp and llama-model.cpp of
llama.cpp for what ends the process.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from io import BufferedReader, FileIO
from math import prod
from pathlib import Path
from struct import Struct, calcsize, unpack
from typing import NoReturn, TypeVar

from llmd.errors import ModelError

T = TypeVar("T")

# Bounds. Real headers have at most some 100 fields, 3,000 tensors, 600,000 merges and 30 MB.
MAX_FIELDS = 1 << 16
MAX_TENSORS = 1 << 16
MAX_ARRAY_ITEMS = 1 << 22
MAX_HEADER_BYTES = 64 << 20  # and so at most 8 million strings are gone over
MAX_KEY_BYTES = (1 << 16) - 1  # docs/gguf.md
MAX_TENSOR_NAME_BYTES = 63  # ggml.h, GGML_MAX_NAME with its final NUL
MAX_DIMS = 4  # ggml.h, GGML_MAX_DIMS
MAX_ELEMENTS = (1 << 63) - 1  # ggml counts in int64_t
MAX_LAYERS = 512  # llama-hparams.h; more ends the process
MAX_TEXT_BYTES = 4096  # longer texts are not kept: chat templates, licences
_MIN_FIELD_BYTES = 8 + 1 + 4 + 1  # a key of one byte, a type, a value
_MIN_TENSOR_BYTES = 8 + 1 + 4 + 8 + 4 + 8  # a name of one byte, one dimension, a type, an offset
# ggml's CPU buffers start at multiples of 32 or the process ends; 64 KiB is the largest page.
_MIN_ALIGNMENT_BYTES, _MAX_ALIGNMENT_BYTES = 32, 1 << 16

_U32, _U64 = Struct("<I"), Struct("<Q")
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

_AGAIN = "download it again"
_OTHER = "choose another model"
_FOREIGN = (  # how files begin that are saved in place of a GGUF, what they are, what to do
    (rb"\s*<", "is a web page", "download the file itself, not its page"),
    (rb"version https://git-lfs", "is a Git LFS pointer", "run `git lfs pull` where it lies"),
    (rb"\s*[{\[]", "is JSON text, perhaps a server's error", _AGAIN),
    (rb"PK\x03\x04|\x80[\x02-\x05]", "is a PyTorch or zip archive", "convert it to GGUF"),
    (rb".{8}\{", "is a safetensors file", "convert it to GGUF"),
    (rb"lmgg|tjgg|fmgg|algg", "is in the old GGML format", "take a GGUF of this model"),
)
_FIM_KEYS = {"prefix": "pre", "suffix": "suf", "middle": "mid"}  # the old names
_FIM_KEYS |= {f"fim_{role}": role for role in ("pre", "suf", "mid", "pad", "rep", "sep")}
_TOKEN_ID = re.compile(r"tokenizer\.ggml\.(bos|eos|prefix|suffix|middle|fim_[a-z]{3})_token_id")
_TOKENS = "tokenizer.ggml.tokens"
_TOKEN_ARRAYS = {
    "tokens": ("ARRAY of STRING",),
    "token_type": ("ARRAY of INT32",),
    "scores": ("ARRAY of FLOAT32", "ARRAY of INT32"),
    "merges": ("ARRAY of STRING",),
}

# Not read from left to right, or not text. llama-arch.cpp, stable-diffusion.cpp, whisper.cpp.
_NOT_COMPLETING = re.compile(
    r"clip|whisper|.*bert.*|t5|t5encoder|.*-(embed|embedding)|wavtokenizer.*|.*tts|dream|llada.*"
    r"|rnd1|eagle3|dflash|.*-assistant|flux|sd[0-9x].*|aura|hidream|cosmos|ltxv|hyvid|wan|lumina2|"
    r"qwen_image|pig"
)
# Those that were tried. The others have asserts that a file can trip, and write no code.
_TOKENIZERS = ("gpt2", "llama", "gemma4")
# Without attention, so without heads.
_RECURRENT = re.compile(r"mamba2?|a?rwkv.*")
# Scalars that llama.cpp reads as UINT32, and between what bounds it survives them.
_SCALAR_LIMITS = {
    "context_length": (1, (1 << 31) - 1),
    "embedding_length": (1, 1 << 20),
    "block_count": (1, MAX_LAYERS),
    "nextn_predict_layers": (0, MAX_LAYERS),
    "expert_count": (0, 1024),
    "expert_group_count": (0, 1024),
    "expert_group_used_count": (0, 1024),
    "attention.key_length": (1, 1 << 16),
    "attention.value_length": (1, 1 << 16),
    "rope.dimension_count": (0, 1 << 16),
}
_NEEDED = ("context_length", "embedding_length", "block_count", "attention.head_count")
# One for all layers, or one for each.
_LAYER_LIMITS = {
    "attention.head_count": 1 << 16,
    "attention.head_count_kv": 1 << 16,
    "feed_forward_length": 1 << 24,
    "expert_used_count": 1024,
}
# Their graphs assert that keys, values and what is rotated of them are of one length.
_WHOLE_HEADS = re.compile(
    r"llama|qwen[23](moe)?|starcoder2|deepseek|codeshell|granite|mellum|seed_oss|maincoder|smollm3"
    r"|mistral3|internlm2|olmo"
)
_ROPE_SCALINGS = ("none", "linear", "yarn", "longrope")


@dataclass(frozen=True, slots=True)
class Header:
    """Counts are 0 and texts empty where the file does not say. Of counts that differ between
    layers, the greatest."""

    version: int
    architecture: str
    name: str
    kind: str  # general.type: model, adapter, mmproj
    file_type: int | None
    n_tensors: int
    n_kv: int
    n_vocab: int
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

    @property
    def has_vocabulary(self) -> bool:
        return self.n_vocab > 0


@dataclass(frozen=True, slots=True)
class _Field:
    kind: str  # "UINT32", "ARRAY of STRING"
    value: object  # None where it was passed over
    n_items: int = 1


@dataclass(frozen=True, slots=True)
class _Tensors:
    n_bytes: int
    n_embedded: int | None  # rows of token_embd.weight


@dataclass(frozen=True, slots=True)
class _Content:
    path: Path
    header: Header
    fields: dict[str, _Field]
    tensors: _Tensors

    def get(self, suffix: str, kind: type[T], default: T) -> T:
        """Of the architecture's own fields."""
        return _get(self.path, self.fields, f"{self.header.architecture}.{suffix}", kind, default)

    def layers(self, suffix: str) -> tuple[int, ...]:
        return _layers(self.path, self.fields, f"{self.header.architecture}.{suffix}")


def read_header(path: Path) -> Header:
    """The header, which is in itself as the format says, and whose tensors lie in the file.

    Raises:
        ModelError: it is no such file, or cannot be read.
    """
    return _read(path).header


def check_model(path: Path, needs_tensors: bool = True) -> Header:
    """The header of a language model that completes text and that llama.cpp can be given.

    Without `needs_tensors` a vocabulary alone will do.

    Raises:
        ModelError: it is something else, incomplete, or says what cannot be.
    """
    content = _read(path)
    _check_kind(content)
    _check_tokenizer(content)
    n_tensors = content.header.n_tensors + _check_parts(content)
    if needs_tensors and not n_tensors:
        _refuse(path, "holds a vocabulary and no weights", _OTHER)
    if needs_tensors:
        _check_shape(content)
        _check_heads(content)
        _check_experts(content)
    return content.header


def _refuse(path: Path, said: str, advice: str = _AGAIN) -> NoReturn:
    raise ModelError(_shown(f"Model file `{path}` {said}; {advice}", None))


def _shown(text: str, n_chars: int | None = 80) -> str:
    """On one line whatever the file says, and without its control characters."""
    return "".join(char if char.isprintable() else "?" for char in text[:n_chars])


class _Reader:
    """Goes on from the start. It takes nothing that the file or the bound does not hold."""

    def __init__(self, file: BufferedReader, path: Path, n_bytes: int) -> None:
        self._file = file
        self.path = path
        self.n_bytes = n_bytes
        self.at = 0
        self.what = "the start"

    def damaged(self, said: str) -> NoReturn:
        _refuse(self.path, f"is damaged: {self.what}, before byte {self.at}, {said}")

    def need(self, n_bytes: int) -> None:
        if self.at + n_bytes > self.n_bytes:
            left = self.n_bytes - self.at
            said = f"ends too early: {self.what}, at byte {self.at}, needs {n_bytes} bytes"
            _refuse(self.path, f"{said}, {left} are left")
        if self.at + n_bytes > MAX_HEADER_BYTES:
            self.damaged(f"makes the header longer than {MAX_HEADER_BYTES} bytes")

    def take(self, n_bytes: int) -> bytes:
        self.need(n_bytes)
        data = self._file.read(n_bytes)
        if len(data) < n_bytes:
            _refuse(self.path, "was cut while it was read", "try again once it is complete")
        self.at += n_bytes
        return data

    def peek(self, n_bytes: int) -> bytes:
        return self._file.peek(n_bytes)[:n_bytes]

    def skip(self, n_bytes: int) -> None:
        self.need(n_bytes)
        self._file.seek(n_bytes, os.SEEK_CUR)
        self.at += n_bytes

    def number(self, layout: Struct) -> int:
        return int(layout.unpack(self.take(layout.size))[0])

    def name(self, max_bytes: int) -> str:
        n_bytes = self.number(_U64)
        if not 0 < n_bytes <= max_bytes:
            self.damaged(f"has a name of {n_bytes} bytes, expected 1 to {max_bytes}")
        try:
            text = self.take(n_bytes).decode()
        except UnicodeDecodeError:
            self.damaged("has a name that is not UTF-8")
        if "\0" in text:  # C would read another name
            self.damaged("has a NUL in its name")
        return text

    def strings(self, n_items: int, is_kept: bool) -> set[bytes]:
        """Goes over an array. The distinct items if they are kept, with the names that llama.cpp
        gives to empty tokens."""
        self.need(n_items * _U64.size)
        found: set[bytes] = set()
        read, length = self._file.read, _U64.unpack  # half a million times in some files
        end = min(self.n_bytes, MAX_HEADER_BYTES)
        for idx in range(n_items):
            if self.at + 8 > end:
                self.need(8)
            n_bytes = length(read(8).ljust(8, b"\xff"))[0]
            self.at += 8
            if self.at + n_bytes > end:
                self.need(n_bytes)
            text = read(n_bytes)
            self.at += n_bytes
            if is_kept:
                found.add(_c_string(text) or b"[EMPTY_%d]" % idx)
        return found


def _c_string(data: bytes) -> bytes:
    """As llama.cpp sees it, which goes through `const char *`."""
    return data.split(b"\0", 1)[0]


def _read(path: Path) -> _Content:
    try:
        with _open(path) as file:
            return _parse(_Reader(file, path, os.fstat(file.fileno()).st_size))
    except FileNotFoundError:
        _refuse(path, "does not exist", "set `model` to a GGUF file")
    except OSError as error:
        _refuse(path, f"cannot be read: {error.strerror}", "make it a file that you may read")


def _open(path: Path) -> BufferedReader:
    """Without waiting: a pipe that nobody writes would hold a plain open for ever."""
    if "\0" in str(path):
        _refuse(path, "has a NUL in its name", _OTHER)
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode):
        return BufferedReader(FileIO(fd, "rb"), 1 << 18)
    os.close(fd)
    kind = "folder" if stat.S_ISDIR(mode) else "pipe or a device"
    _refuse(path, f"is a {kind}, expected a file", _OTHER)


def _parse(reader: _Reader) -> _Content:
    version = _read_version(reader)
    n_tensors = _count(reader, "tensors", MAX_TENSORS, _MIN_TENSOR_BYTES)
    n_kv = _count(reader, "fields", MAX_FIELDS, _MIN_FIELD_BYTES)
    fields = _read_fields(reader, n_kv)
    alignment = _get(reader.path, fields, "general.alignment", int, _MIN_ALIGNMENT_BYTES)
    is_power = alignment & (alignment - 1) == 0
    if not (is_power and _MIN_ALIGNMENT_BYTES <= alignment <= _MAX_ALIGNMENT_BYTES):
        bounds = f"a power of 2 from {_MIN_ALIGNMENT_BYTES} to {_MAX_ALIGNMENT_BYTES}"
        _refuse(reader.path, f"has a `general.alignment` of {alignment}, expected {bounds}")
    tensors = _read_tensors(reader, n_tensors, alignment)
    header = _header(reader, version, n_tensors, fields, tensors)
    return _Content(reader.path, header, fields, tensors)


def _read_version(reader: _Reader) -> int:
    if not reader.n_bytes:
        _refuse(reader.path, "is empty")
    start = reader.peek(64)
    for pattern, words, advice in _FOREIGN:
        if re.match(pattern, start, re.DOTALL):
            _refuse(reader.path, f"{words}, expected GGUF", advice)
    if start[:4] != b"GGUF"[: len(start)]:
        said = f"is not GGUF: it begins with 0x{start[:4].hex()}, expected 0x47475546"
        _refuse(reader.path, said, _OTHER)
    reader.skip(4)
    version = reader.number(_U32)
    if version and version & 0xFFFF == 0:
        _refuse(reader.path, "is big-endian, expected little-endian", _OTHER)
    if version not in (2, 3):
        _refuse(reader.path, f"is GGUF version {version}, expected 2 or 3", _OTHER)
    return version


def _count(reader: _Reader, what: str, n_max: int, min_bytes: int) -> int:
    reader.what = f"its number of {what}"
    n_items = reader.number(_U64)
    most = min(n_max, (reader.n_bytes - reader.at) // min_bytes)
    if n_items > most:
        reader.damaged(f"is {n_items}, expected at most {most} in a file of this size")
    return n_items


def _read_fields(reader: _Reader, n_kv: int) -> dict[str, _Field]:
    fields: dict[str, _Field] = {}
    for idx in range(n_kv):
        reader.what = f"field {idx + 1} of {n_kv}"
        key = reader.name(MAX_KEY_BYTES)
        reader.what = f"field `{_shown(key)}`"
        if key in fields:
            reader.damaged("is there twice")
        fields[key] = _read_value(reader, reader.number(_U32), key)
    return fields


def _read_value(reader: _Reader, kind: int, key: str) -> _Field:
    if kind == _ARRAY:
        return _read_array(reader, key)
    if kind == _STRING:
        n_bytes = reader.number(_U64)
        if n_bytes > MAX_TEXT_BYTES:
            reader.skip(n_bytes)
            return _Field("STRING", None)
        return _Field("STRING", _c_string(reader.take(n_bytes)).decode(errors="replace"))
    name, letter = _scalar(reader, kind)
    return _Field(name, unpack(f"<{letter}", reader.take(calcsize(f"<{letter}")))[0])


def _scalar(reader: _Reader, kind: int) -> tuple[str, str]:
    if kind not in _SCALARS:
        reader.damaged(f"has value type {kind}, which GGUF does not have")
    return _SCALARS[kind]


def _read_array(reader: _Reader, key: str) -> _Field:
    kind, n_items = reader.number(_U32), reader.number(_U64)
    if kind == _ARRAY:
        reader.damaged("is an array of arrays, which llama.cpp does not read")
    if n_items > MAX_ARRAY_ITEMS:
        reader.damaged(f"has {n_items} items, expected at most {MAX_ARRAY_ITEMS}")
    if kind == _STRING:
        is_kept = key == _TOKENS
        found = reader.strings(n_items, is_kept)
        return _Field("ARRAY of STRING", found if is_kept else None, n_items)
    name, letter = _scalar(reader, kind)
    layout = f"<{n_items}{letter}"
    if n_items > MAX_LAYERS:
        reader.skip(calcsize(layout))
        return _Field(f"ARRAY of {name}", None, n_items)
    return _Field(f"ARRAY of {name}", unpack(layout, reader.take(calcsize(layout))), n_items)


def _get(path: Path, fields: dict[str, _Field], key: str, kind: type[T], default: T) -> T:
    """Of the very type in which llama.cpp reads the field."""
    if key not in fields:
        return default
    expected = {str: "STRING", int: "UINT32", bool: "BOOL"}[kind]
    expected = "UINT16" if key in ("split.no", "split.count") else expected
    found = fields[key]
    if found.kind != expected:
        _refuse(path, f"has a `{_shown(key)}` of type {found.kind}, expected {expected}", _OTHER)
    if not isinstance(found.value, kind):
        _refuse(path, f"has a `{_shown(key)}` of over {MAX_TEXT_BYTES} bytes", _OTHER)
    return found.value


def _read_tensors(reader: _Reader, n_tensors: int, alignment: int) -> _Tensors:
    names: set[str] = set()
    end = n_bytes = 0  # of the last tensor: its end with padding, and that without
    n_embedded = None
    for idx in range(n_tensors):
        reader.what = f"tensor {idx + 1} of {n_tensors}"
        name = reader.name(MAX_TENSOR_NAME_BYTES)
        reader.what = f"tensor `{_shown(name)}`"
        if name in names:
            reader.damaged("is there twice")
        names.add(name)
        dims, size = _read_tensor(reader)
        _check_offset(reader, reader.number(_U64), end, alignment)
        n_bytes = end + size
        end = _padded(n_bytes, alignment)
        if name == "token_embd.weight":
            n_embedded = dims[-1]
    needed = _padded(reader.at, alignment) + n_bytes
    if n_tensors and needed > reader.n_bytes:
        _refuse(reader.path, f"is {reader.n_bytes} bytes, its tensors need {needed}")
    return _Tensors(end, n_embedded)


def _read_tensor(reader: _Reader) -> tuple[tuple[int, ...], int]:
    """Its dimensions, the row's length first, and its bytes."""
    n_dims = reader.number(_U32)
    if not 1 <= n_dims <= MAX_DIMS:
        reader.damaged(f"has {n_dims} dimensions, expected 1 to {MAX_DIMS}")
    dims = unpack(f"<{n_dims}q", reader.take(8 * n_dims))
    if min(dims) < 1 or prod(dims) > MAX_ELEMENTS:
        shape = " x ".join(map(str, dims))
        reader.damaged(f"has the shape {shape}, expected 1 to {MAX_ELEMENTS} elements")
    kind = reader.number(_U32)
    if kind not in TENSOR_TYPES:
        said = f"has {reader.what} of type {kind}, which this llama.cpp does not know"
        _refuse(reader.path, said, _OTHER)
    n_block, block_bytes = TENSOR_TYPES[kind]
    if dims[0] % n_block:
        reader.damaged(f"has rows of {dims[0]} values, expected whole blocks of {n_block}")
    return dims, prod(dims) // n_block * block_bytes


def _check_offset(reader: _Reader, offset: int, expected: int, alignment: int) -> None:
    """llama.cpp takes no other order and no gaps."""
    if offset % alignment:
        reader.damaged(f"lies at {offset}, expected a multiple of {alignment}")
    if offset != expected:
        is_where = "overlaps the one before" if offset < expected else "leaves a gap"
        reader.damaged(f"lies at {offset}, expected {expected}: it {is_where}")


def _padded(n_bytes: int, alignment: int) -> int:
    return -(-n_bytes // alignment) * alignment


def _header(
    reader: _Reader,
    version: int,
    n_tensors: int,
    fields: dict[str, _Field],
    tensors: _Tensors,
) -> Header:
    path = reader.path

    def text(key: str) -> str:
        return _get(path, fields, key, str, "")

    def count(key: str, default: int = 0) -> int:
        return _get(path, fields, key, int, default)

    architecture = text("general.architecture")
    own = f"{architecture}."
    heads = _layers(path, fields, own + "attention.head_count")
    heads_kv = _layers(path, fields, own + "attention.head_count_kv") or heads
    n_heads, n_embedding = max(heads, default=0), count(own + "embedding_length")
    return Header(
        version=version,
        architecture=architecture,
        name=text("general.name"),
        kind=text("general.type"),
        file_type=count("general.file_type") if "general.file_type" in fields else None,
        n_tensors=n_tensors,
        n_kv=len(fields),
        n_vocab=fields[_TOKENS].n_items if _TOKENS in fields else 0,
        n_ctx_train=count(own + "context_length"),
        n_layers=count(own + "block_count"),
        embedding_length=n_embedding,
        head_count=n_heads,
        head_count_kv=max(heads_kv, default=0),
        key_length=count(own + "attention.key_length", n_embedding // max(n_heads, 1)),
        fim_token_ids=_fim_token_ids(path, fields),
        split_no=count("split.no"),
        split_count=max(count("split.count"), 1),
        tensor_bytes=tensors.n_bytes,
        file_bytes=reader.n_bytes,
    )


def _fim_token_ids(path: Path, fields: dict[str, _Field]) -> dict[str, int]:
    keys = {f"tokenizer.ggml.{name}_token_id": role for name, role in _FIM_KEYS.items()}
    return {role: _get(path, fields, key, int, 0) for key, role in keys.items() if key in fields}


def _layers(path: Path, fields: dict[str, _Field], key: str) -> tuple[int, ...]:
    """The count of each layer, or the one of all; empty where there is no such field."""
    found = fields.get(key)
    if found is None:
        return ()
    if found.kind == "UINT32":
        return (_get(path, fields, key, int, 0),)
    is_counts = found.kind in ("ARRAY of UINT32", "ARRAY of INT32")
    if not is_counts or not isinstance(found.value, tuple):
        _refuse(path, f"has a `{_shown(key)}` of type {found.kind}, expected UINT32", _OTHER)
    return found.value


def _check_kind(content: _Content) -> None:
    path, header = content.path, content.header
    if not header.architecture:
        _refuse(path, "names no `general.architecture`", _OTHER)
    said = ""
    if header.kind not in ("", "model"):
        said = f"its type is `{_shown(header.kind)}`"
    elif _NOT_COMPLETING.fullmatch(header.architecture):
        said = f"its architecture is `{_shown(header.architecture)}`"
    elif content.get("pooling_type", int, 0) or not content.get("attention.causal", bool, True):
        said = "it makes embeddings"
    if said:
        _refuse(path, f"is no language model that completes text: {said}", _OTHER)


def _check_tokenizer(content: _Content) -> None:
    """Invariant: what passes can be loaded by llama.cpp, and any text be tokenized with it."""
    path, fields = content.path, content.fields
    model = _get(path, fields, "tokenizer.ggml.model", str, "")
    if not model or _TOKENS not in fields:
        _refuse(path, "holds no tokenizer", _OTHER)
    pre = _get(path, fields, "tokenizer.ggml.pre", str, "")
    if model not in _TOKENIZERS or pre == "whitespace":  # that one aborts at the first space
        expected = " or ".join(f"`{name}`" for name in _TOKENIZERS)
        got = "whitespace" if model in _TOKENIZERS else _shown(model)
        _refuse(path, f"has the tokenizer `{got}`, expected {expected}", _OTHER)
    for name, kinds in _TOKEN_ARRAYS.items():
        _check_token_array(content, name, kinds)
    _check_tokens(content, model)
    for key in filter(_TOKEN_ID.fullmatch, fields):
        token, last = _get(path, fields, key, int, 0), content.header.n_vocab - 1
        if token > last:
            _refuse(path, f"has a `{key}` of {token}, expected 0 to {last}", _OTHER)


def _check_token_array(content: _Content, name: str, kinds: tuple[str, ...]) -> None:
    found = content.fields.get(key := f"tokenizer.ggml.{name}")
    if found is None:
        return
    if found.kind not in kinds:
        said = f"has a `{key}` of type {found.kind}, expected {' or '.join(kinds)}"
        _refuse(content.path, said, _OTHER)
    n_vocab = content.header.n_vocab
    if name != "merges" and found.n_items != n_vocab:
        said = f"has {found.n_items} `{key}`, expected {n_vocab}, one for each token"
        _refuse(content.path, said)


def _check_tokens(content: _Content, model: str) -> None:
    tokens, n_vocab = content.fields[_TOKENS].value, content.header.n_vocab
    if not n_vocab or not isinstance(tokens, set):
        _refuse(content.path, "has a tokenizer without tokens", _OTHER)
    if n_same := n_vocab - len(tokens):
        _refuse(content.path, f"spells {n_same} of its tokens like others, expected none")
    for byte in range(256 if model == "llama" else 0):
        # C++ looks the byte up as a C string, in which NUL is nothing.
        if not {b"<0x%02X>" % byte, bytes([byte]) if byte else b""} & tokens:
            _refuse(content.path, f"has no token for the byte 0x{byte:02X}", _OTHER)


def _check_parts(content: _Content) -> int:
    """The number of tensors in the other parts of a split model."""
    path, header = content.path, content.header
    n_parts = header.split_count
    if n_parts == 1:
        return 0
    ending = f"-{header.split_no + 1:05}-of-{n_parts:05}.gguf"
    if not path.name.endswith(ending):
        _refuse(path, f"is part {header.split_no + 1} of {n_parts}", f"name it `…{ending}` again")
    base = path.name.removesuffix(ending)
    parts = [path.with_name(f"{base}-{no + 1:05}-of-{n_parts:05}.gguf") for no in range(n_parts)]
    if header.split_no:
        said = f"is part {header.split_no + 1} of {n_parts}, expected the first"
        _refuse(path, said, f"name `{_shown(parts[0].name)}`")
    return sum(_n_tensors_of_part(path, part, no) for no, part in enumerate(parts) if no)


def _n_tensors_of_part(first: Path, part: Path, split_no: int) -> int:
    if not os.path.lexists(part):
        said = f"is split, and its part `{_shown(part.name)}` is missing"
        _refuse(first, said, "put all parts in one folder")
    content = _read(part)
    if content.header.split_no != split_no or "split.no" not in content.fields:
        said = f"says that it is part {content.header.split_no + 1}, expected {split_no + 1}"
        _refuse(part, said)
    return content.header.n_tensors


def _check_shape(content: _Content) -> None:
    """What llama.cpp asserts, or what would make it ask for absurd amounts of memory."""
    header = content.header
    needed = _NEEDED[:3] if _RECURRENT.fullmatch(header.architecture) else _NEEDED
    for key in (f"{header.architecture}.{suffix}" for suffix in needed):
        if key not in content.fields:
            _refuse(content.path, f"has no `{key}`", _OTHER)
    for suffix, (least, most) in _SCALAR_LIMITS.items():
        _check_between(content, suffix, content.get(suffix, int, least), least, most)
    n_predicted = content.get("nextn_predict_layers", int, 0)
    _check_between(content, "nextn_predict_layers", n_predicted, 0, header.n_layers)
    for suffix, most in _LAYER_LIMITS.items():
        counts = content.layers(suffix)
        if len(counts) not in (0, 1, header.n_layers):
            key = f"{header.architecture}.{suffix}"
            said = f"has {len(counts)} `{key}`, expected {header.n_layers}"
            _refuse(content.path, said, _OTHER)
        for count in counts:
            _check_between(content, suffix, count, 0, most)
    scaling = content.get("rope.scaling.type", str, "linear")
    if scaling not in _ROPE_SCALINGS:
        said = f"scales its positions by `{_shown(scaling)}`, expected "
        _refuse(content.path, said + ", ".join(_ROPE_SCALINGS), _OTHER)
    n_embedded = content.tensors.n_embedded
    if n_embedded not in (None, header.n_vocab):
        _refuse(content.path, f"has {header.n_vocab} tokens and embeds {n_embedded}", _OTHER)


def _check_between(content: _Content, suffix: str, count: int, least: int, most: int) -> None:
    if not least <= count <= most:
        said = f"has a `{content.header.architecture}.{suffix}` of {count}"
        _refuse(content.path, f"{said}, expected {least} to {most}", _OTHER)


def _check_heads(content: _Content) -> None:
    header = content.header
    if not _RECURRENT.fullmatch(header.architecture):
        _check_between(content, "attention.head_count", header.head_count, 1, 1 << 16)
    heads = content.layers("attention.head_count")
    heads_kv = content.layers("attention.head_count_kv")
    n_layers = max(len(heads), len(heads_kv))
    for n_heads, n_kv in zip(_spread(heads, n_layers), _spread(heads_kv, n_layers), strict=True):
        if n_kv and n_heads % n_kv:
            said = f"shares {n_kv} key heads among {n_heads} heads, expected a divisor"
            _refuse(content.path, said, _OTHER)
    key = header.key_length
    value = content.get("attention.value_length", int, key)
    rotated = content.get("rope.dimension_count", int, key)
    if _WHOLE_HEADS.fullmatch(header.architecture) and not key == value == rotated:
        said = f"has keys of {key}, values of {value} and rotates {rotated}, expected one length"
        _refuse(content.path, said, _OTHER)


def _spread(counts: tuple[int, ...], n_layers: int) -> tuple[int, ...]:
    """One count for each layer."""
    return counts * n_layers if len(counts) == 1 else counts or (0,) * n_layers


def _check_experts(content: _Content) -> None:
    """llama-model.cpp, load_hparams."""
    n_experts = content.get("expert_count", int, 0)
    n_used = max(content.layers("expert_used_count"), default=0)
    n_groups = content.get("expert_group_count", int, 0)
    n_groups_used = content.get("expert_group_used_count", int, 0)
    is_right = (
        n_used <= n_experts
        and (n_used > 0) == (n_experts > 0)
        and n_groups < max(n_experts, 1)
        and (n_groups <= 1 or (n_experts % n_groups == 0 and 0 < n_groups_used < n_groups))
    )
    if not is_right:
        said = f"uses {n_used} of {n_experts} experts, {n_groups_used} of {n_groups} groups"
        _refuse(content.path, f"{said}, which cannot be", _OTHER)
