"""Decides which documents and positions get no completion, and why. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from fnmatch import translate
from functools import lru_cache
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from llmd.config import Config
from llmd.document import MAX_URI_CHARS, Document, Position

FILE_SCHEMES = ("file", "untitled", "")  # `untitled:` is a file that was never saved
# Of programs; not of shells and data, in which secrets are kept.
SOURCE_ENDINGS = frozenset((
    ".c", ".cc", ".clj", ".cpp", ".cs", ".dart", ".ex", ".exs", ".go", ".h", ".hpp", ".hs", ".java",
    ".jl", ".js", ".jsx", ".kt", ".lua", ".m", ".ml", ".mjs", ".php", ".pl", ".py", ".pyi", ".r",
    ".rb", ".rs", ".scala", ".svelte", ".swift", ".ts", ".tsx", ".vim", ".vue", ".zig",
))  # fmt: skip
_BACKUP = re.compile(
    r"(.+?)(?:\.~\d+~|~|\.bak|\.backup|\.orig|\.old|\.save|\.tmp)|(?P<swap>.+)\.sw[a-p]"
    r"|#(.+)#|\.#(.+)"
)
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
    if len(uri) > MAX_URI_CHARS or _scheme(uri) not in FILE_SCHEMES:
        return "scheme"
    if is_secret(names, secret_files):
        return "secret"
    endings = {PurePosixPath(name).suffix[1:].lower() for name in names}
    return "filetype" if {language, *endings} & set(disabled_filetypes) else ""


def _scheme(uri: str) -> str:
    """Returns the scheme of a URI; a text that no URI has for one that cannot be parsed."""
    try:
        return urlsplit(uri).scheme
    except ValueError:  # `file://[zz]/x`
        return "invalid:"


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
    """Returns whether any of a file's paths matches a pattern of secret files, also as a backup or
    a swap file of such a file. A source file (`secrets.py`) that only shares a secret's name is
    none, unless the pattern names its ending; in a folder of secrets (`.ssh/*`) every file is."""
    matchers = [_matcher(pattern.lower()) for pattern in patterns]
    for path in map(str.lower, names):
        folder, _, name = path.rpartition("/")
        for original in _originals(name):
            whole = f"{folder}/{original}"
            if any(matches(whole, original) for matches in matchers):
                return True
    return False


@lru_cache(maxsize=256)
def _matcher(pattern: str) -> Callable[[str, str], bool]:
    """Returns a function of a path and its last part. In a pattern `*` matches slashes too, so that
    `.aws/*` matches every file below `.aws`."""
    if "/" in pattern:
        begin = "" if pattern.startswith("/") else "(?:.*/)?"
        in_folder = re.compile(begin + translate(pattern), re.DOTALL)
        return lambda path, _: in_folder.match(path) is not None
    by_name = re.compile(translate(pattern))

    def matches(_: str, name: str) -> bool:
        ending = name[name.rfind(".") :] if "." in name[1:] else ""
        is_source = ending in SOURCE_ENDINGS and not pattern.endswith(ending)
        return by_name.match(name) is not None and not is_source

    return matches


def _originals(name: str) -> Iterator[str]:
    """Yields a file's name, and the names that the file may be a backup, swap or lock file of."""
    yield name
    for _ in range(3):  # `.x.swp~`
        found = _BACKUP.fullmatch(name)
        if not found:
            return
        name = next(filter(None, found.groups()))
        yield name
        if name.startswith(".") and found["swap"]:  # Vim's swap file of `x` is `.x.swp`
            yield name[1:]
