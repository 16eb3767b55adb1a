"""Tells when a file may have changed. The only importer of watchfiles."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from pathlib import Path

from watchfiles import awatch

# How often the watching thread looks; a change is told within two of them.
STEP_MS = 500

_log = logging.getLogger("llmd.watch")
logging.getLogger("watchfiles").setLevel(logging.WARNING)  # it logs every change


async def changes(path: Path) -> AsyncIterator[None]:
    """One item whenever something happened to `path`. Its folder is watched and not the file,
    since editors replace files. Ends, with a line in the log, where the folder can't be watched."""
    try:
        files = _files(path)
        async for found in awatch(
            *{file.parent for file in files},
            watch_filter=None,
            debounce=STEP_MS,
            step=STEP_MS,
            recursive=False,
        ):
            if any(Path(name) in files for _, name in found):
                yield None
    except (OSError, RuntimeError) as error:
        _log.warning("Changes of `%s` are not seen: %s", path, type(error).__name__)


def _files(path: Path) -> set[Path]:
    """The file and, where it is a link, what it leads to. The folder is made, to be watched."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return {path.absolute(), path.resolve()}
