"""Parses and validates references to files on the hub. Pure; standard library only."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import NoReturn
from urllib.parse import urlsplit

from llmd.errors import BadInput

HUB_PREFIX = "hf:"
EXPECTED = f"{HUB_PREFIX}OWNER/REPO/FILE.gguf"
MAX_PARTS = 256  # DeepSeek-R1 in BF16 has 30
PART_MAX_BYTES = 200  # a file system allows 255, and the name of a partial file is longer

# The hub's rule for an owner and for a repository (huggingface_hub, utils/_validators.py).
_REPO_PART = re.compile(r"\w(?:[\w.-]{0,94}\w)?", re.ASCII)
_SPLIT = re.compile(r"-(\d{5})-of-(\d{5})(\.gguf)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class HubFile:
    """Names a file on the hub; of a model in several parts, the first.

    Invariant: `repo` is OWNER/REPO, and no part of `repo` or `file` leads out of a folder.
    """

    name: str  # the name that the user gave
    repo: str
    file: str
    revision: str = "main"
    sha256: str = ""  # empty: only the hash that the hub sends is checked

    def __str__(self) -> str:
        return f"`{self.file}` of `{self.repo}`"

    @property
    def ref(self) -> str:
        return f"{HUB_PREFIX}{self.repo}/{self.file}"

    @property
    def parts(self) -> tuple[HubFile, ...]:
        """Lists all files of the model, this one first."""
        return tuple(replace(self, file=file) for file in part_names(self.file))


def part_names(file: str) -> tuple[str, ...]:
    """Lists `x-00001-of-00003.gguf` and the other parts, or `file` alone if unnumbered."""
    split = _SPLIT.search(file)
    if not split:
        return (file,)
    base, n_parts = file[: split.start()], int(split[2])
    return tuple(f"{base}-{no:05}-of-{split[2]}{split[3]}" for no in range(1, n_parts + 1))


def parse_ref(ref: str) -> HubFile:
    """Parses `hf:OWNER/REPO/FILE`. FILE may name folders of the repository.

    Raises:
        BadInput: a part is missing, is invalid on the hub, or could lead out of a folder
            (CVE-2024-37032); the file is not a GGUF, or is a later part of several.
    """
    if not ref.isprintable():
        _reject(ref, "contains unprintable characters")
    parts = ref.removeprefix(HUB_PREFIX).split("/")
    if not ref.startswith(HUB_PREFIX) or len(parts) < 3:
        _reject(ref, "is incomplete")
    owner, repo, *files = parts
    for part in (owner, repo):
        if not _REPO_PART.fullmatch(part) or "--" in part or ".." in part or part.endswith(".git"):
            _reject(ref, f"has the invalid owner or repository name `{part}`")
    for part in files:
        if not part or part[0] == "." or "\\" in part or len(part.encode()) > PART_MAX_BYTES:
            _reject(ref, f"has the invalid file or folder name `{part}`")
    _check_kind(ref, files[-1])
    return HubFile(ref, f"{owner}/{repo}", "/".join(files))


def check_endpoint(url: str) -> None:
    """Accepts an empty text or a web address: huggingface_hub crashes on other values.

    Raises:
        BadInput: `url` is something else.
    """
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        is_address = False
    if url and not is_address:
        raise BadInput(
            f"HF_ENDPOINT is `{url}`, expected the https:// address of a hub; correct or unset it"
        )


def _check_kind(ref: str, file: str) -> None:
    if not file.lower().endswith(".gguf"):
        _reject(ref, f"names `{file}`, which is not a GGUF file")
    split = _SPLIT.search(file)
    if split and int(split[1]) != 1:
        first = f" `{part_names(file)[0]}`" if int(split[2]) <= MAX_PARTS else ""
        _reject(ref, f"names part {int(split[1])} of {int(split[2])}; name the first part{first}")
    if split and not 1 <= int(split[2]) <= MAX_PARTS:
        _reject(ref, f"names one of {int(split[2])} parts, and llmd supports 1 to {MAX_PARTS}")


def _reject(ref: str, problem: str) -> NoReturn:
    shown = ref if ref.isprintable() else ascii(ref)[1:-1]
    raise BadInput(f"Model reference `{shown}` {problem}; expected {EXPECTED}")
