"""A workspace's own `.llmd.toml`, which can only take away: ignore files, switch completion off.

Whatever else it says is ignored, and warned of once. The files of all folders above a document
apply together, up to the home folder or the root. The only importer of pathspec.

The file is a stranger's: what it costs to read and to judge by is bounded here.
"""

from __future__ import annotations

import os
import re
import stat
import time
import tomllib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import islice
from math import comb, prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

FILE_NAME = ".llmd.toml"
MAX_FILE_BYTES = 64 << 10
MAX_FOLDERS = 1024
MAX_FOLDERS_ABOVE = 128  # of one path, so that two names fit into MAX_FOLDERS
MAX_VERDICTS = 256  # paths of which a file's verdict is remembered
MAX_PATTERNS = 500
MAX_PATTERN_CHARS = 256
MAX_MATCH_STEPS = 30_000_000  # of matching one path, at worst a tenth of a second
RECHECK_S = 1.0  # a change is seen so late, and a key costs no system call before

# tomllib takes a time of the cube of a dotted key's parts. A number has one dot.
_QUOTED = re.compile(
    r'"""(?:\\.|[^\\])*?"""+|\'{3}.*?\'{3,}|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'|#[^\n]*', re.S
)
_MANY_DOTS = re.compile(r"(?:\.[^.\n]*){9}")

_Fingerprint = tuple[int, int, int]  # of a file's state: time, size, inode


@dataclass(frozen=True)
class WorkspaceRules:
    """What one file takes away."""

    is_disabled: bool = False
    filetypes: frozenset[str] = frozenset()
    patterns: tuple[str, ...] = ()
    _verdicts: dict[str, bool] = field(default_factory=dict, repr=False, compare=False)

    def ignores(self, path: str) -> bool:
        """`path` is relative to the file's folder. One too costly to judge counts as ignored."""
        if path not in self._verdicts:
            if len(self._verdicts) >= MAX_VERDICTS:
                self._verdicts.clear()
            is_costly = _n_match_steps(self.patterns, path) > MAX_MATCH_STEPS
            self._verdicts[path] = is_costly or self._spec.match_file(path)
        return self._verdicts[path]

    @cached_property
    def _spec(self) -> GitIgnoreSpec:
        from pathspec import GitIgnoreSpec

        return GitIgnoreSpec.from_lines(self.patterns)


@dataclass(slots=True)
class _Folder:
    checked_s: float
    fingerprint: _Fingerprint | None
    rules: WorkspaceRules


_NO_RULES = WorkspaceRules()


class Workspaces:
    """The rules of the folders that documents lie in. Owned by the event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._folders: OrderedDict[Path, _Folder] = OrderedDict()
        self._warnings: list[str] = []
        home = os.path.expanduser("~")
        homes = {Path(home), Path(os.path.realpath(home))}
        # Names stay while one types, and paths are slow to take apart.
        self._above = lru_cache(MAX_VERDICTS)(lambda path: tuple(_folders_above(path, homes)))

    def skip_reason(self, names: tuple[str, ...], language: str) -> str:
        """Why a document, by its paths and language, gets no completion: `disabled`, `ignored`,
        or empty. A document without a file is not refused."""
        for path in map(Path, names if names and os.path.isabs(names[0]) else ()):
            for folder in self._above(path):
                if reason := _skip_reason(self._rules(folder), path, folder, language):
                    return reason
        return ""

    def take_warnings(self) -> list[str]:
        """Those since the last call, one for each state of a file."""
        taken, self._warnings = self._warnings, []
        return taken

    def _rules(self, folder: Path) -> WorkspaceRules:
        now_s = self._clock()
        found = self._folders.get(folder)
        if found is None or now_s - found.checked_s >= RECHECK_S:
            mark = _read_fingerprint(folder / FILE_NAME)
            if found is None or mark != found.fingerprint:
                found = _Folder(now_s, mark, self._read(folder / FILE_NAME, mark))
            found.checked_s = now_s
            self._folders[folder] = found
            if len(self._folders) > MAX_FOLDERS:
                self._folders.popitem(last=False)
        self._folders.move_to_end(folder)
        return found.rules

    def _read(self, path: Path, mark: _Fingerprint | None) -> WorkspaceRules:
        if mark is None:
            return _NO_RULES
        try:
            rules, problems = parse_rules(_read_text(path))
        except (OSError, ValueError, RecursionError) as error:
            said = getattr(error, "strerror", None) or error
            self._warn(path, f"cannot be read and takes nothing away: {said}")
            return _NO_RULES
        if problems:
            self._warn(path, "; ".join(problems))
        return rules

    def _warn(self, path: Path, said: str) -> None:
        self._warnings.append(f"Workspace file `{path}` {said}")


def parse_rules(text: str) -> tuple[WorkspaceRules, list[str]]:
    """The rules, and what of the text is none.

    Raises:
        ValueError, RecursionError: no TOML, or TOML that takes too long.
    """
    if _MANY_DOTS.search(_QUOTED.sub("", text)):
        raise ValueError("it has a key of too many parts")
    try:
        data: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except ValueError:  # int() speaks of a setting of Python
        raise ValueError("it has a number of over 4300 digits") from None
    problems: list[str] = []
    is_disabled = data.pop("disabled", False)
    if not isinstance(is_disabled, bool):
        problems.append("has a `disabled` that is not true or false")
        is_disabled = False
    filetypes = _pop_strings(data, "disabled_filetypes", problems)
    patterns = _pop_strings(data, "ignore", problems)
    good = tuple(islice(filter(_is_valid_pattern, patterns), MAX_PATTERNS))
    if len(good) < len(patterns):
        problems.append(f"has {len(patterns) - len(good)} patterns in `ignore` that are not used")
    if data:
        names = ", ".join(f"`{name[:40]}`" for name in sorted(data)[:5])
        problems.append(f"can ignore files and disable completion, and not set {names}")
    return WorkspaceRules(is_disabled, frozenset(filetypes), good), problems


def _pop_strings(data: dict[str, Any], name: str, problems: list[str]) -> list[str]:
    found = data.pop(name, [])
    if isinstance(found, list) and all(isinstance(item, str) for item in found):
        return found
    problems.append(f"has a `{name}` that is not a list of texts")
    return []


def _is_valid_pattern(text: str) -> bool:
    from pathspec import GitIgnoreSpec

    if len(text) > MAX_PATTERN_CHARS:
        return False
    try:
        GitIgnoreSpec.from_lines([text])
    except ValueError:  # GitIgnorePatternError is one
        return False
    return True


def _n_match_steps(patterns: tuple[str, ...], path: str) -> int:
    """At most so many ways to match: pathspec's regular expressions try each, and a path of one
    letter against `*a*a*a*a*b` would take all day."""
    parts = path.split("/")
    n_chars = max(map(len, parts))
    return sum(
        len(parts)  # a pattern without a slash is looked for in each folder
        * prod(
            len(parts) if part == "**" else comb(n_chars + part.count("*"), part.count("*"))
            for part in pattern.split("/")
        )
        for pattern in patterns
    )


def _folders_above(path: Path, homes: set[Path]) -> Iterator[Path]:
    for folder in path.parents[:MAX_FOLDERS_ABOVE]:
        yield folder
        if folder in homes:
            return


def _skip_reason(rules: WorkspaceRules, path: Path, folder: Path, language: str) -> str:
    if rules is _NO_RULES:
        return ""
    if rules.is_disabled or {language, path.suffix[1:].lower()} & rules.filetypes:
        return "disabled"
    if rules.patterns and rules.ignores(str(path.relative_to(folder))):
        return "ignored"
    return ""


def _read_fingerprint(path: Path) -> _Fingerprint | None:
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # none, or a name that can't be
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _read_text(path: Path) -> str:
    """
    Raises:
        OSError, ValueError: it is no file, too large, or no text.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("it is not a file")
        data = os.read(descriptor, MAX_FILE_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(data) > MAX_FILE_BYTES:
        raise ValueError(f"it has more than {MAX_FILE_BYTES} bytes")
    return data.decode()
