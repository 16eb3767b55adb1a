"""Makes sure that a user has one daemon: the daemon that holds the lock file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager

from llmd import paths
from llmd.errors import DaemonError
from llmd.files import hold_lock

# A client that asks whether a daemon runs holds the lock for an instant.
PROBE_S = 0.5


@contextmanager
def take_lock() -> Iterator[None]:
    """Holds the lock for the daemon's life. The file names the daemon's pid and socket.

    Raises:
        DaemonError: another daemon holds the lock, or the file cannot be written.
    """
    path = paths.lock_path()
    paths.private_dir(path.parent)
    try:
        with hold_lock(path, PROBE_S):
            path.write_text(json.dumps({"pid": os.getpid(), "socket": str(paths.socket_path())}))
            yield
    except TimeoutError:
        holder = path.read_text(errors="replace").strip() or "starting"
        raise DaemonError(f"llmd runs already ({holder})") from None
    except OSError as error:
        raise DaemonError(
            f"Lock `{path}` cannot be written: {error.strerror}; make the folder writable, or free"
            " some space"
        ) from None
