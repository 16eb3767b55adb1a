"""One daemon of each user: who holds the lock's file is it."""

from __future__ import annotations

import fcntl
import json
import os
import time
from typing import IO

from llmd import paths
from llmd.errors import DaemonError

_TRIES, _PAUSE_S = 25, 0.02


def take_lock() -> IO[str]:
    """The one daemon of this user holds this file's lock; it says who and where.

    Raises:
        DaemonError: another daemon holds it, or the folder can't be written.
    """
    paths.private_dir(paths.state_dir())
    try:
        lock = open(paths.lock_path(), "a+", opener=_private)  # noqa: SIM115 - held until the end
    except OSError as error:
        raise DaemonError(
            f"Lock `{paths.lock_path()}` can't be made: {error.strerror};"
            " make that folder one that you may write"
        ) from None
    if not _lock(lock):
        lock.seek(0)
        raise DaemonError(f"llmd runs already ({lock.read().strip() or 'starting'})") from None
    held = json.dumps({"pid": os.getpid(), "socket": str(paths.socket_path())})
    try:
        lock.truncate(0)
        lock.write(held)
        lock.flush()
    except OSError as error:
        raise DaemonError(
            f"Lock `{paths.lock_path()}` can't be written: {error.strerror}; make room"
        ) from None
    return lock


def _lock(lock: IO[str]) -> bool:
    """Tried for a moment: somebody who only asks whether a daemon runs holds it for an instant."""
    for _ in range(_TRIES):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_PAUSE_S)
        else:
            return True
    return False


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
