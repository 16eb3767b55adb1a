"""What never reaches the model, and why. Pure, apart from nothing: it looks at values only."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from llmd.config import Config
from llmd.document import Document, Position

# `untitled:` is a file that has not been saved yet; any other scheme shows something else.
FILE_SCHEMES = ("file", "untitled", "")

# A line longer than this is generated or data; it alone would fill the window.
MAX_LINE_CHARS = 2000


def check_document(document: Document, config: Config) -> str:
    """Why no completion is given anywhere in this document; empty when one may be."""
    limits = config.completion
    named = document.uri, document.names, document.language
    if refusal := _check_names(*named, limits.secret_files, limits.disabled_filetypes):
        return refusal
    return "size" if document.text.n_chars > config.context.max_file_bytes else ""


@lru_cache(maxsize=256)  # names stay while one types, and paths are slow to take apart
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
    """Why no completion is given here, from the lines the model would see."""
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
    """Whether any of a file's names is one that holds keys."""
    lowered = [PurePosixPath(name.lower()) for name in names]
    return any(_matches(path, pattern.lower()) for path in lowered for pattern in patterns)


def _matches(path: PurePosixPath, pattern: str) -> bool:
    if "/" not in pattern:
        return fnmatchcase(path.name, pattern)
    # `*` takes slashes too: `.aws/*` is all that lies below `.aws`.
    ends = ("/".join(path.parts[start:]) for start in range(len(path.parts)))
    return any(fnmatchcase(end, pattern) for end in ends)
