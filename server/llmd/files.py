"""Writes whole files, holds locks, and tells whether a file has changed.

Standard library alone until a lock is taken, since every editor's bridge imports this module.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path


def write_whole(path: Path, data: bytes) -> None:
    """Replaces a file's content and keeps its mode; a new file is private. After an interruption
    or a power failure the file has the whole old or the whole new content.

    Raises:
        OSError: the file cannot be written; the old content is still there.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".new", dir=path.parent)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            with suppress(FileNotFoundError):
                os.fchmod(file.fileno(), stat.S_IMODE(path.stat().st_mode))
        replace_durably(Path(name), path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(name)
        raise


def replace_durably(new: Path, target: Path) -> None:
    """Moves a file so that after a power failure the target has its old or its new content."""
    with new.open("rb") as file:
        os.fsync(file.fileno())
    new.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _open_without_waiting(name: str, flags: int) -> int:
    return os.open(name, flags | os.O_NONBLOCK)


def read_regular(path: Path, max_bytes: int = -1) -> bytes:
    """Reads a file of ours, at most `max_bytes` of it. A pipe or a device in its place would block,
    or never end.

    Raises:
        OSError: there is no such file, or it is not a regular file.
    """
    with open(path, "rb", opener=_open_without_waiting) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "is a pipe or a device, expected a file")
        return file.read(max_bytes)


@contextmanager
def hold_lock(
    path: Path, timeout_s: float = -1, on_wait: Callable[[], object] = int
) -> Iterator[None]:
    """Holds the lock of a file, without changing the file. The kernel frees the lock of a process
    that dies. Waits for another holder, for ever or `timeout_s`; calls `on_wait` before waiting.

    Raises:
        TimeoutError: another process holds the lock.
        OSError: the file cannot be made or opened.
    """
    import filelock  # takes as long to import as a status to print

    lock = filelock.FileLock(path, mode=0o600, fallback_to_soft=False)
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        on_wait()
        lock.acquire(timeout=timeout_s)  # filelock.Timeout is a TimeoutError
    try:
        yield
    finally:
        lock.release()


def is_locked(path: Path) -> bool:
    """Returns whether a process holds the lock of a file."""
    try:
        with open(path, opener=_open_without_waiting) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass  # the lock was never taken
    return False


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Identifies a file and its content: another file of the same name has another fingerprint."""

    path: Path
    inode: int
    n_bytes: int
    changed_ns: int


def fingerprint(path: Path) -> Fingerprint | None:
    """Returns None if there is no file that can be reached."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return Fingerprint(path, status.st_ino, status.st_size, status.st_mtime_ns)
