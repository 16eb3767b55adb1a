"""Reads a model file from start to end within hard bounds. Raises a ModelError of one sentence for
anything that the file or the bounds do not allow.

The file is not memory-mapped: a file that shrinks while being read must raise an error, not SIGBUS.
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

from llmd.errors import ModelError, os_reason

# Real headers have at most 600,000 merges and 30 MB. This bound allows at most 8 million strings.
MAX_HEADER_BYTES = 64 << 20
DOWNLOAD_AGAIN = "download it again"
CHOOSE_ANOTHER = "choose another model"
U32, U64 = "<I", "<Q"


def reject(path: Path, problem: str, advice: str = DOWNLOAD_AGAIN) -> NoReturn:
    """
    Raises:
        ModelError: always, as one line.
    """
    raise ModelError(sanitize(f"Model file `{path}` {problem}; {advice}", None))


def sanitize(text: str, max_chars: int | None = 80) -> str:
    """Returns the text's first characters, with control characters and line ends as `?`."""
    return "".join(char if char.isprintable() else "?" for char in text[:max_chars])


class Reader:
    """Reads a file sequentially. `item` names the part being read, for error messages; `offset` is
    the position in bytes. All methods raise ModelError where the file is too short or invalid."""

    def __init__(self, file: BufferedReader, path: Path, file_bytes: int) -> None:
        self.file = file
        self.path = path
        self.file_bytes = file_bytes
        self.offset = 0
        self.item = "the magic and version"

    def reject_damaged(self, problem: str) -> NoReturn:
        reject(self.path, f"is damaged before byte {self.offset}: {self.item} {problem}")

    def require(self, n_bytes: int) -> None:
        """Checks that the next `n_bytes` are within the file and the bound for headers."""
        if self.offset + n_bytes > self.file_bytes:
            problem = f"is truncated at byte {self.offset}: {self.item} needs {n_bytes} bytes"
            reject(self.path, f"{problem}, got {self.file_bytes - self.offset}")
        if self.offset + n_bytes > MAX_HEADER_BYTES:
            self.reject_damaged(f"makes the header longer than {MAX_HEADER_BYTES} bytes")

    def read(self, n_bytes: int) -> bytes:
        self.require(n_bytes)
        data = self.file.read(n_bytes)
        if len(data) < n_bytes:
            reject(self.path, "shrank while it was being read", "try again once it is complete")
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
        if "\0" in text:  # llama.cpp would read a shorter name
            self.reject_damaged("has a NUL in its name")
        return text

    def read_text(self, max_bytes: int) -> str | None:
        """Returns a text up to its first NUL. Skips a longer text and returns None."""
        n_bytes = self.read_number(U64)
        if n_bytes > max_bytes:
            self.skip(n_bytes)
            return None
        return _c_string(self.read(n_bytes)).decode(errors="replace")

    def read_strings(self, n_items: int, is_kept: bool) -> set[bytes] | None:
        """Reads an array of strings. Returns the distinct items, with empty items under the names
        that llama.cpp gives to empty tokens, or None if the items are not kept."""
        self.require(n_items * 8)
        items: set[bytes] = set()
        # Some files have half a million strings, so this loop avoids method calls.
        read, length = self.file.read, Struct(U64).unpack
        end = min(self.file_bytes, MAX_HEADER_BYTES)
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
    """Cuts at the first NUL, because llama.cpp reads texts as `const char *`."""
    return data.split(b"\0", 1)[0]


@contextmanager
def open_reader(path: Path) -> Iterator[Reader]:
    """Opens a regular file without blocking: opening a pipe without a writer would hang.

    Raises:
        ModelError: the path does not name a readable file.
    """
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
        reject(path, f"cannot be read: {os_reason(error)}", "set `model` to a file you can read")
