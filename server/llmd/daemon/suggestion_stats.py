"""What became of the suggestions, counted by filetype and model, in one small file.

Counts only: nothing of the text, and no name of a file.
"""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import msgspec

from llmd.completion.types import Outcome
from llmd.errors import printable

SAVE_EVERY_S = 60.0
MAX_ROWS = 256  # what comes beyond is counted as one filetype, OTHERS
MAX_NAME_CHARS = 64
MAX_FILE_BYTES = 1 << 20
OTHERS = "(others)"

_log = logging.getLogger("llmd.outcomes")


class OutcomeCount(msgspec.Struct):
    n: int = 0
    n_chars: int = 0


class StatsRow(msgspec.Struct):
    """One filetype with one model."""

    filetype: str
    model: str
    shown: OutcomeCount = msgspec.field(default_factory=OutcomeCount)
    accepted: OutcomeCount = msgspec.field(default_factory=OutcomeCount)
    typed_through: OutcomeCount = msgspec.field(default_factory=OutcomeCount)
    rejected: OutcomeCount = msgspec.field(default_factory=OutcomeCount)
    dismissed: OutcomeCount = msgspec.field(default_factory=OutcomeCount)
    kept: OutcomeCount = msgspec.field(default_factory=OutcomeCount)


class _File(msgspec.Struct):
    rows: list[StatsRow]
    version: int = 1


class SuggestionStats:
    """The counts of this file since it was begun. Owned by the event loop."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows = {(row.filetype, row.model): row for row in _read(path)}
        self._changed = asyncio.Event()
        self._is_refused = False  # told once

    def add(self, filetype: str, model: str, outcome: Outcome) -> None:
        found: OutcomeCount = getattr(self._row(_name(filetype), _name(model)), outcome.kind)
        found.n += 1
        found.n_chars += outcome.n_chars
        self._changed.set()

    def rows(self) -> list[dict[str, Any]]:
        """Of `llmd status --json`."""
        return [msgspec.to_builtins(row) for row in self._rows.values()]

    async def save_periodically(self) -> None:
        """Writes what has changed, at most once in `SAVE_EVERY_S`, and at the end."""
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
            _write(self._path, msgspec.json.encode(_File(list(self._rows.values()))))
        except OSError as error:
            if not self._is_refused:
                _log.warning("Counts cannot be written to `%s`: %s", self._path, error.strerror)
            self._is_refused = True
            self._changed.set()  # another time
        else:
            self._is_refused = False

    def _row(self, filetype: str, model: str) -> StatsRow:
        if (filetype, model) not in self._rows and len(self._rows) >= MAX_ROWS:
            filetype = model = OTHERS
        return self._rows.setdefault((filetype, model), StatsRow(filetype, model))


def _name(name: str) -> str:
    """What an editor calls a filetype may be anything."""
    return printable(name[:MAX_NAME_CHARS])


def _read(path: Path) -> list[StatsRow]:
    """Empty where there is no file, or one that cannot be read; that one is set aside."""
    try:
        with path.open("rb") as file:
            found = msgspec.json.decode(file.read(MAX_FILE_BYTES), type=_File)
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:  # msgspec's errors are ValueErrors
        aside = _set_aside(path)
        _log.warning("Counts of `%s` cannot be read (%s): %s", path, type(error).__name__, aside)
        return []
    return found.rows[: MAX_ROWS + 1]


def _set_aside(path: Path) -> str:
    """Under the first free name beside it; says which."""
    names = (path.with_name(f"{path.name}.broken{no or ''}") for no in count())
    aside = next(name for name in names if not name.exists())
    try:
        path.rename(aside)
    except OSError as error:
        return f"it cannot be set aside: {error.strerror}"
    return f"it was set aside as `{aside.name}`, and counting begins anew"


def _write(path: Path, data: bytes) -> None:
    """The whole file takes the old one's place, or nothing does."""
    new = path.with_name(f"{path.name}.new")
    with suppress(FileNotFoundError):
        new.unlink()  # a link, or what an end in the middle has left
    descriptor = os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(data)
    new.replace(path)
