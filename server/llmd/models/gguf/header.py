"""The gate before native code: reads a GGUF's header with hard bounds, and says what is wrong.

llama.cpp ends its process on some headers, so none reaches it that was not read here first.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from llmd.models.gguf.checks import check_kind, check_shape, check_tokenizer
from llmd.models.gguf.format import (
    TOKENS,
    Fields,
    Header,
    Tensors,
    read_fields,
    read_head,
    read_tensors,
)
from llmd.models.gguf.reader import OTHER, opened, refuse, shown
from llmd.models.memory_plan.model_shape import Shape, shape_of

OTHER_LORA = "choose a LoRA that was made for it"
_FIM = {"prefix": "pre", "suffix": "suf", "middle": "mid"}  # the old names
_FIM |= {f"fim_{role}": role for role in ("pre", "suf", "mid", "pad", "rep", "sep")}
_ROLES = {f"tokenizer.ggml.{name}_token_id": role for name, role in _FIM.items()}


def read_header(path: Path) -> Header:
    """The header, which is in itself as the format says, and whose tensors lie in the file.

    Raises:
        ModelError: it is no such file, or cannot be read.
    """
    return _read(path)[0]


def check_model(path: Path, needs_tensors: bool = True, beside: Path | None = None) -> Header:
    """The header of a language model that completes text and that llama.cpp can be given.

    Without `needs_tensors` a vocabulary alone will do. Of a model in parts, `path` is the first
    and stands for the others, which lie `beside` it, or beside the place that it will have.

    Raises:
        ModelError: it is something else, incomplete, or says what cannot be.
    """
    header, fields = _read(path)
    check_kind(header, fields)
    check_tokenizer(header, fields)
    n_tensors = header.n_tensors + _n_tensors_of_other_parts(beside or path, header)
    if needs_tensors and not n_tensors:
        refuse(path, "holds a vocabulary and no weights", OTHER)
    if needs_tensors:
        check_shape(header, fields)
    return header


def check_adapter(path: Path, model: Header | None = None) -> None:
    """
    Raises:
        ModelError: it is no LoRA, or none for a model of this architecture.
    """
    header = read_header(path)
    if header.kind != "adapter":
        refuse(path, "is no adapter: its type is not `adapter`", "name a LoRA in GGUF")
    if model and header.architecture != model.architecture:
        got, expected = shown(header.architecture), shown(model.architecture)
        refuse(path, f"is for the architecture `{got}`, the model's is `{expected}`", OTHER_LORA)


def check_part(path: Path, target: Path, *, is_first: bool) -> None:
    """A file of a pull before it comes into its place, beside parts that are there already.

    Raises:
        ModelError: it is neither of a model that llmd takes nor a LoRA.
    """
    if not is_first:
        read_header(path)
        return
    if read_header(path).kind != "adapter":
        check_model(path, beside=target)


def whole_shape(path: Path, header: Header) -> Shape:
    """What the memory plan takes from the header, all parts together."""
    if header.split_count == 1:
        return header.shape
    _, fields = _read(path)
    sizes = dict(header.sizes)
    for part in _parts(path, header)[1:]:
        sizes |= read_header(part).sizes
    return _shape(fields, header.architecture, header.n_vocab, sizes)


def _shape(fields: Fields, architecture: str, n_vocab: int, sizes: Mapping[str, int]) -> Shape:
    number = partial(_number_of, fields, architecture)
    return shape_of(number, partial(_numbers_of, fields, architecture), n_vocab, sizes)


def _number_of(fields: Fields, architecture: str, suffix: str) -> int:
    return max(_numbers_of(fields, architecture, suffix), default=0)


def _numbers_of(fields: Fields, architecture: str, suffix: str) -> tuple[int, ...]:
    """Empty where there is no such field, or it is no number: other checks say so."""
    field = fields.by_key.get(f"{architecture}.{suffix}")
    value = field.value if field else ()
    values = value if isinstance(value, tuple) else (value,)
    return tuple(n for n in values if isinstance(n, int) and 0 <= n < 1 << 31)


def _read(path: Path) -> tuple[Header, Fields]:
    with opened(path) as reader:
        n_tensors, n_kv = read_head(reader)
        fields = read_fields(reader, n_kv)
        tensors = read_tensors(reader, n_tensors, fields)
        return _header(fields, tensors, reader.n_bytes), fields


def _header(fields: Fields, tensors: Tensors, file_bytes: int) -> Header:
    by_key, architecture = fields.by_key, fields.get("general.architecture", "")
    own = f"{architecture}."
    heads = fields.counts(own + "attention.head_count")
    heads_kv = fields.counts(own + "attention.head_count_kv") or heads
    n_vocab = by_key[TOKENS].n_items if TOKENS in by_key else 0
    n_heads, n_embedding = max(heads, default=0), fields.get(own + "embedding_length", 0)
    return Header(
        architecture=architecture,
        name=fields.get("general.name", ""),
        kind=fields.get("general.type", ""),
        file_type=fields.get(key, 0) if (key := "general.file_type") in by_key else None,
        n_tensors=tensors.n_items,
        n_kv=len(by_key),
        n_vocab=n_vocab,
        n_embedded=tensors.n_embedded,
        n_ctx_train=fields.get(own + "context_length", 0),
        n_layers=fields.get(own + "block_count", 0),
        embedding_length=n_embedding,
        head_count=n_heads,
        head_count_kv=max(heads_kv, default=0),
        key_length=fields.get(own + "attention.key_length", n_embedding // max(n_heads, 1)),
        fim_token_ids={role: fields.get(key, 0) for key, role in _ROLES.items() if key in by_key},
        split_no=fields.get("split.no", 0),
        split_count=max(fields.get("split.count", 0), 1),
        tensor_bytes=tensors.n_bytes,
        file_bytes=file_bytes,
        sizes=tensors.sizes,
        shape=_shape(fields, architecture, n_vocab, tensors.sizes),
    )


def _n_tensors_of_other_parts(path: Path, header: Header) -> int:
    n_parts, said = header.split_count, f"is part {header.split_no + 1} of {header.split_count}"
    if n_parts == 1:
        return 0
    ending = f"-{header.split_no + 1:05}-of-{n_parts:05}.gguf"
    if not path.name.endswith(ending):
        refuse(path, said, f"name it `…{ending}` again")
    parts = _parts(path, header)
    if header.split_no:
        refuse(path, f"{said}, expected the first", f"name `{shown(parts[0].name)}`")
    return sum(_n_tensors_of_part(path, part, no) for no, part in enumerate(parts) if no)


def _parts(path: Path, header: Header) -> list[Path]:
    n_parts = header.split_count
    if n_parts == 1:
        return [path]
    base = path.name.removesuffix(f"-{header.split_no + 1:05}-of-{n_parts:05}.gguf")
    return [path.with_name(f"{base}-{no + 1:05}-of-{n_parts:05}.gguf") for no in range(n_parts)]


def _n_tensors_of_part(first: Path, part: Path, split_no: int) -> int:
    if not os.path.lexists(part):
        said = f"is split, and its part `{shown(part.name)}` is missing"
        refuse(first, said, "put all parts in one folder")
    header = read_header(part)
    if header.split_no != split_no:
        refuse(part, f"says that it is part {header.split_no + 1}, expected {split_no + 1}")
    return header.n_tensors
