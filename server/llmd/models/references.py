"""References to files of the hub, and what they may say. Pure, standard library only."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import NoReturn
from urllib.parse import urlsplit

from llmd.errors import BadInput

HUB_PREFIX = "hf:"
EXPECTED = f"{HUB_PREFIX}OWNER/REPO/FILE.gguf"
MAX_PARTS = 256  # DeepSeek-R1 in BF16 has 30
PART_MAX_BYTES = 200  # of the 255 that a folder takes, since a file that is not whole yet has more

# The hub's rule for each half of a repository's name (huggingface_hub, utils/_validators.py).
_REPO_PART = re.compile(r"\w(?:[\w.-]{0,94}\w)?", re.ASCII)
_SPLIT = re.compile(r"-(\d{5})-of-(\d{5})(\.gguf)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class HubFile:
    """Invariant: `repo` is OWNER/REPO, and no part of it or of `file` leads out of a folder. Of a
    model in several parts, the first."""

    name: str  # what the user calls it
    repo: str
    file: str
    revision: str = "main"
    sha256: str = ""  # empty: only the hub's own is checked

    def __str__(self) -> str:
        return f"`{self.file}` of `{self.repo}`"

    @property
    def ref(self) -> str:
        return f"{HUB_PREFIX}{self.repo}/{self.file}"

    @property
    def parts(self) -> tuple[HubFile, ...]:
        """All files of the model, this one first."""
        return tuple(replace(self, file=file) for file in part_names(self.file))


def part_names(file: str) -> tuple[str, ...]:
    """`x-00001-of-00003.gguf` and the others; alone where it is whole."""
    split = _SPLIT.search(file)
    if not split:
        return (file,)
    base, n_parts = file[: split.start()], int(split[2])
    return tuple(f"{base}-{no:05}-of-{split[2]}{split[3]}" for no in range(1, n_parts + 1))


def parse_ref(ref: str) -> HubFile:
    """`hf:OWNER/REPO/FILE`, where FILE may lie in folders of the repository.

    Raises:
        BadInput: a part is missing, is no name of the hub's, or could lead out of a folder
            (CVE-2024-37032); the file is no GGUF, or a later part of several.
    """
    if not ref.isprintable():
        _refuse(ref, "has characters that cannot be printed")
    parts = ref.removeprefix(HUB_PREFIX).split("/")
    if not ref.startswith(HUB_PREFIX) or len(parts) < 3:
        _refuse(ref, "lacks a part")
    owner, repo, *files = parts
    for part in (owner, repo):
        if not _REPO_PART.fullmatch(part) or "--" in part or ".." in part or part.endswith(".git"):
            _refuse(ref, f"has `{part}`, which is no name of an owner or repository")
    for part in files:
        if not part or part[0] == "." or "\\" in part or len(part.encode()) > PART_MAX_BYTES:
            _refuse(ref, f"has `{part}`, which is no name of a file or folder")
    _check_kind(ref, files[-1])
    return HubFile(ref, f"{owner}/{repo}", "/".join(files))


def check_endpoint(url: str) -> None:
    """
    Raises:
        BadInput: it is set and no web address, which huggingface_hub is not prepared for.
    """
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        is_address = False
    if url and not is_address:
        raise BadInput(f"HF_ENDPOINT is `{url}`, expected a hub's https:// address; or unset it")


def _check_kind(ref: str, file: str) -> None:
    if not file.lower().endswith(".gguf"):
        _refuse(ref, f"names `{file}`, which is no GGUF file")
    split = _SPLIT.search(file)
    if split and int(split[1]) != 1:
        first = part_names(file)[0] if int(split[2]) <= MAX_PARTS else "the first"
        _refuse(ref, f"names part {int(split[1])} of {int(split[2])}; name `{first}`")
    if split and not 1 <= int(split[2]) <= MAX_PARTS:
        _refuse(ref, f"names one of {int(split[2])} parts, and llmd takes at most {MAX_PARTS}")


def _refuse(ref: str, what: str) -> NoReturn:
    shown = ref if ref.isprintable() else ascii(ref)[1:-1]
    raise BadInput(f"Model reference `{shown}` {what}; expected {EXPECTED}")
