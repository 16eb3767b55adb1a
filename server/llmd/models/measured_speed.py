"""Stores the speeds that `llmd bench model` measured, by model file, in `speeds.json` of the state
folder, for `llmd models`. Nothing depends on the file."""

from __future__ import annotations

import json
from pathlib import Path

from llmd import paths
from llmd.files import read_regular, write_whole


def record(model: Path, tokens_per_s: float) -> None:
    """Stores a speed. Does nothing if the file cannot be written."""
    path = paths.speeds_path()
    try:
        rows = {**read_all(), _key(model): round(tokens_per_s, 1)}
        paths.private_dir(path.parent)
        write_whole(path, json.dumps(rows, indent=1).encode() + b"\n")
    except OSError:
        return


def lookup(model: Path) -> float | None:
    """Returns a model's measured decode speed in tokens per second, or None."""
    try:
        return read_all().get(_key(model))
    except OSError:
        return None


def read_all() -> dict[str, float]:
    try:
        rows = json.loads(read_regular(paths.speeds_path()))
        return {str(key): float(value) for key, value in rows.items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}


def _key(model: Path) -> str:
    return f"{model.resolve()} {model.stat().st_size}"
