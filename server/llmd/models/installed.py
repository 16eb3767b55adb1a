"""The models of this machine and those of the catalog, each with how it suits the machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from llmd import paths
from llmd.config import EngineConfig
from llmd.errors import BadInput, ModelError
from llmd.models import external_caches, measured_speed, pulled_files, resolve
from llmd.models.catalog import catalog, find_variant
from llmd.models.catalog_schema import Entry, ShapeEntry, Variant
from llmd.models.gguf.format import Header
from llmd.models.gguf.header import read_header, whole_shape
from llmd.models.pull.staging import PARTIAL_PREFIX
from llmd.models.recommend import (
    FitEstimate,
    HostResources,
    active_share,
    best_quantisation,
    estimate,
    estimate_variant,
)
from llmd.models.references import HUB_PREFIX, HubFile, part_names

_FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K",
    11: "Q3_K_S", 12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S",
    17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 24: "IQ1_S", 25: "IQ4_NL", 30: "IQ4_XS", 32: "BF16",
}  # fmt: skip  # llama.h, enum llama_ftype


_BUILT_IN_BYTES = 144_810_912


@dataclass(frozen=True, slots=True)
class InstalledModel:
    """A model's file on this machine. `keeper`: whose it is; empty: llmd has pulled it.
    `problem`: why it can't be used."""

    name: str
    path: Path
    n_bytes: int
    owner: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class ModelRow:
    """What there is to say of one model. `why`: of the quantisation that was chosen."""

    name: str
    quantisation: str
    family: str
    licence: str
    n_bytes: int
    is_exact: bool
    suit: FitEstimate | None
    where: str = ""  # empty: to be pulled
    path: str = ""
    measured_tokens_per_s: float = 0.0
    why: str = ""
    use: str = ""
    problem: str = ""


def installed_models() -> list[InstalledModel]:
    """Those that llmd pulled first, then the user's own, then those of other programs."""
    return [*_pulled_models(), *_own_models(), *_external_models()]


def installed_rows(room: HostResources, engine: EngineConfig) -> list[ModelRow]:
    known = _variants_by_file()
    return [_installed_row(each, known, room, engine) for each in installed_models()]


def pullable_rows(room: HostResources, engine: EngineConfig) -> list[ModelRow]:
    """The built-in model where it is not here, and each entry of the catalog in the quantisation
    to take here."""
    lines, made = [], resolve.builtin_path().is_file()
    for entry in (*(() if made else (_builtin_entry(),)), *catalog().values()):
        variant, why = best_quantisation(entry, room, engine)
        lines.append(build_row(entry, variant, room, engine, why))
    return lines


def find_entry(name: str) -> Entry:
    """
    Raises:
        BadInput: neither the catalog's nor the built-in one, or it has no such quantisation.
    """
    if name == resolve.BUILTIN:
        return _builtin_entry()
    if found := find_variant(name):
        return found[0]
    raise BadInput(f"Model `{name}` is not in the catalog; `llmd models` shows all of it")


def _builtin_entry() -> Entry:
    """It has no file on a hub, so it is none of the catalog's."""
    file = Variant(resolve.BUILTIN, "Q8_0", resolve.builtin_path(), _BUILT_IN_BYTES, is_exact=True)
    return Entry(
        resolve.BUILTIN, "smollm2-fim", "spm", "Apache-2.0",
        "a first look, and machines without a hub: made of a package of PyPI", 0, 0.135, 0.135,
        ShapeEntry(30, 3, 64, 8192, 576, 9, 1536, 49152), (), (file,),
    )  # fmt: skip


def build_row(
    entry: Entry, variant: Variant, room: HostResources, engine: EngineConfig, why: str = ""
) -> ModelRow:
    suits = estimate_variant(entry, variant, room, engine)
    return ModelRow(
        variant.name, variant.quantisation, entry.family, entry.licence, variant.n_bytes,
        variant.is_exact, suits if variant.n_bytes else None, why=why, use=entry.use,
    )  # fmt: skip


def _pulled_models() -> Iterator[InstalledModel]:
    builtin = resolve.builtin_path()
    if builtin.is_file():
        yield InstalledModel(resolve.BUILTIN, builtin, builtin.stat().st_size, "built in")
    names = {file: entry[1].name for file, entry in _variants_by_file().items()}
    root = paths.models_dir() / resolve.HUB_FOLDER
    for path in sorted(root.rglob("*.[gG][gG][uU][fF]")):
        is_first = path.name == part_names(path.name)[0]
        if path.name.startswith(PARTIAL_PREFIX) or not is_first or not path.is_file():
            continue
        owner, repo, *rest = path.relative_to(root).parts
        file = "/".join(rest)
        yield _installed_model(
            names.get((f"{owner}/{repo}", file), f"{HUB_PREFIX}{owner}/{repo}/{file}"), path
        )


def _own_models() -> Iterator[InstalledModel]:
    for kept in pulled_files.load_ledger().values():
        place = Path(kept.path)
        if place.is_absolute() and place.name == part_names(place.name)[0]:
            yield _installed_model(kept.path, place, "own file")


def _external_models() -> Iterator[InstalledModel]:
    for found in external_caches.external_models():
        yield InstalledModel(found.name, found.path, found.n_bytes, found.owner)


def _installed_model(name: str, path: Path, keeper: str = "") -> InstalledModel:
    parts = [path.with_name(part) for part in part_names(path.name)]
    missing = [part.name for part in parts if not part.is_file()]
    n_bytes = sum(part.stat().st_size for part in parts if part.is_file())
    return InstalledModel(
        name, path, n_bytes, keeper, f"`{missing[0]}` is missing" if missing else ""
    )


def _variants_by_file() -> dict[tuple[str, str], tuple[Entry, Variant]]:
    """The catalog by repository and file."""
    return {
        (variant.source.repo, variant.source.file): (entry, variant)
        for entry in catalog().values()
        for variant in entry.variants
        if isinstance(variant.source, HubFile)
    }


def _installed_row(
    each: InstalledModel,
    known: dict[tuple[str, str], tuple[Entry, Variant]],
    room: HostResources,
    engine: EngineConfig,
) -> ModelRow:
    entries = {variant.name: entry for entry, variant in known.values()}
    entry = _builtin_entry() if each.name == resolve.BUILTIN else entries.get(each.name)
    try:
        header = None if each.problem else read_header(each.path)
        suits = _estimate(each, header, entry, room, engine) if header else None
        problem = each.problem
    except ModelError as error:
        header, suits, problem = None, None, str(error)
    kind = _FILE_TYPES.get(header.file_type or 0, "") if header else ""
    family = entry.family if entry else header.architecture if header else ""
    return ModelRow(
        each.name, kind, family, entry.licence if entry else "", each.n_bytes, True, suits,
        each.owner or "pulled", str(each.path), measured_speed.lookup(each.path) or 0.0,
        problem=problem,
    )  # fmt: skip


def _estimate(
    each: InstalledModel,
    header: Header,
    entry: Entry | None,
    room: HostResources,
    engine: EngineConfig,
) -> FitEstimate | None:
    if header.kind == "adapter":
        return None
    return estimate(whole_shape(each.path, header), room, engine, active_share(entry))
