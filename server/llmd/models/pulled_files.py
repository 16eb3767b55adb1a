"""What was pulled, with the hash that it had: `.pulled.json` in the models folder. It may be lost;
then nothing can be said of files without a known hash."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from llmd import paths

LEDGER_FILE = ".pulled.json"


@dataclass(frozen=True, slots=True)
class PulledFile:
    """`path`: relative to the models folder, absolute where the user's own file was pulled."""

    path: str
    sha256: str
    n_bytes: int

    @property
    def absolute_path(self) -> Path:
        return paths.models_dir() / self.path


def load_ledger() -> dict[str, PulledFile]:
    """By path. Empty where the file is missing or no good."""
    try:
        rows = json.loads((paths.models_dir() / LEDGER_FILE).read_bytes())
        found = [
            PulledFile(str(row["path"]), str(row["sha256"]), int(row["n_bytes"])) for row in rows
        ]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return {}
    return {one.path: one for one in found}


def find_record(place: Path) -> PulledFile | None:
    return load_ledger().get(_key(place))


def add(place: Path, sha256: str, n_bytes: int) -> None:
    """Invariant: the caller holds the lock of the models folder.

    Raises:
        OSError: it cannot be written.
    """
    one = PulledFile(_key(place), sha256, n_bytes)
    _write({**load_ledger(), one.path: one})


def forget(place: Path) -> None:
    """As `add`."""
    left = load_ledger()
    if left.pop(_key(place), None):
        _write(left)


def _write(rows: dict[str, PulledFile]) -> None:
    path = paths.models_dir() / LEDGER_FILE
    new = path.with_name(f"{LEDGER_FILE}.new")
    new.write_text(json.dumps([asdict(one) for one in rows.values()], indent=1) + "\n")
    os.replace(new, path)


def _key(place: Path) -> str:
    folder = paths.models_dir()
    return str(place.relative_to(folder) if place.is_relative_to(folder) else place.absolute())
