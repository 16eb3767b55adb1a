"""Tells when a file may have changed. The only importer of watchfiles."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path

from watchfiles import awatch

# How often the watching thread looks; a change is told within two of them.
STEP_MS = 500
# A change that the watch missed is seen so late: a folder that was made anew, a file system
# without notifications, no watches left, a name in the folder that is no text.
LOOK_MS = 5000

_log = logging.getLogger("llmd.watch")
logging.getLogger("watchfiles").setLevel(logging.WARNING)  # it logs every change

_Mark = tuple[int, int, int] | None


async def changes(path: Path) -> AsyncIterator[None]:
    """One item whenever `path` has become another file or changed. Its folder is watched and not
    the file, since editors replace files."""
    mark, n_failures = _mark(path), 0
    while True:
        folder_inode = _inode(path.parent)
        try:
            async for _ in _looks(path):
                n_failures = 0
                if (now := _mark(path)) != mark:
                    mark = now
                    yield None
                if _inode(path.parent) != folder_inode:
                    break  # another folder took its name, and nobody watches that one
        except Exception as error:  # of many kinds; looking goes on without the watch
            # A folder that does not exist yet is watched once it does, and a watch that broke
            # is begun again: only one that cannot be begun a second time is a fault.
            n_failures += path.parent.is_dir()
            if n_failures == 2:
                _log.warning(
                    "Folder `%s` cannot be watched (%s); `%s` is checked every %d s instead",
                    path.parent, type(error).__name__, path.name, LOOK_MS // 1000,
                )  # fmt: skip
        await asyncio.sleep(LOOK_MS / 1e3)
        if (now := _mark(path)) != mark:
            mark = now
            yield None


async def _looks(path: Path) -> AsyncIterator[None]:
    """When it is time to look at the file, or at what it leads to."""
    async for _ in awatch(
        *_folders(path),
        watch_filter=None,
        debounce=STEP_MS,
        step=STEP_MS,
        rust_timeout=LOOK_MS,
        yield_on_timeout=True,
        recursive=False,
    ):
        yield None


def _folders(path: Path) -> set[Path]:
    """Of the file and, where it is a link, of what it leads to."""
    return {path.absolute().parent, path.resolve().parent}


def _mark(path: Path) -> _Mark:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _inode(path: Path) -> int | None:
    found = _mark(path)
    return found[0] if found else None
