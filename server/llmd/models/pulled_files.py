"""Records the hash of each pulled file in a ledger: `.pulled.json` in the models folder.

Without the ledger `llmd models verify` cannot check files whose hash is not known elsewhere.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from llmd import paths
from llmd.files import read_regular, write_whole

LEDGER_FILE = ".pulled.json"


@dataclass(frozen=True, slots=True)
class PulledFile:
    """Holds a record. `path` is relative to the models folder; absolute for a user's own file."""

    path: str
    sha256: str
    n_bytes: int


def load_ledger() -> dict[str, PulledFile]:
    """Returns the records by path; none if the ledger is missing or invalid."""
    try:
        rows = json.loads(read_regular(paths.models_dir() / LEDGER_FILE))
        records = [PulledFile(str(r["path"]), str(r["sha256"]), int(r["n_bytes"])) for r in rows]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return {}
    return {record.path: record for record in records}


def find_record(path: Path) -> PulledFile | None:
    return load_ledger().get(_key(path))


def add(path: Path, sha256: str, n_bytes: int) -> None:
    """Adds or replaces a record. Invariant: the caller holds the lock of the models folder.

    Raises:
        OSError: the ledger cannot be written.
    """
    record = PulledFile(_key(path), sha256, n_bytes)
    _write({**load_ledger(), record.path: record})


def forget(path: Path) -> None:
    """Removes a record, if there is one. Invariant and errors are those of `add`."""
    records = load_ledger()
    if records.pop(_key(path), None):
        _write(records)


def _write(rows: dict[str, PulledFile]) -> None:
    path = paths.models_dir() / LEDGER_FILE
    text = json.dumps([asdict(record) for record in rows.values()], indent=1)
    write_whole(path, text.encode() + b"\n")


def _key(path: Path) -> str:
    folder = paths.models_dir()
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path.absolute())
