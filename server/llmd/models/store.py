"""Where a model named in the config lies. Only names and paths: it neither makes nor opens a
model, and imports nothing heavy, since the status and the bridge import it."""

from __future__ import annotations

import stat
from pathlib import Path

from llmd import paths
from llmd.errors import BadInput, ModelError
from llmd.models.catalog import CATALOG, EXPECTED, HUB_PREFIX, HubFile, hub_file, parse_ref

BUILTIN = "builtin"
BUILTIN_FILE = "smollm2-135m-fim-3-Q8_0.gguf"
HUB_FOLDER = "hf"  # Invariant: holds the hub's files alone, so that no OWNER meets another name.


def builtin_path() -> Path:
    """Where the built-in model lies once it has been pulled."""
    return paths.models_dir() / BUILTIN_FILE


def hub_path(file: HubFile) -> Path:
    """Where a file of the hub lies once it has been pulled: hf/OWNER/REPO/FILE."""
    return paths.models_dir() / HUB_FOLDER / file.repo / file.file


def model_path(name: str) -> Path:
    """The file of the model that `model` in the config names: `builtin`, a name of the catalog,
    `hf:OWNER/REPO/FILE`, or a path.

    Raises:
        ModelError: there is no such file, or the name is malformed.
    """
    if (pulled := _pulled_path(name)) is not None:
        if _wrong_with(pulled):
            raise ModelError(f"Model `{name}` is not on this machine; run `llmd pull {name}`")
        return pulled
    path = _expanded(name)
    if state := _wrong_with(path):
        raise ModelError(
            f"Model file `{path}` {state}; set `model` in {paths.config_path()} to a GGUF file"
        )
    return path


def what_to_pull(name: str) -> HubFile | None:
    """The file of the hub that `llmd pull NAME` brings, None for the built-in model.

    Raises:
        BadInput: it is a path, no known name, or a malformed reference.
    """
    if name == BUILTIN:
        return None
    if (file := hub_file(name)) is not None:
        return file
    is_path = name.lower().endswith(".gguf") or "/" in name or not _wrong_with(_expanded(name))
    if not is_path:
        raise BadInput(_unknown(name))
    hint = f", or `llmd pull {HUB_PREFIX}{name}` for the hub's" if _could_be_ref(name) else ""
    raise BadInput(f"Model `{name}` is a path, expected a name; run `llmd use {name}`{hint}")


def _wrong_with(path: Path) -> str:
    try:
        return "" if stat.S_ISREG(path.stat().st_mode) else "is not a file"
    except (FileNotFoundError, NotADirectoryError):
        return "does not exist"
    except (OSError, ValueError) as error:  # a folder that is closed, a name that is too long
        return f"cannot be reached: {getattr(error, 'strerror', error)}"


def _pulled_path(name: str) -> Path | None:
    """None where `name` is a path of the user's own."""
    if name == BUILTIN:
        return builtin_path()
    try:
        file = hub_file(name)
    except BadInput as error:  # The engine waits for a model that is wrong; it can't for an input.
        raise ModelError(str(error)) from None
    return None if file is None else hub_path(file)


def _could_be_ref(name: str) -> bool:
    try:
        parse_ref(f"{HUB_PREFIX}{name}")
    except BadInput:
        return False
    return _wrong_with(_expanded(name)) == "does not exist"


def _unknown(name: str) -> str:
    from difflib import get_close_matches

    names = [BUILTIN, *CATALOG]
    near = get_close_matches(name.lower(), names, n=1)
    meant = f"; did you mean `{near[0]}`" if near else ""
    return f"Model `{name}` is not known, expected {', '.join(names)} or {EXPECTED}{meant}"


def _expanded(name: str) -> Path:
    try:
        return Path(name).expanduser()
    except RuntimeError:  # `~name` of a user that is not known
        return Path(name)
