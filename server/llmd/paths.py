"""Where llmd keeps things. Standard library only until a platform folder is really needed:
the bridge that every editor spawns imports this.

The socket lives in the runtime folder, which differs between shells; the lock lives in the state
folder, which does not, and names the socket. So every shell finds the one daemon.
"""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import Literal

from llmd.errors import BadInput, DaemonError

# sizeof(sockaddr_un.sun_path) is 104 on macOS and the BSDs, 108 on Linux, both with a final NUL.
SOCKET_PATH_MAX_BYTES = 103


def _platform_dir(kind: str) -> Path:
    import platformdirs

    return Path(getattr(platformdirs, f"user_{kind}_dir")("llmd", appauthor=False))


def _dir_from_env(variable: str, kind: str) -> Path:
    override = os.environ.get(variable)
    return Path(override) if override else _platform_dir(kind)


def state_dir() -> Path:
    return _dir_from_env("LLMD_STATE_DIR", "state")


def models_dir() -> Path:
    override = os.environ.get("LLMD_MODELS_DIR")
    return Path(override) if override else _platform_dir("data") / "models"


def config_path() -> Path:
    override = os.environ.get("LLMD_CONFIG")
    return Path(override) if override else _platform_dir("config") / "config.toml"


def runtime_dir() -> Path:
    """The folder of the socket, by the first rule that applies. Never a bare /tmp."""
    if override := os.environ.get("LLMD_RUNTIME_DIR"):
        return Path(override)
    if xdg := os.environ.get("XDG_RUNTIME_DIR"):
        return Path(xdg) / "llmd"
    run_user = Path(f"/run/user/{os.getuid()}")
    if sys.platform == "linux" and run_user.is_dir() and run_user.stat().st_uid == os.getuid():
        return run_user / "llmd"
    return state_dir() / "run"


def socket_path() -> Path:
    path = runtime_dir() / "daemon.sock"
    if (n_bytes := len(os.fsencode(path))) > SOCKET_PATH_MAX_BYTES:
        raise BadInput(
            f"Socket path `{path}` has {n_bytes} bytes; a unix socket takes at most "
            f"{SOCKET_PATH_MAX_BYTES}. Set LLMD_RUNTIME_DIR to a shorter folder"
        )
    return path


def lock_path() -> Path:
    return state_dir() / "daemon.lock"


def outcomes_path() -> Path:
    return state_dir() / "outcomes.json"


def speeds_path() -> Path:
    return state_dir() / "speeds.json"


def log_path() -> Path:
    return state_dir() / "llmd.log"


def plugin_dir(editor: Literal["nvim", "vim"]) -> Path:
    """The plugin's folder: in the installed package, else in the checkout.

    Raises:
        DaemonError: neither is there.
    """
    package = Path(__file__).parent
    places = (package / "_plugins" / editor, package.parents[1] / "plugins" / editor)
    if found := next(filter(Path.is_dir, places), None):
        return found
    raise DaemonError(f"The plugin is not in `{places[0]}`; install llmd again")


def private_dir(path: Path) -> Path:
    """Makes `path` with mode 0700, or checks that it is ours and nobody else's.

    Raises:
        DaemonError: it cannot be made, is a link, is another user's, or others may enter it.
    """
    try:
        path.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        pass  # looked at below; it may be a file or a link that leads nowhere
    except OSError as error:
        raise DaemonError(
            f"Folder `{path}` cannot be made: {error.strerror};"
            " set LLMD_STATE_DIR and LLMD_RUNTIME_DIR to folders that you may write"
        ) from None
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise DaemonError(f"Folder `{path}` is not a folder of its own; remove the link or file")
    if found.st_uid != os.getuid():
        raise DaemonError(f"Folder `{path}` belongs to uid {found.st_uid}, not to you; remove it")
    if found.st_mode & 0o077:
        raise DaemonError(
            f"Folder `{path}` has mode {stat.S_IMODE(found.st_mode):04o}, expected 0700; "
            f"run `chmod 700 {path}`"
        )
    return path
