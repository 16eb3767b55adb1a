"""Reads what other machines printed: tests/data/recordings, whose README names the sources."""

from __future__ import annotations

import tomllib
from pathlib import Path

RECORDINGS = Path(__file__).parents[1] / "data" / "recordings"


def llama_cpp_errors() -> list[tuple[str, str]]:
    """Returns the kind and the text of each message of a load or an evaluation that failed."""
    with (RECORDINGS / "llama_cpp_errors.toml").open("rb") as file:
        return [(each["kind"], each["text"]) for each in tomllib.load(file)["message"]]


def nvidia_names() -> list[tuple[str, float]]:
    """Returns names of NVIDIA's GPUs with their bandwidth in GB/s; 0: not known."""
    with (RECORDINGS / "nvidia_names.toml").open("rb") as file:
        return [(each["name"], each["gb_per_s"]) for each in tomllib.load(file)["gpu"]]


def recorded(kind: str) -> list[tuple[str, str]]:
    """Returns the name and the text of each recording of a kind, such as `vm_stat`."""
    return [(path.stem, path.read_text()) for path in sorted((RECORDINGS / kind).glob("*.txt"))]
