"""Names for models that infill, and references to the hub's files. Pure, standard library only.

Base models, since a chat model explains where it should continue. Q8_0, which loses nothing that
completion can measure and is the smallest that every backend runs fast.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NoReturn
from urllib.parse import urlsplit

from llmd.errors import BadInput

HUB_PREFIX = "hf:"
EXPECTED = f"{HUB_PREFIX}OWNER/REPO/FILE.gguf"


@dataclass(frozen=True, slots=True)
class HubFile:
    """Invariant: `repo` is OWNER/REPO, and no part of it or of `file` leads out of a folder."""

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


@dataclass(frozen=True, slots=True)
class Entry:
    file: HubFile
    quantisation: str
    n_bytes: int
    licence: str


def _qwen(size: str, revision: str, sha256: str, n_bytes: int, licence: str) -> Entry:
    """The files of llama.cpp's own presets for infill (`--fim-qwen-*`, common/arg.cpp)."""
    repo, file = f"ggml-org/Qwen2.5-Coder-{size.upper()}-Q8_0-GGUF", f"qwen2.5-coder-{size}-q8_0"
    hub_file = HubFile(f"qwen2.5-coder-{size}", repo, f"{file}.gguf", revision, sha256)
    return Entry(hub_file, "Q8_0", n_bytes, licence)


PART_MAX_BYTES = 200  # of the 255 that a folder takes, since a file that is not whole yet has more
APACHE = "Apache-2.0"

# Hashes, sizes and revisions are those that three or more public projects pin independently.
_ENTRIES = (
    # --fim-qwen-7b-spec has it as the draft model
    _qwen(
        "0.5b",
        "5788aee90e725673490be18f553d234feaa8303d",
        "d0f8cd6c49bab52a0abdbe47948518b1f4d9b1a8a2a6825099cea31cea10ac56",
        531_068_128,
        APACHE,
    ),
    # --fim-qwen-1.5b-default
    _qwen(
        "1.5b",
        "8be1b8a895a84beea772817caaa71eba6b6e0d07",
        "29871c94d15727a6e243f79a37113d4ae625a6215b5e800bf41a23af2da32832",
        1_646_573_056,
        APACHE,
    ),
    # --fim-qwen-3b-default; alone in its family under a licence that forbids commercial use
    _qwen(
        "3b",
        "9c1de162ae417c9c3aacde97c729c4128de047d8",
        "a522a906e299ed34db738b9626b2cd0da9e446c14674468a22fc2eae3dbd344d",
        3_285_476_160,
        "Qwen Research, no commercial use",
    ),
    # --fim-qwen-7b-default
    _qwen(
        "7b",
        "bca77e0a8c88fc224882bcc404170c3ef17efacc",
        "0ef48dc94a3c551a6736ac2601de38413dc9aa9318534b16e8baee08290a4aaf",
        8_098_525_600,
        APACHE,
    ),
    # The conversion in the tests of transformers and vLLM. It names its pre-tokenizer, as files
    # made before May 2024 do not. One public hash is too few to refuse a file by.
    Entry(
        HubFile("starcoder2-3b", "QuantFactory/starcoder2-3b-GGUF", "starcoder2-3b.Q8_0.gguf"),
        "Q8_0",
        3_224_556_928,
        "BigCode OpenRAIL-M",
    ),
)
CATALOG = {entry.file.name: entry for entry in _ENTRIES}

# The hub's rule for each half of a repository's name (huggingface_hub, utils/_validators.py).
_REPO_PART = re.compile(r"\w(?:[\w.-]{0,94}\w)?", re.ASCII)
_SPLIT = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$", re.IGNORECASE)


def hub_file(name: str) -> HubFile | None:
    """The hub's file that `name` stands for, None where it stands for something else.

    Raises:
        BadInput: it begins with `hf:` and is malformed.
    """
    if name.startswith(HUB_PREFIX):
        return parse_ref(name)
    entry = CATALOG.get(name)
    return entry.file if entry else None


def parse_ref(ref: str) -> HubFile:
    """`hf:OWNER/REPO/FILE`, where FILE may lie in folders of the repository.

    Raises:
        BadInput: a part is missing, is no name of the hub's, or could lead out of a folder
            (CVE-2024-37032); the file is no GGUF, or one part of several.
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
    if (split := _SPLIT.search(file)) and int(split[2]) > 1:
        _refuse(ref, f"names part {int(split[1])} of {int(split[2])}, and llmd takes whole files")


def _refuse(ref: str, what: str) -> NoReturn:
    shown = ref if ref.isprintable() else ascii(ref)[1:-1]
    raise BadInput(f"Model reference `{shown}` {what}; expected {EXPECTED}")
