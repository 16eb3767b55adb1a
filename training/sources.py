"""Fetches the training text: public repositories at fixed commits, under licences that permit
training.

`git` fetches the repositories; a mirror can be used through git's `url.<base>.insteadOf`.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LANGUAGES = {".py": "python", ".ts": "typescript", ".rs": "rust", ".go": "go"}
MAX_FILE_CHARS = 60_000  # longer files are tables or generated


@dataclass(frozen=True, slots=True)
class Source:
    repo: str  # owner/name at GitHub
    commit: str
    licence: str
    under: str = ""  # only files below this folder
    share: float = 1.0  # of the files is used


SOURCES = (
    Source("TheAlgorithms/Python", "f5988cc09713315817df6a7e327e258013a94440", "MIT"),
    Source("keon/algorithms", "a1bf1f39f95b59ed0bb348d6148c7e097e10481e", "MIT", "algorithms"),
    Source(
        "kamyu104/LeetCode-Solutions",
        "a42318b19416b86d301d01db278172da59490a69",
        "MIT",
        "Python",
        0.25,
    ),
    Source("exercism/python", "9eb657d4507d91efef99f484e7f2a1f4074911b5", "MIT", "exercises"),
    Source("geekcomputers/Python", "bfd7138f6205e73ba53b583198285952d5fd19a2", "MIT"),
    Source("TheAlgorithms/TypeScript", "19b4ced86c99815f142d4a46a028f55487b8038a", "MIT", "", 0.6),
    Source("TheAlgorithms/Rust", "2c53ddfa4b43da4df34bc2f990c5e806f455cb90", "MIT", "src", 0.4),
    Source("TheAlgorithms/Go", "5ba447ec5ff3d1213de65b92e726ee74c5d5cc19", "MIT", "", 0.4),
)


@dataclass(frozen=True, slots=True)
class File:
    source: str
    name: str
    language: str
    text: str


def files(cache: Path) -> Iterator[File]:
    """Yields every file to train on, in a fixed order. Fetches the sources on first use.

    Raises:
        subprocess.CalledProcessError: git could not fetch a repository; stderr has git's message.
    """
    for source in SOURCES:
        root = fetch(source, cache)
        names = sorted(path for path in (root / source.under).rglob("*") if _is_source(path))
        step = round(1 / source.share)
        for path in names[::step]:
            text = path.read_text(errors="replace")
            if 80 < len(text) <= MAX_FILE_CHARS and "�" not in text:
                name = str(path.relative_to(root))
                yield File(source.repo, name, LANGUAGES[path.suffix], text)


def fetch(source: Source, cache: Path) -> Path:
    """Returns the work tree of a source at its commit."""
    root = cache / source.repo.replace("/", "+")
    if (root / ".fetched").exists():
        return root
    root.mkdir(parents=True, exist_ok=True)
    _git(root, "init", "--quiet")
    url = f"https://github.com/{source.repo}"
    _git(root, "fetch", "--quiet", "--depth=1", url, source.commit)
    _git(root, "checkout", "--quiet", "--force", "FETCH_HEAD")
    (root / ".fetched").touch()
    return root


def _git(root: Path, *args: str) -> None:
    subprocess.run(["git", "-C", str(root), *args], check=True)  # noqa: S603, S607


def _is_source(path: Path) -> bool:
    is_test = path.name.startswith("test_") or path.stem.endswith(("_test", ".test", ".spec"))
    return path.suffix in LANGUAGES and path.is_file() and not is_test
