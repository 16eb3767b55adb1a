"""Stores the results of an evaluation in files that grow line by line, so that an interrupted run
continues where it stopped. One writer at a time."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

import msgspec

from llmd.errors import BadInput


class EvalResult(msgspec.Struct, frozen=True):
    """Holds one completion. `key` identifies the variant, `place` is the digest of the case."""

    key: str
    place: str
    text: str
    path: str = ""
    reason: str = ""
    n_prompt: int = 0
    n_cached: int = 0
    n_healed: int = 0
    n_decoded: int = 0
    logprob_first: float = 0.0
    logprob_line: float = 0.0
    ttft_ms: float = 0.0
    total_ms: float = 0.0


class ProgramVerdict(msgspec.Struct, frozen=True):
    """Records whether a program passed its tests. `program` is the program's SHA-256."""

    program: str
    passed: bool


T = TypeVar("T", EvalResult, ProgramVerdict)


def read(path: Path, kind: type[T]) -> list[T]:
    """Returns all complete lines. A line that was cut off when the writer was killed is ignored.

    Raises:
        BadInput: the file cannot be read, or has other content.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise BadInput(f"Results `{path}` cannot be read: {error.strerror}") from None
    decode = msgspec.json.Decoder(kind).decode
    try:
        return [decode(line) for line in lines[:-1] if line]
    except msgspec.MsgspecError:
        raise BadInput(
            f"Results `{path}` are not those of this llmd; remove the file or name another --out"
        ) from None


class ResultsWriter:
    def __init__(self, path: Path) -> None:
        """Opens the file and removes an incomplete last line.

        Raises:
            BadInput: the file cannot be written.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("r+b" if path.exists() else "w+b")
        except OSError as error:
            raise BadInput(f"Results `{path}` cannot be written: {error.strerror}") from None
        data = self._file.read()
        self._file.seek(data.rfind(b"\n") + 1, os.SEEK_SET)
        self._file.truncate()

    def add(self, item: EvalResult | ProgramVerdict) -> None:
        self._file.write(msgspec.json.encode(item) + b"\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()
