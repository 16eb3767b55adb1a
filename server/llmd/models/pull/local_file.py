"""`llmd pull ./file.gguf`: a file of the user's own is looked at, kept where it is, and remembered
with its hash, so that `llmd models` shows it and `llmd models verify` can tell a change."""

from __future__ import annotations

from pathlib import Path

from llmd import paths
from llmd.errors import ModelError
from llmd.models import pulled_files
from llmd.models.pull.hub import sha256_of
from llmd.models.pull.presence import PULL_LOCK_FILE
from llmd.models.pull.staging import only_pull
from llmd.models.references import part_names


def pull_local_file(path: Path) -> Path:
    """
    Raises:
        ModelError: it is no model, or what is known of it cannot be kept.
    """
    from llmd.models.gguf.header import check_model

    path = path.absolute()
    check_model(path)
    folder = paths.models_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with only_pull(folder / PULL_LOCK_FILE, lambda _: None):
            for part in map(path.with_name, part_names(path.name)):
                if pulled_files.find_record(part) is None:
                    pulled_files.add(part, sha256_of(part, lambda _: None), part.stat().st_size)
    except OSError as error:
        raise ModelError(
            f"Model file `{path}` cannot be remembered in `{folder}`: {error.strerror or error}"
        ) from error
    return path
