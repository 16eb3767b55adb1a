"""Decides which documents and positions get no completion, and why. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from llmd.config import Config
from llmd.document import Document, Position

FILE_SCHEMES = ("file", "untitled", "")  # `untitled:` is a file that was never saved
MAX_LINE_CHARS = 2000  # longer lines are generated code or data, and would fill the window


def check_document(document: Document, config: Config) -> str:
    """Returns why the document gets no completion; empty: it may get one."""
    limits = config.completion
    names = document.uri, document.names, document.language
    if reason := _check_names(*names, limits.secret_files, limits.disabled_filetypes):
        return reason
    return "size" if document.text.n_chars > config.context.max_file_bytes else ""


@lru_cache(maxsize=256)  # names are the same for every key, and parsing paths is slow
def _check_names(
    uri: str,
    names: tuple[str, ...],
    language: str,
    secret_files: tuple[str, ...],
    disabled_filetypes: tuple[str, ...],
) -> str:
    if urlsplit(uri).scheme not in FILE_SCHEMES:
        return "scheme"
    if is_secret(names, secret_files):
        return "secret"
    endings = {PurePosixPath(name).suffix[1:].lower() for name in names}
    return "filetype" if {language, *endings} & set(disabled_filetypes) else ""


def check_position(
    lines: list[str], first: int, end: int, cursor: Position, max_line_suffix: int | None
) -> str:
    """Returns why this position gets no completion; empty: it may get one.

    `first`, `end`: the range of lines that the model would see. `max_line_suffix` in characters;
    None: unlimited.
    """
    window = lines[first:end]
    if "\0" in "".join(window):
        return "binary"
    if max(map(len, window), default=0) > MAX_LINE_CHARS:
        return "long_line"
    tail = lines[cursor.line][cursor.col :].rstrip()
    if max_line_suffix is not None and len(tail) > max_line_suffix:
        return "line_suffix"
    return ""


def is_secret(names: Iterable[str], patterns: Iterable[str]) -> bool:
    """Returns whether any of a file's paths matches a pattern of secret files."""
    lowered = [PurePosixPath(name.lower()) for name in names]
    return any(_matches(path, pattern.lower()) for path in lowered for pattern in patterns)


def _matches(path: PurePosixPath, pattern: str) -> bool:
    if "/" not in pattern:
        return fnmatchcase(path.name, pattern)
    # `*` also matches slashes: `.aws/*` matches every file below `.aws`.
    ends = ("/".join(path.parts[start:]) for start in range(len(path.parts)))
    return any(fnmatchcase(end, pattern) for end in ends)
