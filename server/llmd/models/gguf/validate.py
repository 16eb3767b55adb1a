"""Validates GGUF headers before llama.cpp opens the file.

llama.cpp ends its process on some invalid headers, so every file passes through here first.
"""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from pathlib import Path

from llmd.models.gguf.byte_reader import CHOOSE_ANOTHER, open_reader, reject, sanitize
from llmd.models.gguf.llama_compat import check_completes_text, check_shape, check_tokenizer
from llmd.models.gguf.parse import TOKENS_KEY, Fields, Header, Tensors, read_contents
from llmd.models.memory_plan.model_shape import Shape, shape_from_fields

_FIM_ROLES = {"prefix": "pre", "suffix": "suf", "middle": "mid"}  # old key names
_FIM_ROLES |= {f"fim_{role}": role for role in ("pre", "suf", "mid", "pad", "rep", "sep")}
_ROLES_BY_KEY = {f"tokenizer.ggml.{name}_token_id": role for name, role in _FIM_ROLES.items()}


def read_header(path: Path) -> Header:
    """Reads the header of any GGUF: model, adapter or projector.

    Raises:
        ModelError: the file is not a valid GGUF, is incomplete or cannot be read.
    """
    return _read_file(path)[0]


def check_model(path: Path, needs_tensors: bool = True, target: Path | None = None) -> Header:
    """Reads the header of a language model that completes text and that llama.cpp can load.

    Without `needs_tensors` the file may hold a vocabulary alone. For a model in parts, `path` is
    the first part; the other parts are next to `path`, or next to `target`, where `path` will move.

    Raises:
        ModelError: the file is not such a model, or the model is incomplete or inconsistent.
    """
    header, fields = _read_file(path)
    check_completes_text(header, fields)
    check_tokenizer(header, fields)
    n_tensors = header.n_tensors + _count_tensors_of_other_parts(target or path, header)
    if needs_tensors and not n_tensors:
        reject(path, "has a vocabulary but no weights", CHOOSE_ANOTHER)
    if needs_tensors:
        check_shape(header, fields)
    return header


def check_adapter(path: Path, model: Header | None = None) -> None:
    """
    Raises:
        ModelError: the file is not a LoRA, or is a LoRA for another architecture than `model`.
    """
    header = read_header(path)
    if header.kind != "adapter":
        reject(path, "is not an adapter: its type is not `adapter`", "name a LoRA in GGUF format")
    if model and header.architecture != model.architecture:
        architecture, expected = sanitize(header.architecture), sanitize(model.architecture)
        problem = f"is for the architecture `{architecture}`, expected `{expected}`"
        reject(path, problem, "choose a LoRA that was made for the model")


def whole_shape(path: Path, header: Header) -> Shape:
    """Returns the sizes that the memory plan needs, over all parts of a model.

    Raises:
        ModelError: a part cannot be read.
    """
    if header.split_count == 1:
        return header.shape
    _, fields = _read_file(path)
    sizes = dict(header.bytes_by_tensor)
    for part in _part_paths(path, header)[1:]:
        sizes |= read_header(part).bytes_by_tensor
    read_counts = partial(_read_numbers, fields, header.architecture)
    # Each part is mapped on its own, so a span over all parts would be too long.
    return replace(shape_from_fields(read_counts, header.n_vocab, sizes), unit_spans=())


def _read_numbers(fields: Fields, architecture: str, suffix: str) -> tuple[int, ...]:
    """Returns a field's numbers: none if the field is missing or invalid, which other checks
    report."""
    field = fields.by_key.get(f"{architecture}.{suffix}")
    value = field.value if field else ()
    values = value if isinstance(value, tuple) else (value,)
    return tuple(n for n in values if isinstance(n, int) and 0 <= n < 1 << 31)


def _read_file(path: Path) -> tuple[Header, Fields]:
    with open_reader(path) as reader:
        fields, tensors = read_contents(reader)
        return _build_header(fields, tensors, reader.file_bytes), fields


def _build_header(fields: Fields, tensors: Tensors, file_bytes: int) -> Header:
    by_key, architecture = fields.by_key, fields.get("general.architecture", "")
    prefix = f"{architecture}."
    read_counts = partial(_read_numbers, fields, architecture)
    heads = fields.counts(prefix + "attention.head_count")
    heads_kv = fields.counts(prefix + "attention.head_count_kv") or heads
    n_vocab = by_key[TOKENS_KEY].n_items if TOKENS_KEY in by_key else 0
    n_heads, n_embedding = max(heads, default=0), fields.get(prefix + "embedding_length", 0)
    return Header(
        architecture=architecture,
        name=fields.get("general.name", ""),
        kind=fields.get("general.type", ""),
        file_type=fields.get(key, 0) if (key := "general.file_type") in by_key else None,
        n_tensors=len(tensors.bytes_by_name),
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
        shape=shape_from_fields(read_counts, n_vocab, tensors.bytes_by_name),
    )


def _count_tensors_of_other_parts(path: Path, header: Header) -> int:
    problem = f"is part {header.split_no + 1} of {header.split_count}"
    if header.split_count == 1:
        return 0
    suffix = _part_suffix(header, header.split_no)
    if not path.name.endswith(suffix):
        reject(path, f"{problem}, expected a name that ends in `{suffix}`", "rename the file")
    parts = _part_paths(path, header)
    if header.split_no:
        reject(path, f"{problem}, expected part 1", f"use `{sanitize(parts[0].name)}`")
    return sum(_count_tensors_of_part(path, part, no) for no, part in enumerate(parts) if no)


def _part_paths(path: Path, header: Header) -> list[Path]:
    base = path.name.removesuffix(_part_suffix(header, header.split_no))
    return [path.with_name(base + _part_suffix(header, no)) for no in range(header.split_count)]


def _part_suffix(header: Header, split_no: int) -> str:
    return f"-{split_no + 1:05}-of-{header.split_count:05}.gguf"


def _count_tensors_of_part(first: Path, part: Path, split_no: int) -> int:
    if not os.path.lexists(part):
        problem = f"is split into parts, and part `{sanitize(part.name)}` is missing"
        reject(first, problem, "put all parts in one folder")
    header = read_header(part)
    if header.split_no != split_no:
        reject(part, f"is part {header.split_no + 1}, expected part {split_no + 1}")
    return header.n_tensors
