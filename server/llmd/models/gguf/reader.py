"""A model's file from its start on: nothing is taken that the file or the bound does not hold, and
what is wrong is raised as a ModelError of one sentence.

No memory is mapped: a file that shrinks while it is read must end in a sentence, not in SIGBUS.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from struct import Struct, calcsize, unpack
from typing import Any, NoReturn

from llmd.errors import ModelError

# Real headers have at most 600,000 merges and 30 MB.
MAX_HEADER_BYTES = 64 << 20  # and so at most 8 million strings are gone over
AGAIN = "download it again"
OTHER = "choose another model"
U32, U64 = "<I", "<Q"


def refuse(path: Path, said: str, advice: str = AGAIN) -> NoReturn:
    raise ModelError(shown(f"Model file `{path}` {said}; {advice}", None))


def shown(text: str, n_chars: int | None = 80) -> str:
    """On one line whatever the file says, and without its control characters."""
    return "".join(char if char.isprintable() else "?" for char in text[:n_chars])


class Reader:
    """Goes on from the start. `what` is where it is, for the sentence."""

    def __init__(self, file: BufferedReader, path: Path, n_bytes: int) -> None:
        self.file = file
        self.path = path
        self.n_bytes = n_bytes
        self.at = 0
        self.what = "the start"

    def damaged(self, said: str) -> NoReturn:
        refuse(self.path, f"is damaged: {self.what}, before byte {self.at}, {said}")

    def need(self, n_bytes: int) -> None:
        if self.at + n_bytes > self.n_bytes:
            left = self.n_bytes - self.at
            said = f"ends too early: {self.what}, at byte {self.at}, needs {n_bytes} bytes"
            refuse(self.path, f"{said}, {left} are left")
        if self.at + n_bytes > MAX_HEADER_BYTES:
            self.damaged(f"makes the header longer than {MAX_HEADER_BYTES} bytes")

    def take(self, n_bytes: int) -> bytes:
        self.need(n_bytes)
        data = self.file.read(n_bytes)
        if len(data) < n_bytes:
            refuse(self.path, "was cut while it was read", "try again once it is complete")
        self.at += n_bytes
        return data

    def skip(self, n_bytes: int) -> None:
        self.need(n_bytes)
        self.file.seek(n_bytes, os.SEEK_CUR)
        self.at += n_bytes

    def unpack(self, layout: str) -> tuple[Any, ...]:
        return unpack(layout, self.take(calcsize(layout)))

    def number(self, layout: str) -> int:
        return int(self.unpack(layout)[0])

    def name(self, max_bytes: int) -> str:
        n_bytes = self.number(U64)
        if not 0 < n_bytes <= max_bytes:
            self.damaged(f"has a name of {n_bytes} bytes, expected 1 to {max_bytes}")
        try:
            text = self.take(n_bytes).decode()
        except UnicodeDecodeError:
            self.damaged("has a name that is not UTF-8")
        if "\0" in text:  # C would read another name
            self.damaged("has a NUL in its name")
        return text

    def text(self, max_bytes: int) -> str | None:
        """None if it is longer, and so passed over."""
        n_bytes = self.number(U64)
        if n_bytes > max_bytes:
            self.skip(n_bytes)
            return None
        return _c_string(self.take(n_bytes)).decode(errors="replace")

    def strings(self, n_items: int, is_kept: bool) -> set[bytes] | None:
        """Goes over an array. The distinct items if they are kept, with the names that llama.cpp
        gives to empty tokens."""
        self.need(n_items * 8)
        found: set[bytes] = set()
        read, length = self.file.read, Struct(U64).unpack  # half a million times in some files
        end = min(self.n_bytes, MAX_HEADER_BYTES)
        for idx in range(n_items):
            if self.at + 8 > end:
                self.need(8)
            n_bytes = length(read(8).ljust(8, b"\xff"))[0]
            self.at += 8
            if self.at + n_bytes > end:
                self.need(n_bytes)
            text = read(n_bytes)
            self.at += n_bytes
            if is_kept:
                found.add(_c_string(text) or b"[EMPTY_%d]" % idx)
        return found if is_kept else None


def _c_string(data: bytes) -> bytes:
    """As llama.cpp sees it, which goes through `const char *`."""
    return data.split(b"\0", 1)[0]


@contextmanager
def opened(path: Path) -> Iterator[Reader]:
    """Without waiting: a pipe that nobody writes would hold a plain open for ever."""
    if "\0" in str(path):
        refuse(path, "has a NUL in its name", OTHER)
    try:
        with open(path, "rb", opener=lambda name, how: os.open(name, how | os.O_NONBLOCK)) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                refuse(path, "is a pipe or a device, expected a file", OTHER)
            yield Reader(file, path, found.st_size)
    except FileNotFoundError:
        refuse(path, "does not exist", "set `model` to a GGUF file")
    except IsADirectoryError:
        refuse(path, "is a folder, expected a file", OTHER)
    except OSError as error:
        refuse(path, f"cannot be read: {error.strerror}", "make it a file that you may read")
