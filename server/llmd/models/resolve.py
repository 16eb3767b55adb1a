"""Where a model named in the config lies. Only names and paths: it neither makes nor opens a
model, and imports nothing heavy, since the status and the bridge import it."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llmd import paths
from llmd.errors import BadInput, ModelError
from llmd.models import catalog, external_caches
from llmd.models.references import EXPECTED, HUB_PREFIX, HubFile, parse_ref

if TYPE_CHECKING:
    from llmd.models.catalog_schema import EntryOrder

BUILTIN = "builtin"
BUILTIN_FILE = "smollm2-135m-fim-3-Q8_0.gguf"
HUB_FOLDER = "hf"  # Invariant: holds the hub's files alone, so that no OWNER meets another name.


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """A model as it is given to the engine. `order`: what its entry says; empty: its family's."""

    path: Path
    order: EntryOrder = ""
    adapters: tuple[tuple[Path, float], ...] = ()  # and their scales


def builtin_path() -> Path:
    """Where the built-in model lies once it has been pulled."""
    return paths.models_dir() / BUILTIN_FILE


def pulled_path(file: HubFile) -> Path:
    """Where a file of the hub lies once it has been pulled: hf/OWNER/REPO/FILE."""
    return paths.models_dir() / HUB_FOLDER / file.repo / file.file


def local_path(file: HubFile) -> Path | None:
    """Where a file of the hub is on this machine: pulled, or held by another program."""
    pulled = pulled_path(file)
    return external_caches.find_hub_file(file) if _file_problem(pulled) else pulled


def model_path(name: str) -> Path:
    """The file of the model that `model` in the config names: `builtin`, a name of the catalog,
    `hf:OWNER/REPO/FILE`, `ollama:NAME`, `llama.cpp:FILE`, or a path.

    Raises:
        ModelError: there is no such file, or the name is malformed.
    """
    if name == BUILTIN:
        return _require_file(name, builtin_path())
    if external_caches.is_external_name(name):
        if found := external_caches.find_model(name):
            return found.path
        raise ModelError(
            f"Model `{name}` is not on this machine; `llmd models` shows those that are"
        )
    try:
        source = _source(name)
    except BadInput as error:  # The engine waits for a model that is wrong; it can't for an input.
        raise ModelError(str(error)) from None
    if isinstance(source, HubFile):
        return _require_file(name, local_path(source) or pulled_path(source))
    path = source or _expand_user(name)
    if state := _file_problem(path):
        raise ModelError(
            f"Model file `{path}` {state}; set `model` in {paths.config_path()} to a GGUF file"
        )
    return path


def resolve_model(name: str) -> ResolvedModel:
    """With what its entry in the catalog adds to the file.

    Raises:
        ModelError: as `model_path`, also of an adapter.
    """
    path = model_path(name)
    if external_caches.is_external_name(name):
        found = external_caches.find_model(name)
        return ResolvedModel(
            path, "", tuple((lora, 1.0) for lora in found.adapters) if found else ()
        )
    if name == BUILTIN or name.startswith(HUB_PREFIX) or not (entry := catalog.find_variant(name)):
        return ResolvedModel(path)
    adapters = tuple((_adapter_path(name, a.source), a.scale) for a in entry[0].adapters)
    return ResolvedModel(path, entry[0].order, adapters)


def pull_source(name: str) -> HubFile | Path | None:
    """The file of the hub that `llmd pull NAME` brings, a path of the user's own file, None for
    the built-in model.

    Raises:
        BadInput: it is no known name, or a malformed reference.
    """
    if name == BUILTIN:
        return None
    if external_caches.is_external_name(name):
        if found := external_caches.find_model(name):
            return found.path
        raise BadInput(f"Model `{name}` is not on this machine; its own program brings it")
    if (source := _source(name)) is not None:
        return source
    path = _expand_user(name)
    is_here = not _file_problem(path)
    if is_here:
        return path
    if name.lower().endswith(".gguf") or "/" in name:
        hint = f"; for the hub's, run `llmd pull {HUB_PREFIX}{name}`" if _could_be_ref(name) else ""
        raise BadInput(f"Model file `{path}` {_file_problem(path)}{hint or '; name a GGUF file'}")
    raise BadInput(_unknown_name_message(name))


def adapters_to_pull(name: str) -> tuple[HubFile, ...]:
    """Those of the hub that belong to a name of the catalog."""
    found = None if name.startswith(HUB_PREFIX) else catalog.find_variant(name)
    sources = (adapter.source for adapter in found[0].adapters) if found else ()
    return tuple(source for source in sources if isinstance(source, HubFile))


def _source(name: str) -> HubFile | Path | None:
    """None where `name` is a path of the user's own."""
    if name.startswith(HUB_PREFIX):
        return parse_ref(name)
    found = None if "/" in name else catalog.find_variant(name)
    return found[1].source if found else None


def _require_file(name: str, path: Path) -> Path:
    if _file_problem(path):
        raise ModelError(f"Model `{name}` is not on this machine; run `llmd pull {name}`")
    return path


def _adapter_path(name: str, source: HubFile | Path) -> Path:
    path = (local_path(source) or pulled_path(source)) if isinstance(source, HubFile) else source
    if state := _file_problem(path):
        advice = f"run `llmd pull {name}`" if isinstance(source, HubFile) else "correct the catalog"
        raise ModelError(f"Adapter `{path}` of model `{name}` {state}; {advice}")
    return path


def _file_problem(path: Path) -> str:
    try:
        return "" if stat.S_ISREG(path.stat().st_mode) else "is not a file"
    except (FileNotFoundError, NotADirectoryError):
        return "does not exist"
    except (OSError, ValueError) as error:  # a folder that is closed, a name that is too long
        return f"cannot be reached: {getattr(error, 'strerror', error)}"


def _could_be_ref(name: str) -> bool:
    try:
        parse_ref(f"{HUB_PREFIX}{name}")
    except BadInput:
        return False
    return True


def _unknown_name_message(name: str) -> str:
    from difflib import get_close_matches

    names = [BUILTIN, *catalog.catalog()]
    near = get_close_matches(name.lower().partition(":")[0], names, n=1)
    meant = f"; did you mean `{near[0]}`" if near else ""
    expected = f"a name that `llmd models` shows, {EXPECTED} or a GGUF file"
    return f"Model `{name}` is not known, expected {expected}{meant}"


def _expand_user(name: str) -> Path:
    try:
        return Path(name).expanduser()
    except RuntimeError:  # `~name` of a user that is not known
        return Path(name)
