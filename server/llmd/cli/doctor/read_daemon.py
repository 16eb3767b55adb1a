"""Reads the daemon's state, and the folders and files it needs, for doctor's findings. Starts and
makes nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from llmd import __version__, paths
from llmd.bridge import daemon_client
from llmd.cli.doctor.daemon import Daemon, Place
from llmd.errors import LlmdError
from llmd.transport.status import Status, decode_answer

_ANSWER_TIMEOUT_S = 2.0


def daemon() -> Daemon:
    try:
        socket = str(paths.socket_path())
    except LlmdError as error:
        return Daemon(__version__, "", problem=str(error))
    is_running = daemon_client.is_running()
    found_at = str(daemon_client.lock_contents().get("socket", "")) if is_running else ""
    bare = Daemon(__version__, socket, is_running, found_at)
    try:
        peer = daemon_client.connect()
        if peer is None:
            return bare
        with peer:
            client = daemon_client.DaemonClient(peer)
            answer = client.request("llmd/status", {}, timeout_s=_ANSWER_TIMEOUT_S)
            status = decode_answer(answer, Status)
    except LlmdError as error:
        return Daemon(__version__, socket, is_running, found_at, str(error))
    return Daemon(__version__, socket, is_running, found_at, "", status)


def places() -> list[Place]:
    """Ours alone, then those that only have to be written."""
    wanted: list[tuple[str, Callable[[], Path], bool, bool]] = [
        ("state folder", paths.state_dir, True, True),
        ("socket's folder", paths.runtime_dir, True, True),
        ("socket", paths.socket_path, False, True),
        ("lock", paths.lock_path, False, True),
        ("log", paths.log_path, False, True),
        ("models' folder", paths.models_dir, True, False),
        ("config", paths.config_path, False, False),
    ]
    found = []
    for what, path, is_folder, is_private in wanted:
        try:
            found.append(_seen(what, path(), is_folder, is_private))
        except LlmdError:
            continue  # a socket's path that is too long is the daemon's finding
    return found


def _seen(what: str, path: Path, is_folder: bool, is_private: bool) -> Place:
    try:
        stat = path.lstat()
    except OSError:
        return Place(what, str(path), None, is_folder=is_folder, is_private=is_private)
    return Place(
        what, str(path), stat.st_mode, stat.st_uid == os.getuid(), is_private,
        os.access(path, os.W_OK), is_folder,
    )  # fmt: skip
