"""All that llmd keeps on a machine: what it is, how much, and its removal.

Only what has a name of ours: a folder that an environment variable names may hold anything.
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
from llmd.models.pull.presence import PULL_LOCK_FILE
from llmd.models.pulled_files import LEDGER_FILE

MODELS_FILES = (PULL_LOCK_FILE, LEDGER_FILE)


@dataclass(frozen=True, slots=True)
class OwnedPath:
    path: Path
    n_bytes: int


def owned_paths() -> list[OwnedPath]:
    """What is there of our own files, and of the folders that are ours alone."""
    models, log = paths.models_dir(), paths.log_path()
    places = [models / name for name in (resolve.BUILTIN_FILE, resolve.HUB_FOLDER, *MODELS_FILES)]
    places += [log, *(log.with_name(f"{log.name}.{no + 1}") for no in range(N_KEPT))]
    places += [paths.lock_path(), paths.config_path()]
    places.append(paths.speeds_path())
    counts = paths.outcomes_path()
    places += [counts, *counts.parent.glob(f"{counts.name}.*")]  # and what was set aside
    with suppress(LlmdError):  # too long a path: nothing can be there
        places.append(paths.socket_path())
    found = (place for place in places if place.exists() or place.is_symlink())
    return [OwnedPath(place, _n_bytes(place)) for place in found]


def remove(found: list[OwnedPath]) -> None:
    """A link is removed and not followed; a folder that is left empty goes too.

    Raises:
        DaemonError: something could not be removed; the rest was.
    """
    failed: list[str] = []
    for place in found:
        try:
            if stat.S_ISDIR(place.path.lstat().st_mode):
                shutil.rmtree(place.path)
            else:
                place.path.unlink()
        except FileNotFoundError:
            pass  # the daemon removed its socket as it ended
        except OSError as error:
            failed.append(f"`{place.path}`: {error.strerror}")
    for folder in (
        paths.models_dir(), paths.runtime_dir(), paths.state_dir(), paths.config_path().parent,
    ):  # fmt: skip
        with suppress(OSError):  # the user's own files are in it, or it never was
            folder.rmdir()
    if failed:
        raise DaemonError(f"Not all could be removed: {', '.join(failed)}; remove it by hand")


def _n_bytes(place: Path) -> int:
    files = place.rglob("*") if place.is_dir() else [place]
    return sum(file.lstat().st_size for file in files if file.is_symlink() or file.is_file())
