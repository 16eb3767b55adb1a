"""Defines the entries of a catalog, and builds entries from the rows of a TOML file. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from llmd.errors import BadInput
from llmd.models.hub_reference import HUB_PREFIX, HubFile, parse_ref

# Bits per weight, with the scales of each block: llama.cpp, tools/quantize/README.md.
BITS = {
    "F16": 16.0, "BF16": 16.0, "Q8_0": 8.5, "Q6_K": 6.56, "Q5_K_M": 5.7, "Q5_K_S": 5.57,
    "Q5_0": 5.5, "Q4_K_M": 4.89, "Q4_K_S": 4.67, "Q4_0": 4.67, "IQ4_XS": 4.46, "Q3_K_L": 4.3,
    "Q3_K_M": 4.0, "Q3_K_S": 3.64, "Q2_K": 3.16,
}  # fmt: skip
_OTHER_BITS = 5.0  # chosen: near the middle of the table
_NAME = re.compile(r"[\w][\w.+-]*", re.ASCII)
# Names, and prefixes of names, that stand for other sources of models.
_RESERVED = ("builtin", "hf", "ollama", "llama.cpp")

PositiveCount = Annotated[int, Meta(ge=1, le=1 << 40)]
OptionalCount = Annotated[int, Meta(ge=0, le=1 << 40)]  # 0: not known
Billions = Annotated[float, Meta(ge=0, le=10_000)]
EntryOrder = Literal["", "psm", "spm", "spm2"]  # empty: the order of the family


class _Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class ShapeRow(_Row, frozen=True):
    """Holds what determines the size of the KV cache and of the batches."""

    n_layers: PositiveCount
    n_head_kv: PositiveCount
    head_dim: PositiveCount
    n_ctx_train: PositiveCount
    n_embd: OptionalCount = 0
    n_head: OptionalCount = 0
    n_ff: OptionalCount = 0  # of all active experts together
    n_vocab: OptionalCount = 0


_UNKNOWN_SHAPE = ShapeRow(0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Adapter:
    """Describes a LoRA that is applied to the model."""

    source: HubFile | Path
    scale: float


@dataclass(frozen=True, slots=True)
class Variant:
    """Describes an entry in one quantisation."""

    name: str  # NAME for the first variant of the entry, else NAME:QUANTISATION
    quantisation: str
    source: HubFile | Path  # a path: the user's own file
    n_bytes: int  # 0: not known
    is_exact: bool  # False: `n_bytes` is computed from the number of weights


@dataclass(frozen=True, slots=True)
class Entry:
    name: str
    family: str
    order: EntryOrder
    licence: str
    use: str
    fim_em: float
    n_params_b: float
    n_active_params_b: float
    shape: ShapeRow
    adapters: tuple[Adapter, ...]
    variants: tuple[Variant, ...]

    @property
    def allows_commerce(self) -> bool:
        return "no commercial use" not in self.licence


class FilesRow(_Row, frozen=True):
    """Names `file` of `repo` on the hub or a local `path`. Both may contain `{quantisation}`."""

    quantisations: Annotated[tuple[str, ...], Meta(min_length=1)]
    repo: str = ""
    file: str = ""
    path: str = ""
    revision: str = "main"
    sha256: dict[str, Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]] = {}
    bytes: dict[str, PositiveCount] = {}


class AdapterRow(_Row, frozen=True):
    file: str  # hf:OWNER/REPO/FILE, or a path
    scale: Annotated[float, Meta(gt=-10, lt=10)] = 1.0


class CatalogRow(_Row, frozen=True):
    files: Annotated[tuple[FilesRow, ...], Meta(min_length=1)]
    family: str = ""
    order: EntryOrder = ""
    licence: str = "not given"
    use: str = ""
    fim_em: Annotated[float, Meta(ge=0, le=100)] = 0
    n_params_b: Billions = 0
    n_active_params_b: Billions = 0
    shape: ShapeRow = _UNKNOWN_SHAPE
    adapters: tuple[AdapterRow, ...] = ()


def parse_rows(data: dict[str, Any], subject: str) -> Mapping[str, CatalogRow]:
    """Validates the names and values of a catalog. `subject` is the path of the file.

    Raises:
        BadInput: a name or a value is invalid.
    """
    rows = {}
    for name, value in data.items():
        if not _NAME.fullmatch(name) or name in _RESERVED or name.lower().endswith(".gguf"):
            raise BadInput(f"Catalog `{subject}` has the invalid model name `{ascii(name)[1:-1]}`")
        try:
            rows[name] = msgspec.convert(value, CatalogRow, strict=False)
        except msgspec.ValidationError as error:
            raise BadInput(f"Catalog `{subject}`, `{name}`: {error}; correct the entry") from None
    return rows


def build_entry(name: str, row: CatalogRow, subject: str) -> Entry:
    """Builds the entry of a row, with a variant for each quantisation.

    Raises:
        BadInput: the reference to a file or adapter is invalid.
    """
    files_by_kind = [(files, kind) for files in row.files for kind in files.quantisations]
    labels = [name, *(f"{name}:{kind}" for _, kind in files_by_kind[1:])]
    try:
        labelled = zip(labels, files_by_kind, strict=True)
        variants = tuple(_variant(label, row, *files_kind) for label, files_kind in labelled)
        adapters = tuple(Adapter(_adapter_source(a.file), a.scale) for a in row.adapters)
    except BadInput as error:
        raise BadInput(f"Catalog `{subject}`, `{name}`: {error}") from None
    active = row.n_active_params_b or row.n_params_b
    return Entry(
        name, row.family, row.order, row.licence, row.use, row.fim_em, row.n_params_b, active,
        row.shape, adapters, variants,
    )  # fmt: skip


def _variant(label: str, row: CatalogRow, files: FilesRow, kind: str) -> Variant:
    n_exact = files.bytes.get(kind, 0)
    n_bytes = n_exact or round(row.n_params_b * 1e9 * BITS.get(kind, _OTHER_BITS) / 8)
    return Variant(label, kind, _source(label, files, kind), n_bytes, bool(n_exact))


def _source(label: str, files: FilesRow, kind: str) -> HubFile | Path:
    if bool(files.path) == bool(files.repo and files.file):
        raise BadInput("expected `repo` and `file`, or `path`")
    if files.path:
        return _expand_path(files.path.replace("{quantisation}", kind))
    file = files.file.replace("{quantisation}", kind)
    ref = parse_ref(f"{HUB_PREFIX}{files.repo}/{file}")
    return HubFile(label, ref.repo, ref.file, files.revision, files.sha256.get(kind, ""))


def _adapter_source(file: str) -> HubFile | Path:
    return parse_ref(file) if file.startswith(HUB_PREFIX) else _expand_path(file)


def _expand_path(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise BadInput(f"`{text}` has no home folder; write the whole path") from None
