"""The gate before native code: reads a GGUF's header with hard bounds, and says what is wrong.

llama.cpp ends its process on some headers, so none reaches it that was not read here first.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from llmd.models.gguf.checks import check_completes_text, check_shape, check_tokenizer
from llmd.models.gguf.format import (
    TOKENS_KEY,
    Fields,
    Header,
    Tensors,
    read_counts,
    read_fields,
    read_tensors,
)
from llmd.models.gguf.reader import CHOOSE_ANOTHER, open_reader, reject, sanitize
from llmd.models.memory_plan.model_shape import Shape, shape_from_fields

OTHER_LORA = "choose a LoRA that was made for it"
_FIM_ROLES = {"prefix": "pre", "suffix": "suf", "middle": "mid"}  # the old names
_FIM_ROLES |= {f"fim_{role}": role for role in ("pre", "suf", "mid", "pad", "rep", "sep")}
_ROLES_BY_KEY = {f"tokenizer.ggml.{name}_token_id": role for name, role in _FIM_ROLES.items()}


def read_header(path: Path) -> Header:
    """The header, which is in itself as the format says, and whose tensors lie in the file.

    Raises:
        ModelError: it is no such file, or cannot be read.
    """
    return _read_file(path)[0]


def check_model(path: Path, needs_tensors: bool = True, target: Path | None = None) -> Header:
    """The header of a language model that completes text and that llama.cpp can be given.

    Without `needs_tensors` a vocabulary alone will do. Of a model in parts, `path` is the first
    and stands for the others, which lie `beside` it, or beside the place that it will have.

    Raises:
        ModelError: it is something else, incomplete, or says what cannot be.
    """
    header, fields = _read_file(path)
    check_completes_text(header, fields)
    check_tokenizer(header, fields)
    n_tensors = header.n_tensors + _count_tensors_of_other_parts(target or path, header)
    if needs_tensors and not n_tensors:
        reject(path, "holds a vocabulary and no weights", CHOOSE_ANOTHER)
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
        reject(path, "is no adapter: its type is not `adapter`", "name a LoRA in GGUF")
    if model and header.architecture != model.architecture:
        architecture, expected = sanitize(header.architecture), sanitize(model.architecture)
        reject(
            path,
            f"is for the architecture `{architecture}`, the model's is `{expected}`",
            OTHER_LORA,
        )


def check_part(path: Path, target: Path, *, is_first: bool) -> None:
    """A file of a pull before it comes into its place, beside parts that are there already.

    Raises:
        ModelError: it is neither of a model that llmd takes nor a LoRA.
    """
    if not is_first:
        read_header(path)
        return
    if read_header(path).kind != "adapter":
        check_model(path, target=target)


def whole_shape(path: Path, header: Header) -> Shape:
    """What the memory plan takes from the header, all parts together."""
    if header.split_count == 1:
        return header.shape
    _, fields = _read_file(path)
    sizes = dict(header.bytes_by_tensor)
    for part in _part_paths(path, header)[1:]:
        sizes |= read_header(part).bytes_by_tensor
    return _build_shape(fields, header.architecture, header.n_vocab, sizes)


def _build_shape(
    fields: Fields, architecture: str, n_vocab: int, sizes: Mapping[str, int]
) -> Shape:
    number = partial(_read_number, fields, architecture)
    return shape_from_fields(number, partial(_read_numbers, fields, architecture), n_vocab, sizes)


def _read_number(fields: Fields, architecture: str, suffix: str) -> int:
    return max(_read_numbers(fields, architecture, suffix), default=0)


def _read_numbers(fields: Fields, architecture: str, suffix: str) -> tuple[int, ...]:
    """Empty where there is no such field, or it is no number: other checks say so."""
    field = fields.by_key.get(f"{architecture}.{suffix}")
    value = field.value if field else ()
    values = value if isinstance(value, tuple) else (value,)
    return tuple(n for n in values if isinstance(n, int) and 0 <= n < 1 << 31)


def _read_file(path: Path) -> tuple[Header, Fields]:
    with open_reader(path) as reader:
        n_tensors, n_kv = read_counts(reader)
        fields = read_fields(reader, n_kv)
        tensors = read_tensors(reader, n_tensors, fields)
        return _build_header(fields, tensors, reader.n_bytes), fields


def _build_header(fields: Fields, tensors: Tensors, file_bytes: int) -> Header:
    by_key, architecture = fields.by_key, fields.get("general.architecture", "")
    prefix = f"{architecture}."
    heads = fields.counts(prefix + "attention.head_count")
    heads_kv = fields.counts(prefix + "attention.head_count_kv") or heads
    n_vocab = by_key[TOKENS_KEY].n_items if TOKENS_KEY in by_key else 0
    n_heads, n_embedding = max(heads, default=0), fields.get(prefix + "embedding_length", 0)
    return Header(
        architecture=architecture,
        name=fields.get("general.name", ""),
        kind=fields.get("general.type", ""),
        file_type=fields.get(key, 0) if (key := "general.file_type") in by_key else None,
        n_tensors=tensors.n_items,
        n_kv=len(by_key),
        n_vocab=n_vocab,
        n_embedding_rows=tensors.n_embedding_rows,
        n_ctx_train=fields.get(prefix + "context_length", 0),
        n_layers=fields.get(prefix + "block_count", 0),
        embedding_length=n_embedding,
        head_count=n_heads,
        head_count_kv=max(heads_kv, default=0),
        key_length=fields.get(prefix + "attention.key_length", n_embedding // max(n_heads, 1)),
        fim_token_ids={
            role: fields.get(key, 0) for key, role in _ROLES_BY_KEY.items() if key in by_key
        },
        split_no=fields.get("split.no", 0),
        split_count=max(fields.get("split.count", 0), 1),
        tensor_bytes=tensors.n_bytes,
        file_bytes=file_bytes,
        bytes_by_tensor=tensors.bytes_by_name,
        shape=_build_shape(fields, architecture, n_vocab, tensors.bytes_by_name),
    )


def _count_tensors_of_other_parts(path: Path, header: Header) -> int:
    n_parts, problem = header.split_count, f"is part {header.split_no + 1} of {header.split_count}"
    if n_parts == 1:
        return 0
    suffix = f"-{header.split_no + 1:05}-of-{n_parts:05}.gguf"
    if not path.name.endswith(suffix):
        reject(path, problem, f"name it `…{suffix}` again")
    parts = _part_paths(path, header)
    if header.split_no:
        reject(path, f"{problem}, expected the first", f"name `{sanitize(parts[0].name)}`")
    return sum(_count_tensors_of_part(path, part, no) for no, part in enumerate(parts) if no)


def _part_paths(path: Path, header: Header) -> list[Path]:
    n_parts = header.split_count
    if n_parts == 1:
        return [path]
    base = path.name.removesuffix(f"-{header.split_no + 1:05}-of-{n_parts:05}.gguf")
    return [path.with_name(f"{base}-{no + 1:05}-of-{n_parts:05}.gguf") for no in range(n_parts)]


def _count_tensors_of_part(first: Path, part: Path, split_no: int) -> int:
    if not os.path.lexists(part):
        said = f"is split, and its part `{sanitize(part.name)}` is missing"
        reject(first, said, "put all parts in one folder")
    header = read_header(part)
    if header.split_no != split_no:
        reject(part, f"says that it is part {header.split_no + 1}, expected {split_no + 1}")
    return header.n_tensors
