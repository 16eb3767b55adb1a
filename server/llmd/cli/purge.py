"""Lists and removes the files that llmd made on a machine.

A folder that an environment variable names may hold anything, so nothing is removed but files and
links by a name that llmd chose, and below the models folder what llmd pulled. Folders go when they
are empty. What is in the way of such a name, or lies beside pulled files, is named and left.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from llmd import paths
from llmd.daemon.logs import N_KEPT
from llmd.errors import DaemonError, LlmdError, printable
from llmd.models import pulled_files, resolve
from llmd.models.pull.staging import PARTIAL_FILE, PARTIAL_FOLDER, PULL_LOCK_FILE

MAX_LISTED = 20


@dataclass(frozen=True, slots=True)
class OwnedFile:
    """Holds a file or link to remove, and the size that it frees."""

    path: Path
    n_bytes: int


@dataclass(frozen=True, slots=True)
class Inventory:
    """Holds the files to remove, and what is left where one would expect it to go."""

    owned: tuple[OwnedFile, ...]
    left: tuple[Path, ...]


def inventory() -> Inventory:
    """Lists the existing files that llmd made, and what lies among them."""
    models = paths.models_dir()
    named = [*_named_files(), *_pulled_files(models)]
    existing = {path: status for path in named if (status := _status(path))}
    owned = {path: OwnedFile(path, status.st_size) for path, status in existing.items()
             if _is_removable(path, status.st_mode)}  # fmt: skip
    in_the_way = (path for path in existing if path not in owned)
    unknown = (path for path in _walk(models / resolve.HUB_FOLDER) if path not in owned)
    return Inventory(tuple(owned.values()), (*in_the_way, *unknown))


def listing(found: Inventory) -> str:
    """Returns what goes and what is left, a line each, folded past MAX_LISTED."""
    rows = [f"{each.n_bytes / (1 << 20):8.1f} MiB  {printable(str(each.path))}"
            for each in found.owned]  # fmt: skip
    rest_bytes = sum(each.n_bytes for each in found.owned[MAX_LISTED:])
    lines = _fold(rows, f"more files, {rest_bytes / (1 << 20):.1f} MiB")
    kept = [f"    left      {printable(str(path))}" for path in found.left]
    if kept:
        lines += ["", "Not made by llmd, or no file:", *_fold(kept, "more are left")]
    return "\n".join(lines)


def _fold(lines: list[str], rest: str) -> list[str]:
    n_folded = len(lines) - MAX_LISTED
    return lines if n_folded <= 0 else [*lines[:MAX_LISTED], f"and {n_folded} {rest}"]


def remove(found: Inventory) -> None:
    """Removes the files, then llmd's folders that are empty. Does not follow links.

    Raises:
        DaemonError: some files could not be removed; the others were.
    """
    failed: list[str] = []
    for path in (each.path for each in found.owned):
        try:
            path.unlink()  # which removes no folder
        except FileNotFoundError:
            pass  # the daemon removes the socket at exit
        except OSError as error:
            failed.append(f"`{printable(str(path))}`: {error.strerror}")
    _remove_empty_folders(found)
    if failed:
        raise DaemonError(f"Some files cannot be removed: {', '.join(failed)}; delete them by hand")


def _remove_empty_folders(found: Inventory) -> None:
    models = paths.models_dir()
    below = {parent for each in found.owned for parent in each.path.parents
             if parent.is_relative_to(models) and parent != models}  # fmt: skip
    own = [models, paths.runtime_dir(), paths.state_dir()]
    own += [folder.parent for folder in own if folder.parent.name == "llmd"]
    own.append(paths.config_path().parent)
    deepest_first = sorted(below, key=lambda folder: len(folder.parts), reverse=True)
    for folder in (*deepest_first, *own):
        with suppress(OSError):  # the folder has other files, or does not exist
            folder.rmdir()


def _named_files() -> Iterator[Path]:
    models, log, counts = paths.models_dir(), paths.log_path(), paths.outcomes_path()
    yield from (models / resolve.BUILTIN_FILE, models / PULL_LOCK_FILE)
    yield models / pulled_files.LEDGER_FILE
    yield from (log, *(log.with_name(f"{log.name}.{no + 1}") for no in range(N_KEPT)))
    yield from (paths.lock_path(), paths.config_path(), paths.speeds_path())
    yield from (counts, counts.with_name(f"{counts.name}.broken"))
    with suppress(LlmdError):  # a socket path that is too long cannot exist
        yield paths.socket_path()


def _pulled_files(models: Path) -> Iterator[Path]:
    """Yields what the ledger has of this folder, and what an interrupted pull left. A record of a
    link out of the folder, or of a user's own file elsewhere, is nothing that llmd made."""
    inside = models.resolve()
    for name in pulled_files.load_ledger():
        path = models / name
        if not Path(name).is_absolute() and path.parent.resolve().is_relative_to(inside):
            yield path
    for path in _walk(models / resolve.HUB_FOLDER):
        if re.fullmatch(PARTIAL_FILE, path.name):
            yield path
    for folder in _entries(models):
        if re.fullmatch(PARTIAL_FOLDER, folder.name) and _is_folder(folder):
            yield from (path for path in _entries(folder)
                        if path.suffix in (".whl", ".gguf") and path.is_file())  # fmt: skip


def _walk(folder: Path) -> Iterator[Path]:
    """Yields the files below a folder, without following links to folders."""
    for path in _entries(folder) if _is_folder(folder) else ():
        if _is_folder(path):
            yield from _walk(path)
        else:
            yield path


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:  # none, or not readable
        return []


def _status(path: Path) -> os.stat_result | None:
    """Returns the status of a file or link itself; None: there is none that can be reached."""
    try:
        return path.lstat()
    except OSError:
        return None


def _is_folder(path: Path) -> bool:
    status = _status(path)
    return status is not None and stat.S_ISDIR(status.st_mode)


def _is_removable(path: Path, mode: int) -> bool:
    is_socket = stat.S_ISSOCK(mode) and path.name == paths.SOCKET_FILE
    return stat.S_ISREG(mode) or stat.S_ISLNK(mode) or is_socket
