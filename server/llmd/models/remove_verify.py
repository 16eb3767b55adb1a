"""Removes pulled models, and verifies that model files have the hash that they were pulled with."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

from llmd import paths
from llmd.errors import BadInput, ModelError
from llmd.models import external_caches, pulled_files, resolve
from llmd.models.catalog import catalog
from llmd.models.hub_reference import HubFile, part_names
from llmd.models.listing import InstalledModel, installed_models
from llmd.models.pull.hub import sha256_of
from llmd.models.pull.staging import PARTIAL_PREFIX, only_pull

_BLOB = re.compile(r"(?:sha256-)?([0-9a-f]{64})")


def remove(name: str, in_use: Path | None) -> tuple[int, list[Path]]:
    """Returns the bytes freed and the files removed. A user's own file is only unregistered.

    Raises:
        BadInput: the model is not on this machine, is in use, or belongs to another program.
        ModelError: the disk refuses.
    """
    model = find_installed(name)
    if model.owner == "Ollama":
        name = model.name.removeprefix(external_caches.OLLAMA_PREFIX)
        advice = f"run `{shlex.join(('ollama', 'rm', name))}`"
        raise BadInput(f"Model `{model.name}` belongs to Ollama; {advice}")
    if model.owner in ("llama.cpp", "the hub's client"):
        raise BadInput(f"Model `{model.name}` belongs to {model.owner}; delete `{model.path}`")
    if in_use is not None and in_use.exists() and in_use.samefile(model.path):
        raise BadInput(f"Model `{name}` is in use; run `llmd use` with another model first")
    try:
        with only_pull(lambda _: None):
            return _remove(model)
    except OSError as error:
        raise ModelError(f"Model `{name}` cannot be removed: {error.strerror or error}") from error


def verify(model: InstalledModel) -> str:
    """Returns what is wrong with the files of a model: empty if the files have the expected hash,
    `unknown` if no hash is known."""
    for path in _files(model):
        expected = _expected_sha256(model, path)
        try:
            if not expected:
                return "unknown"
            if (sha256 := sha256_of(path, lambda _: None)) != expected:
                return f"`{path.name}` has SHA-256 {sha256}, expected {expected}"
        except OSError as error:
            return f"`{path.name}` cannot be read: {error.strerror}"
    return ""


def find_installed(name: str) -> InstalledModel:
    """Returns the installed model of any name that `llmd use` accepts.

    Raises:
        BadInput: the model is not on this machine.
    """
    path = _path_of(name)
    for model in installed_models():
        if model.name == name or model.path == path:
            return model
    raise BadInput(
        f"Model `{name}` is not on this machine; `llmd models` lists the models that are"
    )


def _path_of(name: str) -> Path | None:
    try:
        source = resolve.pull_source(name)
    except BadInput:  # a file that was deleted can still be registered
        return Path(os.path.expanduser(name)).absolute()
    if isinstance(source, HubFile):
        return resolve.local_path(source)
    return source.absolute() if source else resolve.builtin_path()


def _files(model: InstalledModel) -> list[Path]:
    return [model.path.with_name(name) for name in part_names(model.path.name)]


def _remove(model: InstalledModel) -> tuple[int, list[Path]]:
    """Removes the first part first, so that an interrupted removal leaves no model."""
    n_bytes, removed = 0, []
    for part in _files(model):
        pulled_files.forget(part)
        if model.owner == "own file":
            continue
        for path in (part, *part.parent.glob(f"{PARTIAL_PREFIX}*-{part.name}")):
            if path.exists():
                n_bytes += path.stat().st_size
                path.unlink()
                removed.append(path)
    _remove_empty_folders(model.path.parent)
    return n_bytes, removed


def _remove_empty_folders(folder: Path) -> None:
    root = paths.models_dir()
    while folder != root and folder.is_relative_to(root):
        try:
            folder.rmdir()
        except OSError:  # the folder is not empty
            return
        folder = folder.parent


def _expected_sha256(model: InstalledModel, path: Path) -> str:
    """Returns the hash of the ledger, of the owner's name for the file, or of the catalog."""
    if record := pulled_files.find_record(path):
        return record.sha256
    blob = _BLOB.fullmatch(path.resolve().name)
    if blob and model.owner in ("Ollama", "the hub's client"):
        return blob[1]
    sources = (variant.source for entry in catalog().values() for variant in entry.variants)
    hub_files = (source for source in sources if isinstance(source, HubFile))
    return next((file.sha256 for file in hub_files if resolve.pulled_path(file) == path), "")
