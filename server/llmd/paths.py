"""Defines the paths of llmd's files and folders.

Imports only the standard library until a platform folder is needed, since the bridge, which every
editor starts, imports this module.

The socket is in the runtime folder, which may differ between shells. The lock is in the state
folder, which does not, and contains the socket's path. So every shell finds the same daemon.
"""

from __future__ import annotations

import json
import os
import shlex
import socket
import stat
import sys
from functools import cache
from pathlib import Path
from typing import Literal

from llmd.errors import BadInput, DaemonError
from llmd.files import is_locked, read_regular
from llmd.processes import boot_id, parse_identity, pid_space, place_name

# sizeof(sockaddr_un.sun_path) is 104 on macOS and the BSDs and 108 on Linux, including a final NUL.
SOCKET_PATH_MAX_BYTES = 103
SOCKET_FILE, LOCK_FILE = "daemon.sock", "daemon.lock"


def _platform_dir(kind: Literal["config", "data", "state"]) -> Path:
    """Returns the platform's folder for llmd.

    Raises:
        BadInput: it would be in the home folder, which is not known.
    """
    import platformdirs

    variable = os.environ.get(f"XDG_{kind.upper()}_HOME", "")
    if not os.path.isabs(variable) and not os.path.isabs(os.environ.get("HOME", "")):
        raise BadInput(
            "The home folder is not known, since HOME is not set to an absolute path; set HOME, or"
            " LLMD_STATE_DIR, LLMD_MODELS_DIR and LLMD_CONFIG"
        )
    return Path(getattr(platformdirs, f"user_{kind}_dir")("llmd", appauthor=False))


def state_dir() -> Path:
    """Returns the folder of the state, which is private. Where the platform has one folder for
    state, data and configuration (macOS), the state is in a folder below it."""
    return _state_of_this_machine(shared_state_dir())


def shared_state_dir() -> Path:
    """Returns the state folder that all machines and containers with this home have in common."""
    if override := os.environ.get("LLMD_STATE_DIR"):
        return Path(override)
    folder = _platform_dir("state")
    is_shared = folder in (_platform_dir("data"), _platform_dir("config"))
    return folder / "state" if is_shared else folder


@cache
def _state_of_this_machine(folder: Path) -> Path:
    """Returns the folder itself, unless a daemon of another machine or container uses it: each has
    its own daemon, and no lock or socket of one is in the way of the other."""
    own = folder / f"host-{place_name()}"
    return own if own.is_dir() or _is_of_another_machine(folder / LOCK_FILE) else folder


def _is_of_another_machine(lock: Path) -> bool:
    """Within one boot a held lock is seen by all. After a reboot the host's name is the same; while
    the machine runs, it may change."""
    try:
        row = json.loads(read_regular(lock))
        holder = parse_identity(row) if isinstance(row, dict) else None
    except (OSError, ValueError):
        return False
    if holder is None:
        return False
    if holder.boot == boot_id():
        return holder.pid_space != pid_space() and is_locked(lock)
    return holder.host != socket.gethostname()


def models_dir() -> Path:
    return Path(os.environ.get("LLMD_MODELS_DIR") or _platform_dir("data") / "models")


def config_path() -> Path:
    return Path(os.environ.get("LLMD_CONFIG") or _platform_dir("config") / "config.toml")


def runtime_dir() -> Path:
    """Returns the folder of the socket. Never /tmp itself, where other users may create files."""
    if (state := state_dir()) != shared_state_dir():
        return state / "run"  # the other machine or container may share the other folders too
    if override := os.environ.get("LLMD_RUNTIME_DIR"):
        return Path(override)
    if os.path.isabs(xdg := os.environ.get("XDG_RUNTIME_DIR", "")):  # others are to be ignored
        return Path(xdg) / "llmd"
    run_user = Path(f"/run/user/{os.getuid()}")
    if sys.platform == "linux" and run_user.is_dir() and run_user.stat().st_uid == os.getuid():
        return run_user / "llmd"
    return state / "run"


def socket_path() -> Path:
    path = runtime_dir() / SOCKET_FILE
    if (n_bytes := len(os.fsencode(path))) > SOCKET_PATH_MAX_BYTES:
        raise BadInput(
            f"Socket path `{path}` has {n_bytes} bytes, expected at most {SOCKET_PATH_MAX_BYTES};"
            " set LLMD_RUNTIME_DIR to a folder with a shorter path"
        )
    return path


def lock_path() -> Path:
    return state_dir() / LOCK_FILE


def outcomes_path() -> Path:
    return state_dir() / "outcomes.json"


def speeds_path() -> Path:
    return state_dir() / "speeds.json"


def log_path() -> Path:
    return state_dir() / "llmd.log"


def plugin_dir(editor: Literal["nvim", "vim"]) -> Path:
    """Returns the plugin's folder: in the installed package, else in the checkout.

    Raises:
        DaemonError: neither folder exists.
    """
    package = Path(__file__).parent
    folders = (package / "_plugins" / editor, package.parents[1] / "plugins" / editor)
    if folder := next(filter(Path.is_dir, folders), None):
        return folder
    raise DaemonError(f"Plugin folder `{folders[0]}` does not exist; install llmd again")


def private_dir(path: Path) -> Path:
    """Creates a folder with mode 0700, or makes sure that only this user can access it.

    Raises:
        DaemonError: the folder cannot be created, is a link or a file, belongs to another user, or
            is accessible to others and its mode cannot be changed.
    """
    try:
        path.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        pass  # checked below; the path may also be a file or a dangling link
    except OSError as error:
        raise DaemonError(
            f"Folder `{path}` cannot be created: {error.strerror};"
            " set LLMD_STATE_DIR and LLMD_RUNTIME_DIR to writable folders"
        ) from None
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise DaemonError(f"Folder `{path}` is a link or a file, expected a folder; remove it")
    if status.st_uid != os.getuid():
        raise DaemonError(f"Folder `{path}` belongs to uid {status.st_uid}, not to you; remove it")
    if status.st_mode & 0o077:
        _make_private(path, status)
    return path


def _make_private(path: Path, status: os.stat_result) -> None:
    """Sets the mode of the folder, not of a link put in its place since. The home folder, and what
    it is in, have other uses."""
    try:
        if Path.home().is_relative_to(path):
            raise PermissionError
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            os.fchmod(descriptor, 0o700)
        finally:
            os.close(descriptor)
    except OSError:
        raise DaemonError(
            f"Folder `{path}` has mode {stat.S_IMODE(status.st_mode):04o}, expected 0700;"
            f" run `{shlex.join(('chmod', '700', str(path)))}`"
        ) from None
