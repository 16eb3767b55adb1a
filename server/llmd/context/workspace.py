"""A workspace's own `.llmd.toml`, which can only take away: ignore files, switch completion off.

Whatever else it says is ignored, and warned of once. The files of all folders above a document
apply together, up to the home folder or the root. The only importer of pathspec.
"""

from __future__ import annotations

import os
import stat
import time
import tomllib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pathspec import GitIgnoreSpec

FILE_NAME = ".llmd.toml"
MAX_FILE_BYTES = 64 << 10
MAX_FOLDERS = 1024
LOOK_AGAIN_S = 1.0  # a change is seen so late, and a key costs no system call before

_Mark = tuple[int, int, int]  # of a file's state: time, size, inode


@dataclass(frozen=True, slots=True)
class Rules:
    """What one file takes away."""

    is_disabled: bool = False
    filetypes: frozenset[str] = frozenset()
    ignored: GitIgnoreSpec | None = None


@dataclass(slots=True)
class _Folder:
    looked_s: float
    mark: _Mark | None
    rules: Rules


_NOTHING = Rules()


class Workspaces:
    """The rules of the folders that documents lie in. Owned by the event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._folders: OrderedDict[Path, _Folder] = OrderedDict()
        self._warnings: list[str] = []

    def refuse(self, names: tuple[str, ...], language: str) -> str:
        """Why a document, by its paths and language, gets no completion: `disabled`, `ignored`,
        or empty."""
        for name in names:
            path = Path(name)
            for folder in _above(path) if path.is_absolute() else ():
                if reason := _reason(self._rules(folder), path, folder, language):
                    return reason
        return ""

    def take_warnings(self) -> list[str]:
        """Those since the last call, one for each state of a file."""
        taken, self._warnings = self._warnings, []
        return taken

    def _rules(self, folder: Path) -> Rules:
        now_s = self._clock()
        found = self._folders.get(folder)
        if found is None or now_s - found.looked_s >= LOOK_AGAIN_S:
            mark = _mark(folder / FILE_NAME)
            if found is None or mark != found.mark:
                found = _Folder(now_s, mark, self._read(folder / FILE_NAME, mark))
            found.looked_s = now_s
            self._folders[folder] = found
            if len(self._folders) > MAX_FOLDERS:
                self._folders.popitem(last=False)
        self._folders.move_to_end(folder)
        return found.rules

    def _read(self, path: Path, mark: _Mark | None) -> Rules:
        if mark is None:
            return _NOTHING
        try:
            rules, unknown = parse_rules(_text(path))
        except (OSError, ValueError, RecursionError) as error:
            said = getattr(error, "strerror", None) or error
            self._warn(path, f"cannot be read and takes nothing away: {said}")
            return _NOTHING
        if unknown:
            names = ", ".join(f"`{name[:40]}`" for name in unknown[:5])
            self._warn(path, f"can ignore files and disable completion, and not set {names}")
        return rules

    def _warn(self, path: Path, said: str) -> None:
        self._warnings.append(f"Workspace file `{path}` {said}")


def parse_rules(text: str) -> tuple[Rules, list[str]]:
    """The rules, and the names of what is not theirs to say.

    Raises:
        ValueError: no TOML, or a pattern that is none.
    """
    data: dict[str, Any] = tomllib.loads(text)
    disabled = data.pop("disabled", False)
    filetypes = data.pop("disabled_filetypes", [])
    patterns = data.pop("ignore", [])
    if not isinstance(disabled, bool):
        raise ValueError("`disabled` is not true or false")
    for name, value in (("disabled_filetypes", filetypes), ("ignore", patterns)):
        if not (isinstance(value, list) and all(isinstance(item, str) for item in value)):
            raise ValueError(f"`{name}` is not a list of texts")
    ignored = GitIgnoreSpec.from_lines(patterns) if patterns else None
    return Rules(disabled, frozenset(filetypes), ignored), sorted(data)


def _reason(rules: Rules, path: Path, folder: Path, language: str) -> str:
    if rules.is_disabled or {language, path.suffix[1:].lower()} & rules.filetypes:
        return "disabled"
    if rules.ignored and rules.ignored.match_file(path.relative_to(folder)):
        return "ignored"
    return ""


def _above(path: Path) -> Iterator[Path]:
    """The folders above, up to the home folder or the root."""
    home = Path(os.path.expanduser("~"))
    for folder in path.parents:
        yield folder
        if folder == home:
            return


def _mark(path: Path) -> _Mark | None:
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # none, or a name that can't be
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _text(path: Path) -> str:
    """
    Raises:
        OSError, ValueError: it is no file, too large, or no text.
    """
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("it is not a file")
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise ValueError(f"it has more than {MAX_FILE_BYTES} bytes")
    return data.decode()
