"""Lists and removes the files that llmd keeps on a machine.

Touches only files with a name that llmd chose: a folder that an environment variable names may hold
other files too.
"""

from __future__ import annotations

import shutil
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from llmd import paths
from llmd.daemon.logs import N_KEPT
from llmd.errors import DaemonError, LlmdError
from llmd.models import resolve
from llmd.models.pull.staging import PULL_LOCK_FILE
from llmd.models.pulled_files import LEDGER_FILE


@dataclass(frozen=True, slots=True)
class OwnedPath:
    """Holds a file or a folder, and the size of the content."""

    path: Path
    n_bytes: int


def owned_paths() -> list[OwnedPath]:
    """Lists the existing files and folders that belong to llmd alone."""
    models, log = paths.models_dir(), paths.log_path()
    names = (resolve.BUILTIN_FILE, resolve.HUB_FOLDER, PULL_LOCK_FILE, LEDGER_FILE)
    candidates = [models / name for name in names]
    candidates += [log, *(log.with_name(f"{log.name}.{no + 1}") for no in range(N_KEPT))]
    candidates += [paths.lock_path(), paths.config_path(), paths.speeds_path()]
    counts = paths.outcomes_path()
    candidates += [counts, *counts.parent.glob(f"{counts.name}.*")]  # also the broken ones
    with suppress(LlmdError):  # a socket path that is too long cannot exist
        candidates.append(paths.socket_path())
    existing = (path for path in candidates if path.exists() or path.is_symlink())
    return [OwnedPath(path, _n_bytes(path)) for path in existing]


def remove(owned: list[OwnedPath]) -> None:
    """Removes files and folders, then the empty folders of llmd. Does not follow links.

    Raises:
        DaemonError: some paths could not be removed; the others were.
    """
    failed: list[str] = []
    for path in (each.path for each in owned):
        try:
            if stat.S_ISDIR(path.lstat().st_mode):
                shutil.rmtree(path)
            else:
                path.unlink()
        except FileNotFoundError:
            pass  # the daemon removes the socket at exit
        except OSError as error:
            failed.append(f"`{path}`: {error.strerror}")
    folders = [paths.models_dir(), paths.runtime_dir(), paths.state_dir()]
    folders += [folder.parent for folder in folders if folder.parent.name == "llmd"]
    for folder in (*folders, paths.config_path().parent):
        with suppress(OSError):  # the folder has other files, or does not exist
            folder.rmdir()
    if failed:
        raise DaemonError(f"Some files cannot be removed: {', '.join(failed)}; delete them by hand")


def _n_bytes(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.lstat().st_size for file in files if file.is_symlink() or file.is_file())
