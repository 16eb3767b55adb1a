"""Tests unusual folders, sockets and disks: one message, no traceback."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.daemon import RunningDaemon

LLMD = str(Path(sys.executable).parent / "llmd")


def _linked_folder(daemon: RunningDaemon) -> str:
    folder = daemon.folder / "link"
    folder.symlink_to("/tmp")  # noqa: S108 - where the link leads is the point
    daemon.env["LLMD_RUNTIME_DIR"] = str(folder)
    return f"Folder `{folder}` is a link or a file, expected a folder; remove it"


def _others_folder(daemon: RunningDaemon) -> str:
    folder = daemon.folder / "others"
    folder.mkdir(mode=0o700)
    try:
        os.chown(folder, 4711, 4711)
    except PermissionError:
        pytest.skip("only root can give a folder away")
    daemon.env["LLMD_RUNTIME_DIR"] = str(folder)
    return f"Folder `{folder}` belongs to uid 4711, not to you; remove it"


def _long_path(daemon: RunningDaemon) -> str:
    folder = daemon.folder / ("long" * 25)
    path = folder / "daemon.sock"
    daemon.env["LLMD_RUNTIME_DIR"] = str(folder)
    return (
        f"Socket path `{path}` has {len(os.fsencode(path))} bytes, expected at most 103;"
        " set LLMD_RUNTIME_DIR to a folder with a shorter path"
    )


def _occupied_socket(daemon: RunningDaemon) -> str:
    daemon.socket_path.write_text("not a socket")
    daemon.socket_path.parent.chmod(0o700)
    return f"Path `{daemon.socket_path}` is not a socket; remove it"


def _read_only_home(daemon: RunningDaemon) -> str:
    """Uses /proc, in which not even root can create a folder."""
    daemon.env["LLMD_STATE_DIR"] = "/proc/llmd"
    return (
        "Folder `/proc/llmd` cannot be created: No such file or directory;"
        " set LLMD_STATE_DIR and LLMD_RUNTIME_DIR to writable folders"
    )


def _state_is_a_file(daemon: RunningDaemon) -> str:
    path = daemon.folder / "file"
    path.touch()
    daemon.env["LLMD_STATE_DIR"] = str(path)
    return f"Folder `{path}` is a link or a file, expected a folder; remove it"


PLACES = (
    _linked_folder, _others_folder, _long_path, _occupied_socket, _read_only_home,
    _state_is_a_file,
)  # fmt: skip


@pytest.mark.parametrize("make", PLACES)
@pytest.mark.parametrize("command", ["serve", "start"])
def test_row_41_a_place_that_is_wrong_is_named(
    alone: RunningDaemon, make: Callable[[RunningDaemon], str], command: str
) -> None:
    sentence = make(alone)
    done = alone.llmd(command)
    assert done.returncode in (1, 2)
    assert done.stderr.splitlines()[-1].endswith(sentence)
    assert "Traceback" not in done.stderr


def test_a_socket_of_another_program_is_not_mistaken_for_the_daemon_s(alone: RunningDaemon) -> None:
    """Fakes a daemon that listens and never answers."""
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(alone.socket_path))
        other.listen()
        done = alone.llmd("status")
    assert done.returncode == 1
    assert "does not answer within 5 s" in done.stderr


def _run_with_limit(
    daemon: RunningDaemon, n_bytes: int, command: str
) -> subprocess.CompletedProcess[str]:
    """Limits the size of files, which looks like a full disk to a program."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, n_bytes))

    return subprocess.run(
        [LLMD, command],
        env=daemon.env, preexec_fn=limit, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_row_48_a_full_disk_affects_only_the_log(
    own_daemon: RunningDaemon,
) -> None:
    own_daemon.llmd("stop")
    log = own_daemon.folder / "state" / "llmd.log"
    log.unlink()
    limit_bytes = 16 << 10  # the shared cancel flags are a file in memory, of 12 KiB
    assert _run_with_limit(own_daemon, limit_bytes, "start").returncode == 0
    for _ in range(400):  # each adds one line to the log
        peer = own_daemon.control()._peer
        peer.sendall(b"?")
        with contextlib.suppress(ConnectionResetError):
            assert peer.recv(1) == b""
        peer.close()
    assert log.stat().st_size == limit_bytes
    assert own_daemon.complete("def add(a, b):\n    return $0\n")["text"]
    assert own_daemon.llmd("stop").returncode == 0


def test_a_lock_that_cannot_be_written_is_reported(alone: RunningDaemon) -> None:
    done = _run_with_limit(alone, 10, "serve")
    lock = alone.folder / "state" / "daemon.lock"
    assert done.returncode == 1
    assert f"Lock `{lock}` cannot be written: File too large; free disk space" in done.stderr
