"""Whether a model's file is there, the same as before, or on its way. Only looks."""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from llmd import paths

PULL_LOCK_FILE = ".pull.lock"


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Another file under the same name has another one."""

    path: Path
    inode: int
    n_bytes: int
    changed_ns: int


def fingerprint(path: Path) -> Fingerprint | None:
    """None where there is no file."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return Fingerprint(path, found.st_ino, found.st_size, found.st_mtime_ns)


def is_being_pulled() -> bool:
    """Whether a `llmd pull` holds the lock of the models folder."""
    try:
        with (paths.models_dir() / PULL_LOCK_FILE).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass  # nobody has ever pulled
    return False
