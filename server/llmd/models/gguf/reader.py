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
DOWNLOAD_AGAIN = "download it again"
CHOOSE_ANOTHER = "choose another model"
U32, U64 = "<I", "<Q"


def reject(path: Path, problem: str, advice: str = DOWNLOAD_AGAIN) -> NoReturn:
    raise ModelError(sanitize(f"Model file `{path}` {problem}; {advice}", None))


def sanitize(text: str, max_chars: int | None = 80) -> str:
    """On one line whatever the file says, and without its control characters."""
    return "".join(char if char.isprintable() else "?" for char in text[:max_chars])


class Reader:
    """Goes on from the start. `what` is where it is, for the sentence."""

    def __init__(self, file: BufferedReader, path: Path, file_bytes: int) -> None:
        self.file = file
        self.path = path
        self.n_bytes = file_bytes
        self.offset = 0
        self.item = "the start"

    def reject_damaged(self, problem: str) -> NoReturn:
        reject(self.path, f"is damaged: {self.item}, before byte {self.offset}, {problem}")

    def require(self, n_bytes: int) -> None:
        if self.offset + n_bytes > self.n_bytes:
            n_left = self.n_bytes - self.offset
            problem = f"ends too early: {self.item}, at byte {self.offset}, needs {n_bytes} bytes"
            reject(self.path, f"{problem}, {n_left} are left")
        if self.offset + n_bytes > MAX_HEADER_BYTES:
            self.reject_damaged(f"makes the header longer than {MAX_HEADER_BYTES} bytes")

    def read(self, n_bytes: int) -> bytes:
        self.require(n_bytes)
        data = self.file.read(n_bytes)
        if len(data) < n_bytes:
            reject(self.path, "was cut while it was read", "try again once it is complete")
        self.offset += n_bytes
        return data

    def skip(self, n_bytes: int) -> None:
        self.require(n_bytes)
        self.file.seek(n_bytes, os.SEEK_CUR)
        self.offset += n_bytes

    def read_struct(self, layout: str) -> tuple[Any, ...]:
        return unpack(layout, self.read(calcsize(layout)))

    def read_number(self, layout: str) -> int:
        return int(self.read_struct(layout)[0])

    def read_name(self, max_bytes: int) -> str:
        n_bytes = self.read_number(U64)
        if not 0 < n_bytes <= max_bytes:
            self.reject_damaged(f"has a name of {n_bytes} bytes, expected 1 to {max_bytes}")
        try:
            text = self.read(n_bytes).decode()
        except UnicodeDecodeError:
            self.reject_damaged("has a name that is not UTF-8")
        if "\0" in text:  # C would read another name
            self.reject_damaged("has a NUL in its name")
        return text

    def read_text(self, max_bytes: int) -> str | None:
        """None if it is longer, and so passed over."""
        n_bytes = self.read_number(U64)
        if n_bytes > max_bytes:
            self.skip(n_bytes)
            return None
        return _c_string(self.read(n_bytes)).decode(errors="replace")

    def read_strings(self, n_items: int, is_kept: bool) -> set[bytes] | None:
        """Goes over an array. The distinct items if they are kept, with the names that llama.cpp
        gives to empty tokens."""
        self.require(n_items * 8)
        items: set[bytes] = set()
        read, length = self.file.read, Struct(U64).unpack  # half a million times in some files
        end = min(self.n_bytes, MAX_HEADER_BYTES)
        for idx in range(n_items):
            if self.offset + 8 > end:
                self.require(8)
            n_bytes = length(read(8).ljust(8, b"\xff"))[0]
            self.offset += 8
            if self.offset + n_bytes > end:
                self.require(n_bytes)
            text = read(n_bytes)
            self.offset += n_bytes
            if is_kept:
                items.add(_c_string(text) or b"[EMPTY_%d]" % idx)
        return items if is_kept else None


def _c_string(data: bytes) -> bytes:
    """As llama.cpp sees it, which goes through `const char *`."""
    return data.split(b"\0", 1)[0]


@contextmanager
def open_reader(path: Path) -> Iterator[Reader]:
    """Without waiting: a pipe that nobody writes would hold a plain open for ever."""
    if "\0" in str(path):
        reject(path, "has a NUL in its name", CHOOSE_ANOTHER)
    try:
        with open(path, "rb", opener=lambda name, how: os.open(name, how | os.O_NONBLOCK)) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                reject(path, "is a pipe or a device, expected a file", CHOOSE_ANOTHER)
            yield Reader(file, path, status.st_size)
    except FileNotFoundError:
        reject(path, "does not exist", "set `model` to a GGUF file")
    except IsADirectoryError:
        reject(path, "is a folder, expected a file", CHOOSE_ANOTHER)
    except OSError as error:
        reject(path, f"cannot be read: {error.strerror}", "make it a file that you may read")
