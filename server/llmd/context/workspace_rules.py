"""Applies a workspace's `.llmd.toml`, which can only restrict: ignore files, disable completion.

Other keys are ignored, with one warning. The files of all folders above a document apply together,
up to the home folder or the root. The only importer of pathspec.

A `.llmd.toml` may come from an untrusted repository, so the time to parse it and to match its
patterns is bounded here.
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

from llmd.errors import os_reason
from llmd.files import Fingerprint, fingerprint

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

FILE_NAME = ".llmd.toml"
MAX_FILE_BYTES = 64 << 10
MAX_FOLDERS = 1024
MAX_FOLDERS_ABOVE = 128  # per path, so that both paths of a document fit into MAX_FOLDERS
MAX_VERDICTS = 256  # cached paths per file
MAX_PATTERNS = 500
MAX_PATTERN_CHARS = 256
MAX_MATCH_STEPS = 30_000_000  # per path; takes at most a tenth of a second
RECHECK_S = 1.0  # a file is checked for changes at most this often, to save a system call per key

# tomllib's time grows with the cube of the parts of a dotted key. A number has at most one dot.
_QUOTED = re.compile(
    r'"""(?:\\.|[^\\])*?"""+|\'{3}.*?\'{3,}|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'|#[^\n]*', re.S
)
_MANY_DOTS = re.compile(r"(?:\.[^.\n]*){9}")


@dataclass(frozen=True)
class WorkspaceRules:
    """Holds the restrictions of one `.llmd.toml`."""

    is_disabled: bool = False
    filetypes: frozenset[str] = frozenset()
    patterns: tuple[str, ...] = ()
    _verdicts: dict[str, bool] = field(default_factory=dict, repr=False, compare=False)

    def ignores(self, path: str) -> bool:
        """Returns whether the patterns ignore `path`, relative to the file's folder.

        A path that would take too long to match is ignored.
        """
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
    fingerprint: Fingerprint | None
    rules: WorkspaceRules


_DISABLED = WorkspaceRules(is_disabled=True)
_NO_RULES = WorkspaceRules()


class Workspaces:
    """Caches the rules of all folders that contain documents. Used by the event loop only."""

    def __init__(
        self,
        on_warning: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Starts with no rules known.

        `on_warning` gets one sentence for each invalid version of a file.
        """
        self._on_warning = on_warning
        self._clock = clock
        self._folders: OrderedDict[Path, _Folder] = OrderedDict()
        home = os.path.expanduser("~")
        homes = {Path(home), Path(os.path.realpath(home))}
        # Paths are the same for every key, and parsing them is slow.
        self._above = lru_cache(MAX_VERDICTS)(lambda path: tuple(_folders_above(path, homes)))

    def skip_reason(self, names: tuple[str, ...], language: str) -> str:
        """Returns why a document gets no completion: `disabled`, `ignored`, or empty.

        `names`: the document's paths. A document without a file always gets completion.
        """
        for path in map(Path, names if names and os.path.isabs(names[0]) else ()):
            for folder in self._above(path):
                if reason := _skip_reason(self._rules(folder), path, folder, language):
                    return reason
        return ""

    def _rules(self, folder: Path) -> WorkspaceRules:
        now_s = self._clock()
        state = self._folders.get(folder)
        if state is None or now_s - state.checked_s >= RECHECK_S:
            current = fingerprint(folder / FILE_NAME)
            if state is None or current != state.fingerprint:
                last = state.rules if state and state.fingerprint else None
                state = _Folder(now_s, current, self._read(folder / FILE_NAME, current, last))
            state.checked_s = now_s
            self._folders[folder] = state
            if len(self._folders) > MAX_FOLDERS:
                self._folders.popitem(last=False)
        self._folders.move_to_end(folder)
        return state.rules

    def _read(
        self, path: Path, current: Fingerprint | None, last: WorkspaceRules | None
    ) -> WorkspaceRules:
        """Returns the rules of a file. Of one that cannot be read, the last good ones; without any,
        the folder is disabled, since the file may say so."""
        if current is None:
            return _NO_RULES
        try:
            rules, problems = parse_rules(_read_text(path))
        except (OSError, ValueError, RecursionError) as error:
            effect = "its folder is disabled" if last is None else "its last good rules hold"
            self._warn(path, f"cannot be read, so {effect}: {os_reason(error)}")
            return _DISABLED if last is None else last
        if problems:
            self._warn(path, "; ".join(problems))
        return rules

    def _warn(self, path: Path, problem: str) -> None:
        self._on_warning(f"Workspace file `{path}` {problem}")


def parse_rules(text: str) -> tuple[WorkspaceRules, list[str]]:
    """Parses a `.llmd.toml`. Returns its rules, and the problems with keys that are not used.

    Raises:
        ValueError, RecursionError: invalid TOML, or TOML that takes too long to parse.
    """
    if _MANY_DOTS.search(_QUOTED.sub("", text)):
        raise ValueError("a key has too many parts, expected at most 9")
    try:
        data: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except ValueError:  # the message of int() names a setting of the Python interpreter
        raise ValueError("a number has more than 4300 digits") from None
    problems: list[str] = []
    is_disabled = data.pop("disabled", False)
    if not isinstance(is_disabled, bool):
        problems.append("has an invalid `disabled`, expected true or false")
        is_disabled = False
    filetypes = _pop_strings(data, "disabled_filetypes", problems)
    patterns = _pop_strings(data, "ignore", problems)
    valid = tuple(islice(filter(_is_valid_pattern, patterns), MAX_PATTERNS))
    if n_unused := len(patterns) - len(valid):
        problems.append(f"has {n_unused} invalid or surplus patterns in `ignore`")
    if data:
        names = ", ".join(f"`{name[:40]}`" for name in sorted(data)[:5])
        problems.append(f"can only ignore files and disable completion; it cannot set {names}")
    return WorkspaceRules(is_disabled, frozenset(filetypes), valid), problems


def _pop_strings(data: dict[str, Any], name: str, problems: list[str]) -> list[str]:
    value = data.pop(name, [])
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return value
    problems.append(f"has an invalid `{name}`, expected a list of strings")
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
    """Returns an upper bound of the steps to match `path`.

    pathspec's regular expressions backtrack: a path of one repeated letter against `*a*a*a*a*b`
    would take all day.
    """
    parts = path.split("/")
    n_chars = max(map(len, parts))
    return sum(
        len(parts)  # a pattern without a slash is matched in each folder
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


def _read_text(path: Path) -> str:
    """
    Raises:
        OSError, ValueError: the path is not a regular file, is too large, or is not UTF-8 text.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("the path is not a regular file")
        data = os.read(descriptor, MAX_FILE_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(data) > MAX_FILE_BYTES:
        raise ValueError(f"the file has more than {MAX_FILE_BYTES} bytes")
    return data.decode()
