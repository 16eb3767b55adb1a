"""Counts the outcomes of suggestions by filetype and model, in one small file.

The file holds counts only: no text, and no file name.
"""

from __future__ import annotations

import asyncio
import logging
from itertools import count
from pathlib import Path

import msgspec

from llmd.completion.types import Outcome, OutcomeCount, OutcomeRow
from llmd.errors import printable
from llmd.files import read_regular, write_whole

SAVE_EVERY_S = 60.0
MAX_ROWS = 256  # further rows are counted as one filetype, OTHERS
MAX_NAME_CHARS = 64
MAX_FILE_BYTES = 1 << 20
OTHERS = "(others)"

_log = logging.getLogger("llmd.outcomes")


class _File(msgspec.Struct):
    rows: list[OutcomeRow]
    version: int = 1


class SuggestionStats:
    """Holds the counts since the file was created. Owned by the event loop."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows = {(row.filetype, row.model): row for row in _read(path)}
        self._changed = asyncio.Event()
        self._is_refused = False  # reported once

    def add(self, filetype: str, model: str, outcome: Outcome) -> None:
        row = self._row(_name(filetype), _name(model))
        count: OutcomeCount = getattr(row, outcome.kind)
        count = OutcomeCount(count.n + 1, count.n_chars + outcome.n_chars)
        changed = msgspec.structs.replace(row, **{outcome.kind: count})
        self._rows[row.filetype, row.model] = changed
        self._changed.set()

    def rows(self) -> tuple[OutcomeRow, ...]:
        return tuple(self._rows.values())

    async def save_periodically(self) -> None:
        """Saves changed counts, at most once in `SAVE_EVERY_S`, and at the end."""
        try:
            while True:
                await self._changed.wait()
                self.save()
                await asyncio.sleep(SAVE_EVERY_S)
        finally:
            self.save()

    def save(self) -> None:
        if not self._changed.is_set():
            return
        self._changed.clear()
        try:
            write_whole(self._path, msgspec.json.encode(_File(list(self._rows.values()))))
        except OSError as error:
            if not self._is_refused:
                _log.warning("Counts cannot be written to `%s`: %s", self._path, error.strerror)
            self._is_refused = True
            self._changed.set()  # saved later
        else:
            self._is_refused = False

    def _row(self, filetype: str, model: str) -> OutcomeRow:
        if (filetype, model) not in self._rows and len(self._rows) >= MAX_ROWS:
            filetype = model = OTHERS
        return self._rows.get((filetype, model), OutcomeRow(filetype, model))


def _name(name: str) -> str:
    """Bounds and escapes a name, which an editor may choose freely."""
    return printable(name[:MAX_NAME_CHARS])


def _read(path: Path) -> list[OutcomeRow]:
    """Reads the file, or returns nothing. A file that cannot be read is renamed."""
    try:
        saved = msgspec.json.decode(read_regular(path, MAX_FILE_BYTES), type=_File)
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:  # msgspec's errors are ValueErrors
        aside = _set_aside(path)
        _log.warning("Counts of `%s` cannot be read (%s): %s", path, type(error).__name__, aside)
        return []
    return saved.rows[: MAX_ROWS + 1]


def _set_aside(path: Path) -> str:
    """Renames the file to the first free name, and returns a description."""
    names = (path.with_name(f"{path.name}.broken{no or ''}") for no in count())
    aside = next(name for name in names if not name.exists())
    try:
        path.rename(aside)
    except OSError as error:
        return f"it cannot be renamed: {error.strerror}"
    return f"it was renamed to `{aside.name}`, and the counts start at zero"
