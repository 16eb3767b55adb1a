"""Registers a user's own file for `llmd pull ./file.gguf`: checks the header and records the hash.

The file stays in place. `llmd models` lists the file, and `llmd models verify` detects changes.
"""

from __future__ import annotations

from pathlib import Path

from llmd import paths
from llmd.errors import ModelError
from llmd.models import pulled_files
from llmd.models.hub_reference import part_names
from llmd.models.pull.hub import sha256_of
from llmd.models.pull.staging import only_pull


def pull_local_file(path: Path) -> Path:
    """Returns the absolute path of the registered file.

    Raises:
        ModelError: the file is not a model, or the ledger cannot be written.
    """
    from llmd.models.gguf.validate import check_model

    path = path.absolute()
    check_model(path)
    folder = paths.models_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with only_pull(lambda _: None):
            for part in map(path.with_name, part_names(path.name)):
                if pulled_files.find_record(part) is None:
                    pulled_files.add(part, sha256_of(part, lambda _: None), part.stat().st_size)
    except OSError as error:
        raise ModelError(
            f"Model file `{path}` cannot be registered in `{folder}`: {error.strerror or error};"
            " check that the folder is writable"
        ) from error
    return path
