"""Downloads a model from the Hugging Face hub into the models folder.

The model appears complete and verified, or not at all: of a model in several parts the first part
is moved into place last. A download that ends early leaves a partial file beside the target, which
the next pull resumes. `hf_hub_download` would start over, and fills caches in other folders.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial as bind
from glob import escape
from pathlib import Path

from llmd.errors import ModelError
from llmd.files import replace_durably
from llmd.models import pulled_files, resolve
from llmd.models.hub_reference import HubFile
from llmd.models.pull import hub_client
from llmd.models.pull.hub_client import CHUNK_BYTES, RemoteFile, retry_hint
from llmd.models.pull.staging import PARTIAL_PREFIX, only_pull, run_concurrently

ReportBytes = Callable[[str, int, int], None]  # stage, bytes done, bytes in all (0: not known)
N_PARTS_AT_ONCE = 3


@dataclass(frozen=True, slots=True)
class _Part:
    """Describes one file of a model: its source, its partial file and its final place."""

    file: HubFile
    remote: RemoteFile
    partial: Path
    target: Path

    @property
    def n_partial_bytes(self) -> int:
        return self.partial.stat().st_size if self.partial.exists() else 0


class _TotalProgress:
    """Adds up the bytes of all parts. One thread alone writes the number of each part."""

    def __init__(self, parts: Sequence[_Part], report: ReportBytes) -> None:
        self._n_done = {part.target: part.n_partial_bytes for part in parts}
        self._n_total = sum(part.remote.n_bytes for part in parts)
        self._report = report

    def set(self, stage: str, part: _Part, n_done: int) -> None:
        self._n_done[part.target] = n_done
        self._report(stage, sum(self._n_done.values()), self._n_total)


def pull_hub(file: HubFile, report: ReportBytes) -> Path:
    """Returns the path of the model, after downloading the model if it is not on this machine.

    Of two pulls at once the second waits for the first. HF_TOKEN, HF_ENDPOINT and HF_HUB_OFFLINE
    are obeyed.

    Raises:
        BadInput: HF_ENDPOINT is not an address.
        ModelError: the hub does not have or does not send the file, or the hash is not the one that
            the hub or the catalog announces; the file is not a model; the network or disk fails.
    """
    target = resolve.pulled_path(file)
    try:
        if path := _whole_local_path(file):
            return path
        target.parent.mkdir(parents=True, exist_ok=True)
        with only_pull(lambda stage: report(stage, 0, 0)):
            if not _whole_local_path(file):
                _download_missing(file, report)
    except OSError as error:
        raise ModelError(
            f"Model `{file.name}` cannot be saved in `{target.parent}`: {error.strerror or error}; "
            f"check that the folder is writable and has enough free space, then {retry_hint(file)}"
        ) from error
    return target


def _whole_local_path(file: HubFile) -> Path | None:
    """Returns the path of the model; None if the model or a part of a pulled model is missing."""
    path = resolve.local_path(file)
    targets = [resolve.pulled_path(part) for part in file.parts]
    return None if path == targets[0] and not all(map(Path.is_file, targets)) else path


def _download_missing(file: HubFile, report: ReportBytes) -> None:
    remotes = [(part, hub_client.fetch_metadata(part)) for part in file.parts]
    parts = [
        _Part(part, remote, _partial_path(target := resolve.pulled_path(part), remote), target)
        for part, remote in remotes
    ]
    missing = [part for part in parts if not part.target.is_file()]
    n_missing = sum(part.remote.n_bytes - part.n_partial_bytes for part in missing)
    _check_space(file, parts[0].target.parent, n_missing)
    progress = _TotalProgress(missing, report)
    track = bind(progress.set, "downloading")
    jobs = [bind(hub_client.download, p.file, p.remote, p.partial, bind(track, p)) for p in missing]
    run_concurrently(jobs, N_PARTS_AT_ONCE)
    for part in reversed(missing):
        _check_sha256(part, progress)
        _check_model(part, is_first=part is parts[0])
        replace_durably(part.partial, part.target)
        pulled_files.add(part.target, part.remote.sha256, part.remote.n_bytes)


def _partial_path(target: Path, remote: RemoteFile) -> Path:
    """Returns the path of the partial file; removes those of other contents of the same name.

    Invariants: the caller holds the lock, so no other process writes a partial file; no file on the
    hub has such a name, since `parse_ref` accepts none that begins with a dot.
    """
    partial = target.with_name(f"{PARTIAL_PREFIX}{remote.sha256[:12]}-{target.name}")
    for path in target.parent.glob(f"{PARTIAL_PREFIX}{'?' * 12}-{escape(target.name)}"):
        if path != partial or not path.is_file() or path.stat().st_size > remote.n_bytes:
            path.unlink()  # which removes no folder
    return partial


def _check_space(file: HubFile, folder: Path, n_bytes: int) -> None:
    n_free = shutil.disk_usage(folder).free
    if n_free < n_bytes:
        raise ModelError(
            f"Model `{file.name}` needs {n_bytes / 1e6:,.0f} MB, but `{folder}` has "
            f"{n_free / 1e6:,.0f} MB free; free some space, or set LLMD_MODELS_DIR to a folder on "
            "a larger disk"
        )


def _check_sha256(part: _Part, progress: _TotalProgress) -> None:
    sha256 = sha256_of(part.partial, bind(progress.set, "checking", part))
    if sha256 != part.remote.sha256:
        part.partial.unlink()
        raise ModelError(
            f"File {part.file} was downloaded with SHA-256 {sha256}, expected {part.remote.sha256};"
            f" the download was removed, {retry_hint(part.file)}"
        )


def sha256_of(path: Path, on_progress: Callable[[int], None]) -> str:
    """Hashes a file, and calls `on_progress` with the number of bytes done.

    Raises:
        OSError: the file cannot be read.
    """
    digest, n_done = hashlib.sha256(), 0
    with path.open("rb") as content:
        while chunk := content.read(CHUNK_BYTES):
            digest.update(chunk)
            n_done += len(chunk)
            on_progress(n_done)
    return digest.hexdigest()


def _check_model(part: _Part, *, is_first: bool) -> None:
    """Checks the header of a part. The first part holds the metadata; adapters are accepted."""
    from llmd.models.gguf.validate import check_model, read_header

    try:
        header = read_header(part.partial)
        if is_first and header.kind != "adapter":
            check_model(part.partial, target=part.target)
    except ModelError as error:
        part.partial.unlink()
        raise ModelError(
            f"File {part.file} is not a model for llmd, and was removed: {error}"
        ) from error
