"""Calls the client of the Hugging Face hub: file metadata, downloads, and the client's own cache.

The only importer of huggingface_hub. Each function imports it when called, since the daemon and the
editor's bridge import this module and seldom need the client.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial as bind
from logging import ERROR
from pathlib import Path
from typing import Any, BinaryIO, cast

from llmd import __version__
from llmd.errors import BadInput, ModelError, printable
from llmd.models.hub_reference import HubFile, check_endpoint

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """Describes a file on the hub at one commit, so that the content stays the same."""

    url: str
    n_bytes: int
    sha256: str


def fetch_metadata(file: HubFile) -> RemoteFile:
    """Asks the hub for the address, size and hash of `file`.

    Raises:
        BadInput: HF_ENDPOINT is not an address.
        ModelError: the hub refuses or cannot be reached, or has another hash than the catalog.
    """
    _import_constants()
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, logging

    logging.set_verbosity(ERROR)  # The client's warnings hold signed URLs and break the bar.
    with _errors_as_sentences(file):
        metadata = get_hf_file_metadata(hf_hub_url(file.repo, file.file, revision=file.revision))
    sha256 = metadata.etag or ""
    if metadata.size is not None and metadata.size < 1:
        raise ModelError(f"File {file} has {metadata.size} bytes on the hub; choose another")
    if not re.fullmatch("[0-9a-f]{64}", sha256) or not metadata.size:
        raise ModelError(
            f"File {file} has no SHA-256 on the hub, so llmd cannot verify the file; choose another"
        )
    if file.sha256 not in ("", sha256):
        raise ModelError(
            f"File {file} has SHA-256 {sha256} on the hub, expected {file.sha256}; if you"
            f" trust the file on the hub, run `llmd pull {shlex.quote(file.ref)}`"
        )
    commit = metadata.commit_hash or file.revision
    return RemoteFile(hf_hub_url(file.repo, file.file, revision=commit), metadata.size, sha256)


def download(
    file: HubFile, remote: RemoteFile, partial: Path, on_progress: Callable[[int], None]
) -> None:
    """Appends the missing bytes to `partial`. `on_progress` gets the number of bytes in `partial`.

    A lost connection is resumed up to five times, each time after new bytes.

    Raises:
        ModelError: the hub refuses or the connection fails.
        OSError: the disk refuses.
    """
    constants = _import_constants()
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    # A lost connection loses a chunk; the client's is 10 MB.
    constants.DOWNLOAD_CHUNK_SIZE = CHUNK_BYTES
    headers = build_hf_headers(library_name="llmd", library_version=__version__)
    headers["Accept-Encoding"] = "identity"  # A range of compressed bytes is not one of the file.
    bar = cast("Any", bind(_ProgressAdapter, on_progress))
    with _errors_as_sentences(file), partial.open("ab") as out, _plain_bodies(file):
        try:
            http_get(
                remote.url, cast("Any", _BoundedFile(out, remote.n_bytes, file)),
                resume_size=out.tell(), expected_size=remote.n_bytes, headers=headers,
                tqdm_class=bar,
            )  # fmt: skip
        except _TooLongError:
            partial.unlink()  # no part of it is certain
            raise


class _TooLongError(ModelError):
    """Reports that a hub sends more than it announced."""


class _BoundedFile:
    """Offers the part of a file that `http_get` uses, and takes no more bytes than announced."""

    def __init__(self, out: BinaryIO, max_bytes: int, file: HubFile) -> None:
        self._out, self._max_bytes, self._file = out, max_bytes, file
        self.seek, self.tell, self.truncate = out.seek, out.tell, out.truncate

    def write(self, data: bytes) -> int:
        if self._out.tell() + len(data) > self._max_bytes:
            raise _TooLongError(
                f"File {self._file} is longer than the {self._max_bytes} bytes that the hub"
                f" announced; the download was removed, {retry_hint(self._file)}"
            )
        return self._out.write(data)


@contextmanager
def _plain_bodies(file: HubFile) -> Iterator[None]:
    """Refuses a compressed body, which was not asked for: a few bytes could become any number."""
    from huggingface_hub.utils import get_session  # type: ignore[attr-defined]

    def check(response: Any) -> None:
        encoding = response.headers.get("Content-Encoding", "identity")
        if encoding.lower() != "identity" and response.status_code in (200, 206):
            raise ModelError(
                f"File {file} is sent compressed ({printable(encoding)[:20]}), expected as it is;"
                f" check HF_ENDPOINT and the proxy, then {retry_hint(file)}"
            )

    hooks = get_session().event_hooks
    get_session().event_hooks = {**hooks, "response": [*hooks.get("response", ()), check]}
    try:
        yield
    finally:
        get_session().event_hooks = hooks


class _ProgressAdapter(ExitStack):
    """Offers the part of tqdm that `http_get` uses: a context that gets the size of each chunk."""

    def __init__(self, on_progress: Callable[[int], None], *, initial: int, **_: Any) -> None:
        super().__init__()
        self._on_progress, self._n_done = on_progress, initial
        self.update(0)

    def update(self, n_bytes: int) -> None:
        self._n_done += n_bytes
        self._on_progress(self._n_done)


def cached_files() -> Iterator[tuple[str, str, Path]]:
    """Yields (OWNER/REPO, file in the repository, path) of each model file in the client's cache.

    Files of a repository's newest revision come first. Reads the whole cache.
    """
    folder = _cache_folder()
    if folder is None or not folder.is_dir():
        return
    from huggingface_hub import scan_cache_dir

    try:
        repos = [repo for repo in scan_cache_dir(folder).repos if repo.repo_type == "model"]
    except OSError:  # a folder that cannot be read
        return
    for repo in repos:
        for revision in sorted(repo.revisions, key=lambda r: r.last_modified, reverse=True):
            for file in revision.files:
                name = file.file_path.relative_to(revision.snapshot_path).as_posix()
                yield repo.repo_id, name, file.file_path


def cached_copies(file: HubFile) -> list[Path]:
    """Lists where `file` may lie in the client's cache, in the newest revision first.

    Reads one repository only: the daemon calls this function, and a scan of the cache takes long.
    """
    folder = _cache_folder() or Path(os.devnull)
    snapshots = folder / f"models--{file.repo.replace('/', '--')}" / "snapshots"
    # A pinned revision stands for its content, `main` for what was downloaded last.
    try:
        commits = [path for path in snapshots.iterdir() if file.revision in ("main", path.name)]
        commits.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    except OSError:
        return []
    return [commit / file.file for commit in commits]


def _cache_folder() -> Path | None:
    """Returns None if HF_ENDPOINT is invalid: a pull reports the value, a look-up must not fail."""
    try:
        return Path(_import_constants().HF_HUB_CACHE)
    except BadInput:
        return None


def _import_constants() -> Any:
    """Imports the settings of the client. Invariant: this is the first import of huggingface_hub,
    which reads the environment once."""
    check_endpoint(os.environ.get("HF_ENDPOINT", ""))
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    from huggingface_hub import constants

    return constants


@contextmanager
def _errors_as_sentences(file: HubFile) -> Iterator[None]:
    """Turns errors of the client into a ModelError; errors of the disk pass."""
    from huggingface_hub import errors

    try:
        yield
    except (errors.HTTPError, OSError, ValueError, ImportError) as error:  # type: ignore[attr-defined]
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ModelError(_describe_error(file, error)) from error


def _describe_error(file: HubFile, error: Exception) -> str:
    """Invariant: a kind of error stands before the kinds that it is derived from."""
    from huggingface_hub import constants, errors

    repo, again = f"`{file.repo}`", retry_hint(file)
    status = getattr(getattr(error, "response", None), "status_code", 0)
    advice = "check HF_TOKEN" if status in (401, 403) else "wait"
    table: tuple[tuple[type[Exception], str], ...] = (
        (errors.OfflineModeIsEnabled,
         f"Model `{file.name}` is not on this machine and HF_HUB_OFFLINE is set; unset"
         f" HF_HUB_OFFLINE, then {again}"),
        (errors.GatedRepoError,
         f"Repository {repo} is gated; accept its licence on the hub, set HF_TOKEN, then {again}"),
        (errors.RepositoryNotFoundError,
         f"Repository {repo} is not on the hub, or is private; check the name, or set HF_TOKEN"),
        (errors.RevisionNotFoundError,
         f"Repository {repo} has no revision {file.revision} any more; run"
         f" `llmd pull {shlex.quote(file.ref)}`"
         " for the newest file"),
        (errors.EntryNotFoundError,
         f"Repository {repo} has no file `{file.file}`; check the file name on the hub"),
        (errors.HfHubHTTPError,
         f"Hub returned status {status} for {file}; {advice}, then {again}"),
        (ImportError,
         f"Proxy in ALL_PROXY is SOCKS, expected HTTP; set an HTTP proxy, then {again}"),
        (Exception,
         f"Hub `{constants.ENDPOINT}` cannot be reached, or the connection failed"
         f" ({type(error).__name__}); check the network, then {again} to resume the download"),
    )  # fmt: skip
    return next(text for kind, text in table if isinstance(error, kind))


def retry_hint(file: HubFile) -> str:
    return f"run `llmd pull {shlex.quote(file.name)}` again"
