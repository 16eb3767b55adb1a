"""Reports when a file may have changed. The only importer of watchfiles."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

from watchfiles import awatch

from llmd.files import fingerprint

# Interval in which the watching thread looks; a change is reported within two intervals.
STEP_MS = 500
# Interval of checks without notifications, for changes that the watch misses: the folder was
# replaced, the file system sends no notifications, no watches are left, or a file name in the
# folder is not valid text.
POLL_MS = 5000

_log = logging.getLogger("llmd.watch")
logging.getLogger("watchfiles").setLevel(logging.WARNING)  # it logs every change


async def changes(path: Path) -> AsyncIterator[None]:
    """Yields whenever the file at `path` has changed or was replaced, created or removed.

    Watches the folder, not the file, since editors replace files.
    """
    known, n_failures = fingerprint(path), 0
    while True:
        folder_inode = _inode(path.parent)
        try:
            async for _ in _check_times(path):
                n_failures = 0
                if (current := fingerprint(path)) != known:
                    known = current
                    yield None
                if _inode(path.parent) != folder_inode:
                    break  # the folder was replaced, and the new folder is not watched
        except Exception as error:  # watchfiles raises many kinds; polling goes on without a watch
            # A folder that does not exist yet is watched once it does, and a watch that broke is
            # started again: only a watch that cannot be started a second time is a fault.
            n_failures += path.parent.is_dir()
            if n_failures == 2:
                _log.warning(
                    "Folder `%s` cannot be watched (%s); `%s` is checked every %d s instead",
                    path.parent, type(error).__name__, path.name, POLL_MS // 1000,
                )  # fmt: skip
        await asyncio.sleep(POLL_MS / 1e3)
        if (current := fingerprint(path)) != known:
            known = current
            yield None


async def _check_times(path: Path) -> AsyncIterator[None]:
    """Yields when the file, or the target of a link, should be checked."""
    async for _ in awatch(
        *_folders(path),
        watch_filter=None,
        debounce=STEP_MS,
        step=STEP_MS,
        rust_timeout=POLL_MS,
        yield_on_timeout=True,
        recursive=False,
    ):
        yield None


def _folders(path: Path) -> set[Path]:
    """Returns the folder of the file and, where it is a link, that of its target."""
    return {path.absolute().parent, path.resolve().parent}


def _inode(folder: Path) -> int | None:
    current = fingerprint(folder)
    return current.inode if current else None
