"""Resolves the name of a model in the config to a path. Does not open, download or build models.

Imports the standard library alone, since the status and the editor's bridge import this module.
"""

from __future__ import annotations

import shlex
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llmd import paths
from llmd.errors import BadInput, ModelError, os_reason
from llmd.models import catalog, external_caches
from llmd.models.hub_reference import EXPECTED, HUB_PREFIX, HubFile, parse_ref

if TYPE_CHECKING:
    from llmd.models.catalog_schema import EntryOrder

BUILTIN = "builtin"
BUILTIN_FILE = "smollm2-135m-fim-3-Q8_0.gguf"
HUB_FOLDER = "hf"  # Invariant: holds files of the hub alone, so that no OWNER clashes with a file.


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """Describes a model for the engine. `order` is the catalog entry's; empty: the family's."""

    path: Path
    order: EntryOrder = ""
    adapters: tuple[tuple[Path, float], ...] = ()  # each with its scale


def builtin_path() -> Path:
    """Returns the path of the built-in model, whether or not the file exists."""
    return paths.models_dir() / BUILTIN_FILE


def pulled_path(file: HubFile) -> Path:
    """Returns the path of a pulled file, hf/OWNER/REPO/FILE, whether or not the file exists."""
    return paths.models_dir() / HUB_FOLDER / file.repo / file.file


def local_path(file: HubFile) -> Path | None:
    """Returns the path of a hub file that was pulled or that another program has, or None."""
    path = pulled_path(file)
    return external_caches.find_hub_file(file) if _file_problem(path) else path


def model_path(name: str) -> Path:
    """Returns the file of a model: `builtin`, a name of the catalog, `hf:OWNER/REPO/FILE`,
    `ollama:NAME`, `llama.cpp:FILE`, or a path.

    Raises:
        ModelError: there is no such file, or the name is invalid.
    """
    if name == BUILTIN:
        return _require_file(name, builtin_path())
    if external_caches.is_external_name(name):
        if model := external_caches.find_model(name):
            return model.path
        raise ModelError(
            f"Model `{name}` is not on this machine; `llmd models` lists the models that are"
        )
    try:
        source = _source(name)
    except BadInput as error:  # The engine waits after a ModelError, and ends after a BadInput.
        raise ModelError(str(error)) from None
    if isinstance(source, HubFile):
        return _require_file(name, local_path(source) or pulled_path(source))
    path = source or _expand_user(name)
    if problem := _file_problem(path):
        raise ModelError(
            f"Model file `{path}` {problem}; set `model` in {paths.config_path()} to a GGUF file"
        )
    return path


def resolve_model(name: str) -> ResolvedModel:
    """Returns the path of a model, with the order and the adapters that belong to the name.

    Raises:
        ModelError: a file of the model or of an adapter is missing, or the name is invalid.
    """
    path = model_path(name)
    if model := external_caches.find_model(name):
        return ResolvedModel(path, "", tuple((adapter, 1.0) for adapter in model.adapters))
    if name == BUILTIN or name.startswith(HUB_PREFIX) or not (entry := catalog.find_variant(name)):
        return ResolvedModel(path)
    adapters = tuple((_adapter_path(name, a.source), a.scale) for a in entry[0].adapters)
    return ResolvedModel(path, entry[0].order, adapters)


def pull_source(name: str) -> HubFile | Path | None:
    """Returns the hub file that `llmd pull NAME` downloads, or the path of the user's own file, or
    None for the built-in model.

    Raises:
        BadInput: the name is unknown or an invalid reference.
    """
    if name == BUILTIN:
        return None
    if external_caches.is_external_name(name):
        if model := external_caches.find_model(name):
            return model.path
        program = name.partition(":")[0]
        raise BadInput(f"Model `{name}` is not on this machine; download the model with {program}")
    if (source := _source(name)) is not None:
        return source
    path = _expand_user(name)
    if not (problem := _file_problem(path)):
        return path
    if name.lower().endswith(".gguf") or "/" in name:
        hint = "name a GGUF file"
        if _is_ref(f"{HUB_PREFIX}{name}"):
            hint = f"for a file on the hub, run `llmd pull {shlex.quote(HUB_PREFIX + name)}`"
        raise BadInput(f"Model file `{path}` {problem}; {hint}")
    raise BadInput(_unknown_name_message(name))


def adapters_to_pull(name: str) -> tuple[HubFile, ...]:
    """Lists the adapters on the hub that belong to a name of the catalog."""
    if name.startswith(HUB_PREFIX) or not (entry := catalog.find_variant(name)):
        return ()
    return tuple(a.source for a in entry[0].adapters if isinstance(a.source, HubFile))


def _source(name: str) -> HubFile | Path | None:
    """Returns None if `name` is neither a reference nor in the catalog, and so a path."""
    if name.startswith(HUB_PREFIX):
        return parse_ref(name)
    found = None if "/" in name else catalog.find_variant(name)
    return found[1].source if found else None


def _require_file(name: str, path: Path) -> Path:
    if _file_problem(path):
        raise ModelError(
            f"Model `{name}` is not on this machine; run `llmd pull {shlex.quote(name)}`"
        )
    return path


def _adapter_path(name: str, source: HubFile | Path) -> Path:
    path = (local_path(source) or pulled_path(source)) if isinstance(source, HubFile) else source
    if problem := _file_problem(path):
        advice = (
            f"run `llmd pull {shlex.quote(name)}`"
            if isinstance(source, HubFile)
            else "correct the catalog"
        )
        raise ModelError(f"Adapter `{path}` of model `{name}` {problem}; {advice}")
    return path


def _file_problem(path: Path) -> str:
    """Returns an empty text if `path` is a file."""
    try:
        return "" if stat.S_ISREG(path.stat().st_mode) else "is not a file"
    except (FileNotFoundError, NotADirectoryError):
        return "does not exist"
    except (OSError, ValueError) as error:  # no permission, or a name that is too long
        return f"cannot be reached: {os_reason(error)}"


def _is_ref(text: str) -> bool:
    try:
        parse_ref(text)
    except BadInput:
        return False
    return True


def _unknown_name_message(name: str) -> str:
    from difflib import get_close_matches

    names = [BUILTIN, *catalog.catalog()]
    similar = get_close_matches(name.lower().partition(":")[0], names, n=1)
    hint = f"; did you mean `{similar[0]}`?" if similar else ""
    expected = f"a name that `llmd models` shows, {EXPECTED} or a GGUF file"
    return f"Model `{name}` is unknown, expected {expected}{hint}"


def _expand_user(name: str) -> Path:
    try:
        return Path(name).expanduser()
    except RuntimeError:  # `~name` of an unknown user
        return Path(name)
