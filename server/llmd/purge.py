"""All that llmd keeps on a machine: what it is, how much, and its removal."""

from __future__ import annotations

import shutil
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from llmd import paths
from llmd.errors import DaemonError, LlmdError
from llmd.models import store
from llmd.models.presence import PULL_LOCK_FILE


@dataclass(frozen=True, slots=True)
class Kept:
    path: Path
    n_bytes: int


def kept() -> list[Kept]:
    """What is there of our own places; a folder of models may hold the user's own besides."""
    ours = (store.BUILTIN_FILE, store.HUB_FOLDER, PULL_LOCK_FILE)
    places = [paths.models_dir() / name for name in ours]
    places += [paths.state_dir(), paths.config_path()]
    with suppress(LlmdError):  # too long a path: nothing can be there
        places.append(paths.socket_path().parent)
    found = [place for place in dict.fromkeys(places) if place.exists() or place.is_symlink()]
    outer = [place for place in found if not any(other in place.parents for other in found)]
    return [Kept(place, _n_bytes(place)) for place in outer]


def remove(found: list[Kept]) -> None:
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
        except OSError as error:
            failed.append(f"`{place.path}`: {error.strerror}")
    for folder in (paths.models_dir(), paths.config_path().parent):
        with suppress(OSError):  # the user's own files are in it, or it never was
            folder.rmdir()
    if failed:
        raise DaemonError(f"Not all could be removed: {', '.join(failed)}")


def _n_bytes(place: Path) -> int:
    files = place.rglob("*") if place.is_dir() else [place]
    return sum(file.lstat().st_size for file in files if file.is_symlink() or file.is_file())
