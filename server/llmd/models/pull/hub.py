"""Brings a model of the hub into the models folder. The only importer of huggingface_hub, and only
when a pull begins.

The model appears whole, checked, or not at all: of several parts the first comes into place last.
What an end of any kind leaves beside its place, the next pull continues. `hf_hub_download` would
begin again, and fills caches in other folders.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial as bind
from glob import escape
from logging import ERROR
from pathlib import Path
from typing import Any, cast

from llmd import __version__, paths
from llmd.errors import ModelError
from llmd.models import pulled_files, resolve
from llmd.models.pull.presence import PULL_LOCK_FILE
from llmd.models.pull.staging import PARTIAL_PREFIX, move_durably, only_pull, run_concurrently
from llmd.models.references import HubFile, check_endpoint

ReportBytes = Callable[[str, int, int], None]  # stage, bytes done, bytes in all (0: there are none)
CHUNK_BYTES = 1 << 20
N_PARTS_AT_ONCE = 3


@dataclass(frozen=True, slots=True)
class _Remote:
    """A file as the hub has it: at one commit, so that it does not change while it is brought."""

    url: str
    n_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class _Part:
    """One file of a model, where it comes from, grows and comes to lie."""

    file: HubFile
    remote: _Remote
    partial: Path
    target: Path

    @property
    def n_here(self) -> int:
        return self.partial.stat().st_size if self.partial.exists() else 0


class _TotalProgress:
    """Bytes of all parts together. Each part's own number is written by one thread alone."""

    def __init__(self, parts: Sequence[_Part], report: ReportBytes) -> None:
        self._n_done = {part.target: part.n_here for part in parts}
        self._n_total = sum(part.remote.n_bytes for part in parts)
        self._report = report

    def set(self, stage: str, part: _Part, n_done: int) -> None:
        self._n_done[part.target] = n_done
        self._report(stage, sum(self._n_done.values()), self._n_total)


def pull_hub(file: HubFile, report: ReportBytes) -> Path:
    """The model's place, brought into the models folder if it is not on this machine yet.

    Two pulls at once bring it once: the second waits. HF_TOKEN, HF_ENDPOINT and HF_HUB_OFFLINE
    are obeyed.

    Raises:
        BadInput: HF_ENDPOINT is no address.
        ModelError: the hub has no such file, does not give it, or gives another than it or the
            catalog says; it is no model; the network or the disk refuses.
    """
    target = resolve.pulled_path(file)
    lock = paths.models_dir() / PULL_LOCK_FILE
    try:
        if found := _whole_local_path(file):
            return found
        target.parent.mkdir(parents=True, exist_ok=True)
        with only_pull(lock, lambda stage: report(stage, 0, 0)):
            if not _whole_local_path(file):
                _download_missing(file, report)
    except OSError as error:
        raise ModelError(
            f"Model `{file.name}` cannot be kept in `{target.parent}`: {error.strerror or error}; "
            f"it needs a folder that you may write, with room for it; {_retry_hint(file)}"
        ) from error
    return target


def _whole_local_path(file: HubFile) -> Path | None:
    """None too where a part of it is missing here."""
    path = resolve.local_path(file)
    if path == resolve.pulled_path(file) and not all(map(Path.is_file, _targets(file))):
        return None
    return path


def _targets(file: HubFile) -> list[Path]:
    return [resolve.pulled_path(part) for part in file.parts]


def _download_missing(file: HubFile, report: ReportBytes) -> None:
    _prepare_client()
    with _client_errors_as_sentences(file):
        looked = [(part, _fetch_metadata(part)) for part in file.parts]
    parts = [
        _Part(part, remote, _partial(target, remote), target)
        for (part, remote), target in zip(looked, _targets(file), strict=True)
    ]
    missing = [part for part in parts if not part.target.is_file()]
    n_missing = sum(part.remote.n_bytes - part.n_here for part in missing)
    _check_space(file, parts[0].target.parent, n_missing)
    tally = _TotalProgress(missing, report)
    with _client_errors_as_sentences(file):
        run_concurrently([bind(_download, part, tally) for part in missing], N_PARTS_AT_ONCE)
    for part in reversed(missing):
        _check_sha256(part, tally)
        _check_model(file, part, is_first=part is parts[0])
        move_durably(part.partial, part.target)
        pulled_files.add(part.target, part.remote.sha256, part.remote.n_bytes)


def _prepare_client() -> None:
    """Invariant: comes before any other import of huggingface_hub, which reads these once."""
    check_endpoint(os.environ.get("HF_ENDPOINT", ""))
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    from huggingface_hub import constants, logging

    logging.set_verbosity(ERROR)  # Its warnings hold signed URLs, and would break the bar.
    constants.DOWNLOAD_CHUNK_SIZE = CHUNK_BYTES  # Of its 10 MB, a lost line loses what it had.


def _fetch_metadata(file: HubFile) -> _Remote:
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    found = get_hf_file_metadata(hf_hub_url(file.repo, file.file, revision=file.revision))
    sha256 = found.etag or ""
    if not re.fullmatch("[0-9a-f]{64}", sha256) or not found.size:
        raise ModelError(f"File {file} has no SHA-256 on the hub to check it by; name another file")
    if file.sha256 not in ("", sha256):
        raise ModelError(
            f"File {file} has SHA-256 {sha256} on the hub, expected {file.sha256}; if you trust it"
            f" all the same, run `llmd pull {file.ref}`"
        )
    commit = found.commit_hash or file.revision
    return _Remote(hf_hub_url(file.repo, file.file, revision=commit), found.size, sha256)


def _partial(target: Path, remote: _Remote) -> Path:
    """Where this content grows; what another content of the same name left is removed.

    Invariants: the caller holds the lock, so nobody writes any of them; no file of the hub is
    called so, since `parse_ref` allows none that begins with a dot.
    """
    partial = target.with_name(f"{PARTIAL_PREFIX}{remote.sha256[:12]}-{target.name}")
    for found in target.parent.glob(f"{PARTIAL_PREFIX}{'?' * 12}-{escape(target.name)}"):
        if found != partial or found.stat().st_size > remote.n_bytes:
            found.unlink()
    return partial


def _check_space(file: HubFile, folder: Path, n_bytes: int) -> None:
    n_free = shutil.disk_usage(folder).free
    if n_free < n_bytes:
        raise ModelError(
            f"Model `{file.name}` needs {n_bytes / 1e6:,.0f} MB in `{folder}`, which has "
            f"{n_free / 1e6:,.0f} MB free; free some, or set LLMD_MODELS_DIR to a larger disk"
        )


class _ProgressAdapter(ExitStack):
    """What `http_get` uses of a tqdm: a context that is told of each chunk."""

    def __init__(self, part: _Part, tally: _TotalProgress, *, initial: int, **_: Any) -> None:
        super().__init__()
        self._part, self._tally, self._n_done = part, tally, initial
        self.update(0)

    def update(self, n_bytes: int) -> None:
        self._n_done += n_bytes
        self._tally.set("downloading", self._part, self._n_done)


def _download(part: _Part, tally: _TotalProgress) -> None:
    """A line that is lost is taken up again five times, each after new bytes."""
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    headers = build_hf_headers(library_name="llmd", library_version=__version__)
    headers["Accept-Encoding"] = "identity"  # A range of compressed bytes is none of the file's.
    bar = cast("Any", bind(_ProgressAdapter, part, tally))
    with part.partial.open("ab") as out:
        http_get(
            part.remote.url, out, resume_size=part.n_here, expected_size=part.remote.n_bytes,
            headers=headers, tqdm_class=bar,
        )  # fmt: skip


def _check_sha256(part: _Part, tally: _TotalProgress) -> None:
    got = sha256_of(part.partial, lambda n_done: tally.set("checking", part, n_done))
    if got != part.remote.sha256:
        part.partial.unlink()
        raise ModelError(
            f"File {part.file} came with SHA-256 {got}, expected {part.remote.sha256}; it was "
            f"removed, {_retry_hint(part.file)}"
        )


def sha256_of(path: Path, tell: Callable[[int], None]) -> str:
    """`tell` is told the bytes done.

    Raises:
        OSError: it cannot be read.
    """
    hashed, n_done = hashlib.sha256(), 0
    with path.open("rb") as content:
        while chunk := content.read(CHUNK_BYTES):
            hashed.update(chunk)
            n_done += len(chunk)
            tell(n_done)
    return hashed.hexdigest()


def _check_model(file: HubFile, part: _Part, *, is_first: bool) -> None:
    """A model can be told by its first part. Of a LoRA, that it is one."""
    from llmd.models.gguf.header import check_part

    try:
        check_part(part.partial, part.target, is_first=is_first)
    except ModelError as error:
        part.partial.unlink()
        raise ModelError(
            f"File {part.file} is no model for llmd, and was removed: {error}"
        ) from error


@contextmanager
def _client_errors_as_sentences(file: HubFile) -> Iterator[None]:
    """Turns the client's errors into a sentence, and leaves those of the disk."""
    from huggingface_hub import errors

    try:
        yield
    except (errors.HTTPError, OSError, ValueError, ImportError) as error:  # type: ignore[attr-defined]
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ModelError(_describe_error(file, error)) from error


def _describe_error(file: HubFile, error: Exception) -> str:
    """Invariant: a kind stands before those it is made of."""
    from huggingface_hub import constants, errors

    repo, again = f"`{file.repo}`", _retry_hint(file)
    status = getattr(getattr(error, "response", None), "status_code", 0)
    table: tuple[tuple[type[Exception], str], ...] = (
        (errors.OfflineModeIsEnabled,
         f"Model `{file.name}` is not here and HF_HUB_OFFLINE is set; unset it, and {again}"),
        (errors.GatedRepoError,
         f"Repository {repo} is gated; accept its licence on the hub, set HF_TOKEN, and {again}"),
        (errors.RepositoryNotFoundError,
         f"Repository {repo} is not on the hub, or is private; check its name, or set HF_TOKEN"),
        (errors.RevisionNotFoundError,
         f"Repository {repo} lost {file.revision}; run `llmd pull {file.ref}` for its newest file"),
        (errors.EntryNotFoundError,
         f"Repository {repo} has no file `{file.file}`; look on the hub for those it has"),
        (errors.HfHubHTTPError,
         f"Hub answered {status} for {file}; {'check HF_TOKEN' if status in (401, 403) else 'wait'}"
         f", then {again}"),
        (ImportError, f"Proxy in ALL_PROXY is SOCKS, expected HTTP; set another, and {again}"),
        (Exception,
         f"Hub `{constants.ENDPOINT}` was not reached or broke off ({type(error).__name__}); "
         f"check the network, then {again}, it goes on where this one ended"),
    )  # fmt: skip
    return next(text for kind, text in table if isinstance(error, kind))


def _retry_hint(file: HubFile) -> str:
    return f"run `llmd pull {file.name}` again"
