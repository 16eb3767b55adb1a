"""Lists the models of this machine and those of the catalog, each with an estimate of the fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from llmd import paths
from llmd.config import EngineConfig
from llmd.errors import BadInput, ModelError
from llmd.models import external_caches, measured_speed, pulled_files, resolve
from llmd.models.catalog import catalog, find_variant
from llmd.models.catalog_schema import Entry, ShapeRow, Variant
from llmd.models.gguf.validate import read_header, whole_shape
from llmd.models.hub_reference import HUB_PREFIX, HubFile, part_names
from llmd.models.pull.staging import PARTIAL_PREFIX
from llmd.models.recommend import (
    FitEstimate,
    HostResources,
    active_share,
    best_quantisation,
    estimate,
    estimate_variant,
)

_FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K",
    11: "Q3_K_S", 12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S",
    17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 24: "IQ1_S", 25: "IQ4_NL", 30: "IQ4_XS", 32: "BF16",
}  # fmt: skip  # llama.h, enum llama_ftype
_BUILTIN_BYTES = 144_810_912


@dataclass(frozen=True, slots=True)
class InstalledModel:
    """Describes a model file on this machine.

    `name` is accepted by `llmd use`. `owner` is the program or user that owns the file, empty for a
    model that llmd pulled. `problem` is the reason why the model cannot be used, or empty.
    """

    name: str
    path: Path
    n_bytes: int
    owner: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class ModelRow:
    """Holds what `llmd models` shows of one model. `why` explains the choice of quantisation."""

    name: str
    quantisation: str
    family: str
    licence: str
    n_bytes: int  # 0: not known
    is_exact: bool
    suit: FitEstimate | None
    where: str = ""  # empty: not on this machine
    path: str = ""
    measured_tokens_per_s: float = 0.0
    why: str = ""
    use: str = ""
    problem: str = ""


def installed_models() -> list[InstalledModel]:
    """Lists the models that llmd pulled, then the user's own files, then those of other programs.

    A name occurs once: of several files the first is the one that `llmd use` loads.
    """
    by_name: dict[str, InstalledModel] = {}
    for model in (*_pulled_models(), *_own_models(), *_external_models()):
        by_name.setdefault(model.name, model)
    return [*by_name.values()]


def installed_rows(room: HostResources, engine: EngineConfig) -> list[ModelRow]:
    """Describes each installed model on a machine with the resources `room`."""
    entries = {_name(entry, variant): entry for entry, variant in _variants_by_ref().values()}
    entries[resolve.BUILTIN] = _builtin_entry()
    return [_row(model, entries.get(model.name), room, engine) for model in installed_models()]


def pullable_rows(room: HostResources, engine: EngineConfig) -> list[ModelRow]:
    """Describes each catalog entry in the best quantisation for `room`. The built-in model comes
    first if it has not been made."""
    is_made = resolve.builtin_path().is_file()
    entries = [*([] if is_made else [_builtin_entry()]), *catalog().values()]
    best = [(entry, *best_quantisation(entry, room, engine)) for entry in entries]
    return [build_row(entry, variant, room, engine, why) for entry, variant, why in best]


def find_entry(name: str) -> Entry:
    """Returns the catalog entry of NAME or NAME:QUANTISATION; also that of the built-in model.

    Raises:
        BadInput: there is no such entry, or the entry lacks the quantisation.
    """
    if name == resolve.BUILTIN:
        return _builtin_entry()
    if found := find_variant(name):
        return found[0]
    raise BadInput(f"Model `{name}` is not in the catalog; `llmd models` lists the catalog")


def _builtin_entry() -> Entry:
    """Describes the built-in model, which is not in the catalog since no hub has the file."""
    file = Variant(resolve.BUILTIN, "Q8_0", resolve.builtin_path(), _BUILTIN_BYTES, is_exact=True)
    return Entry(
        resolve.BUILTIN, "smollm2-fim", "spm", "Apache-2.0",
        "a first look, and machines without a hub: built from a package on PyPI", 0, 0.135, 0.135,
        ShapeRow(30, 3, 64, 8192, 576, 9, 1536, 49152), (), (file,),
    )  # fmt: skip


def build_row(
    entry: Entry, variant: Variant, room: HostResources, engine: EngineConfig, why: str = ""
) -> ModelRow:
    fit = estimate_variant(entry, variant, room, engine) if variant.n_bytes else None
    return ModelRow(
        _name(entry, variant), variant.quantisation, entry.family, entry.licence, variant.n_bytes,
        variant.is_exact, fit, why=why, use=entry.use,
    )  # fmt: skip


def _name(entry: Entry, variant: Variant) -> str:
    """Names the quantisation always, so that all rows of the catalog look alike."""
    is_builtin = entry.name == resolve.BUILTIN
    return entry.name if is_builtin else f"{entry.name}:{variant.quantisation}"


def _pulled_models() -> Iterator[InstalledModel]:
    builtin = resolve.builtin_path()
    if builtin.is_file():
        yield InstalledModel(resolve.BUILTIN, builtin, builtin.stat().st_size, "built in")
    root = paths.models_dir() / resolve.HUB_FOLDER
    for path in sorted(root.rglob("*.[gG][gG][uU][fF]")):
        is_first = path.name == part_names(path.name)[0]
        if is_first and path.is_file() and not path.name.startswith(PARTIAL_PREFIX):
            yield _installed(_hub_name(f"{HUB_PREFIX}{path.relative_to(root).as_posix()}"), path)


def _own_models() -> Iterator[InstalledModel]:
    for record in pulled_files.load_ledger().values():
        path = Path(record.path)
        if path.is_absolute() and path.name == part_names(path.name)[0]:
            yield _installed(record.path, path, "own file")


def _external_models() -> Iterator[InstalledModel]:
    for model in external_caches.external_models():
        yield InstalledModel(_hub_name(model.name), model.path, model.n_bytes, model.owner)


def _installed(name: str, path: Path, owner: str = "") -> InstalledModel:
    parts = [path.with_name(part) for part in part_names(path.name)]
    missing = [part.name for part in parts if not part.is_file()]
    n_bytes = sum(part.stat().st_size for part in parts if part.is_file())
    problem = f"`{missing[0]}` is missing" if missing else ""
    return InstalledModel(name, path, n_bytes, owner, problem)


def _hub_name(ref: str) -> str:
    """Returns the catalog's name for `hf:OWNER/REPO/FILE`, or `ref` itself if there is none."""
    found = _variants_by_ref().get(ref)
    return _name(*found) if found else ref


def _variants_by_ref() -> dict[str, tuple[Entry, Variant]]:
    return {
        variant.source.ref: (entry, variant)
        for entry in catalog().values()
        for variant in entry.variants
        if isinstance(variant.source, HubFile)
    }


def _row(
    model: InstalledModel, entry: Entry | None, room: HostResources, engine: EngineConfig
) -> ModelRow:
    header, fit, problem = None, None, model.problem
    try:
        header = None if problem else read_header(model.path)
        if header and header.kind != "adapter":
            fit = estimate(whole_shape(model.path, header), room, engine, active_share(entry))
    except ModelError as error:
        header, problem = None, str(error)
    quantisation = _FILE_TYPES.get(header.file_type or 0, "") if header else ""
    family = entry.family if entry else header.architecture if header else ""
    return ModelRow(
        model.name, quantisation, family, entry.licence if entry else "", model.n_bytes, True, fit,
        model.owner or "pulled", str(model.path), measured_speed.lookup(model.path) or 0.0,
        problem=problem,
    )  # fmt: skip
