"""Ensures that each user runs one daemon: the daemon that holds the lock on a file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict

from llmd import paths
from llmd.errors import DaemonError
from llmd.files import hold_lock, read_regular
from llmd.processes import own_identity

# A client that asks whether a daemon runs holds the lock for an instant.
PROBE_S = 0.5


@contextmanager
def take_lock() -> Iterator[None]:
    """Holds the lock for the daemon's life, and writes pid and socket into its file.

    Raises:
        DaemonError: another daemon holds the lock, or the file cannot be written.
    """
    path = paths.lock_path()
    paths.private_dir(path.parent)
    with ExitStack() as held:
        try:
            held.enter_context(hold_lock(path, PROBE_S))
        except TimeoutError:
            holder = read_regular(path).decode(errors="replace").strip() or "starting"
            raise DaemonError(f"A daemon is already running ({holder})") from None
        except OSError as error:
            raise DaemonError(
                f"Lock `{path}` cannot be created: {error.strerror}; make its folder writable"
            ) from None
        try:
            row = {**asdict(own_identity()), "socket": str(paths.socket_path())}
            path.write_text(json.dumps(row))
        except OSError as error:
            raise DaemonError(
                f"Lock `{path}` cannot be written: {error.strerror}; free disk space"
            ) from None
        yield
