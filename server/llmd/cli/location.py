"""Parses `FILE:LINE:COL` of the command line into the parameters of `llmd/complete`."""

from __future__ import annotations

import math
import os
import re
import stat
from pathlib import Path

from llmd import paths
from llmd.document import split_lines, strip_line_end
from llmd.errors import BadInput, printable
from llmd.transport.status_types import CompleteParams

CHUNK_BYTES = 1 << 20
# A line number with more digits is outside any file, and int() refuses thousands of them.
MAX_DIGITS = 18
SHOWN_DIGITS = 12
SHOWN_CHARS = 200  # of an invalid argument

_PLACE = re.compile(r"(?P<file>.+):(?P<line>[0-9]+):(?P<col>[0-9]+)", re.DOTALL)
_KINDS = {
    stat.S_IFDIR: "Folder",
    stat.S_IFIFO: "Pipe",
    stat.S_IFSOCK: "Socket",
    stat.S_IFCHR: "Device",
    stat.S_IFBLK: "Device",
}


def place_params(place: str, max_bytes: int) -> CompleteParams:
    """Parses `FILE:LINE:COL`, with line and column counted from 1, and reads the file.

    Raises:
        BadInput: another form, no such file or position, not a text, or a file over `max_bytes`.
    """
    match = _PLACE.fullmatch(place)
    if not match:
        shown = printable(place[:SHOWN_CHARS])
        raise BadInput(f"Place `{shown}` is not FILE:LINE:COL, for example `main.py:12:5`")
    name = match["file"]
    text = _text(name, _read(name, max_bytes))
    lines = split_lines(text)
    line, col = _number(match["line"]), _number(match["col"])
    if not 1 <= line <= len(lines):
        problem = f"Line {_digits(line)} is outside `{printable(name)}`"
        raise BadInput(f"{problem}, which has lines 1 to {len(lines)}")
    n_cols = len(strip_line_end(lines[line - 1])) + 1
    if not 1 <= col <= n_cols:
        problem = f"Column {_digits(col)} is outside line {line} of `{printable(name)}`"
        raise BadInput(f"{problem}, which has columns 1 to {n_cols}")
    return CompleteParams(Path(name).absolute().as_uri(), text, line - 1, col - 1)


def _read(name: str, max_bytes: int) -> bytes:
    """Checks a file before opening it: opening a pipe blocks, opening a device has effects."""
    try:
        _check(name, os.stat(name), max_bytes)
        with open(name, "rb", buffering=0, opener=_never_waits) as file:
            _check(name, os.fstat(file.fileno()), max_bytes)
            return _read_all(name, file.fileno(), max_bytes)
    except OSError as error:
        raise BadInput(
            f"File `{printable(name)}` cannot be read: {error.strerror}; give a text file"
        ) from None
    except ValueError:  # only a name with a NUL
        raise BadInput(
            f"File `{printable(name)}` cannot be read: no file has such a name"
        ) from None


def _never_waits(name: str, flags: int) -> int:
    return os.open(name, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)


def _check(name: str, status: os.stat_result, max_bytes: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "Path")
        raise BadInput(f"{kind} `{printable(name)}` is not a file; give a text file")
    if status.st_size > max_bytes:
        raise _too_big(name, status.st_size, max_bytes)


def _read_all(name: str, descriptor: int, max_bytes: int) -> bytes:
    """Reads up to `max_bytes`, also if the size is unknown: a growing file, or a file of /proc."""
    data = bytearray()
    while chunk := os.read(descriptor, CHUNK_BYTES):
        data += chunk
        if len(data) > max_bytes:
            raise _too_big(name, len(data), max_bytes)
    return bytes(data)


def _too_big(name: str, n_bytes: int, max_bytes: int) -> BadInput:
    return BadInput(
        f"File `{printable(name)}` has {_mb(n_bytes)} MB, llmd completes in files up to "
        f"{_mb(max_bytes)} MB; raise `context.max_file_bytes` in `{paths.config_path()}`"
    )


def _mb(n_bytes: int) -> float:
    """Rounds up, so that a file just over the limit is not shown as within the limit."""
    return math.ceil(10 * n_bytes / (1 << 20)) / 10


def _text(name: str, data: bytes) -> str:
    """Decodes the file and removes a byte order mark, which editors do not count as a column."""
    if (nul := data.find(0)) >= 0:
        raise BadInput(f"File `{printable(name)}` is binary (NUL at byte {nul}); give a text file")
    try:
        return data.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise BadInput(
            f"File `{printable(name)}` is not UTF-8 text (byte {error.start}); convert it to UTF-8"
        ) from None


def _number(digits: str) -> int:
    return int(digits.lstrip("0")[:MAX_DIGITS] or "0")


def _digits(number: int) -> str:
    digits = str(number)
    return digits if len(digits) <= SHOWN_DIGITS else f"{digits[:SHOWN_DIGITS]}…"
