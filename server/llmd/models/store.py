"""Where a model named in the config lies. Only names and paths: it neither makes nor opens a
model, and imports nothing heavy, since the status and the bridge import it."""

from __future__ import annotations

from pathlib import Path

from llmd import paths
from llmd.errors import ModelError

BUILTIN = "builtin"
BUILTIN_FILE = "smollm2-135m-fim-Q8_0.gguf"


def builtin_path() -> Path:
    """Where the built-in model lies once it has been pulled."""
    return paths.models_dir() / BUILTIN_FILE


def model_path(name: str) -> Path:
    """The file of the model that `model` in the config names: `builtin`, or a path.

    Raises:
        ModelError: there is no such file.
    """
    if name == BUILTIN:
        path = builtin_path()
        if not path.is_file():
            raise ModelError(f"Model `{BUILTIN}` is not on this machine; run `llmd pull {BUILTIN}`")
        return path
    path = _expanded(name)
    if not path.is_file():
        state = "is not a file" if path.exists() else "does not exist"
        raise ModelError(
            f"Model file `{path}` {state}; set `model` in {paths.config_path()} to a GGUF file"
        )
    return path


def _expanded(name: str) -> Path:
    try:
        return Path(name).expanduser()
    except RuntimeError:  # `~name` of a user that is not known
        return Path(name)
