"""Removing pulled models, and looking whether they are still what was pulled."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from llmd import paths
from llmd.errors import BadInput, ModelError
from llmd.models import external_caches, pulled_files, resolve
from llmd.models.catalog import catalog
from llmd.models.installed import InstalledModel, installed_models
from llmd.models.pull.hub import sha256_of
from llmd.models.pull.presence import PULL_LOCK_FILE
from llmd.models.pull.staging import PARTIAL_PREFIX, only_pull
from llmd.models.references import HubFile, part_names

_BLOB = re.compile(r"(?:sha256-)?([0-9a-f]{64})")


def remove(name: str, in_use: Path | None) -> tuple[int, list[Path]]:
    """Bytes freed, and what was removed. Of the user's own file only the knowledge goes.

    Raises:
        BadInput: no such model is here, it is in use, or another program's.
        ModelError: the disk refuses.
    """
    each = find_installed(name)
    _check_removable(each)
    if in_use is not None and in_use.exists() and in_use.samefile(each.path):
        raise BadInput(f"Model `{name}` is in use; `llmd use` another first")
    try:
        with only_pull(paths.models_dir() / PULL_LOCK_FILE, lambda _: None):
            return _remove(each)
    except OSError as error:
        raise ModelError(f"Model `{name}` cannot be removed: {error.strerror or error}") from error


def verify(each: InstalledModel, tell: Callable[[int], None] = lambda _: None) -> str:
    """What is wrong with its files; empty where they are what was pulled; `unknown` where nobody
    wrote down what that was."""
    for path in _files(each):
        expected = _expected_sha256(each, path)
        try:
            if not expected:
                return "unknown"
            if (got := sha256_of(path, tell)) != expected:
                return f"`{path.name}` has SHA-256 {got}, expected {expected}"
        except OSError as error:
            return f"`{path.name}` cannot be read: {error.strerror}"
    return ""


def find_installed(name: str) -> InstalledModel:
    """
    Raises:
        BadInput: it is not on this machine.
    """
    path = _path_of(name)
    for each in installed_models():
        if each.name == name or (path is not None and each.path == path):
            return each
    raise BadInput(f"Model `{name}` is not on this machine; `llmd models` shows those that are")


def _path_of(name: str) -> Path | None:
    """Also a name that stands for a file by another name of it."""
    try:
        source = resolve.pull_source(name)
    except BadInput:
        return Path(name).absolute()
    if isinstance(source, HubFile):
        return resolve.local_path(source)
    return source.absolute() if source else resolve.builtin_path()


def _files(each: InstalledModel) -> list[Path]:
    return [each.path.with_name(name) for name in part_names(each.path.name)]


def _check_removable(each: InstalledModel) -> None:
    if each.owner == "Ollama":
        known = each.name.removeprefix(external_caches.OLLAMA_PREFIX)
        raise BadInput(f"Model `{each.name}` is Ollama's; `ollama rm {known}` removes it")
    if each.owner in ("llama.cpp", "the hub's client"):
        raise BadInput(f"Model `{each.name}` is of {each.owner}; remove `{each.path}` by hand")


def _remove(each: InstalledModel) -> tuple[int, list[Path]]:
    """The first part goes first, so that a broken rest is no model."""
    n_bytes, gone = 0, []
    for path in _files(each):
        pulled_files.forget(path)
        if each.owner == "own file":
            continue
        for place in (path, *path.parent.glob(f"{PARTIAL_PREFIX}*-{path.name}")):
            if place.exists():
                n_bytes += place.stat().st_size
                place.unlink()
                gone.append(place)
    _remove_empty_folders(each.path.parent)
    return n_bytes, gone


def _remove_empty_folders(folder: Path) -> None:
    root = paths.models_dir()
    while folder != root and folder.is_relative_to(root):
        try:
            folder.rmdir()
        except OSError:  # something is left in it
            return
        folder = folder.parent


def _expected_sha256(each: InstalledModel, path: Path) -> str:
    """By the pull's own record, by its keeper's name of it, or by the catalog's."""
    if kept := pulled_files.find_record(path):
        return kept.sha256
    if each.owner in ("Ollama", "the hub's client") and (
        found := _BLOB.fullmatch(path.resolve().name)
    ):
        return found[1]
    for entry in catalog().values():
        for variant in entry.variants:
            source = variant.source
            if isinstance(source, HubFile) and resolve.pulled_path(source) == path:
                return source.sha256
    return ""
