"""Finds the daemon, starts it, and sends requests to it, for the command line and the bridge.

Standard library only: every bridge and every command starts with this module.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shlex
import socket
import subprocess
import sys
import tempfile
import time
from typing import IO, Any

from llmd import paths
from llmd.errors import BadInput, DaemonError
from llmd.files import is_locked, read_regular
from llmd.processes import FOLDER, child_env, kill, module_command, parse_identity, peer_uid
from llmd.transport.framing import SEND_BUFFER_BYTES, FrameSplitter, build_message, frame

START_TIMEOUT_S = 20.0
ANSWER_TIMEOUT_S = 5.0
_RETRY_S = 0.02
STOP_TIMEOUT_S = 5.0


def connect() -> socket.socket | None:
    """Connects to the running daemon. Returns None if no daemon runs.

    Raises:
        DaemonError: a daemon runs but does not accept the connection.
    """
    for path in dict.fromkeys((str(paths.socket_path()), str(lock_contents().get("socket", "")))):
        if path and (peer := connect_to(path)):
            return peer
    return None


def connect_to(path: str) -> socket.socket | None:
    """Connects to the daemon at `path`. Returns None if no daemon listens there.

    Raises:
        DaemonError: the process that listens there is another user's, or does not accept.
    """
    peer = socket.socket(socket.AF_UNIX)
    try:
        _connect(peer, path)
        uid = peer_uid(peer)
    except OSError:
        peer.close()
        return None
    if uid == os.getuid():
        return peer
    peer.close()
    raise DaemonError(
        f"Socket `{path}` is served by uid {uid}, not by you; remove it, or set LLMD_RUNTIME_DIR to"
        " a folder of your own"
    )


def _connect(peer: socket.socket, path: str) -> None:
    """Waits while the daemon's backlog is full. A backlog that stays full means a hung daemon."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    peer.setblocking(False)
    end_s = time.monotonic() + ANSWER_TIMEOUT_S
    while _is_full(code := peer.connect_ex(path), path):
        if time.monotonic() > end_s:
            raise _unresponsive(ANSWER_TIMEOUT_S)
        time.sleep(_RETRY_S)
    if code:
        raise OSError(code, os.strerror(code))
    peer.setblocking(True)


def _is_full(code: int, path: str) -> bool:
    """Returns whether connecting failed for a full backlog. macOS then refuses (curl, pull request
    18794), as a socket without a daemon does; but such a socket is of no daemon with a lock."""
    if code != errno.ECONNREFUSED or sys.platform != "darwin":
        return code == errno.EAGAIN
    return is_running() and path in (str(paths.socket_path()), lock_contents().get("socket"))


def _unresponsive(timeout_s: float) -> DaemonError:
    return DaemonError(
        f"The daemon ({_lock_text()}) does not answer within {timeout_s:.0f} s;"
        " run `llmd stop` to end the daemon"
    )


def lock_contents() -> dict[str, Any]:
    """Returns `pid` and `socket` of the latest daemon from the lock's file. A shell with another
    XDG_RUNTIME_DIR finds the socket this way."""
    try:
        contents = json.loads(_lock_text())
    except ValueError:
        return {}
    return contents if isinstance(contents, dict) else {}


def mark_stopped() -> None:
    """Marks a daemon that is about to be killed, so that bridges do not start another one."""
    with contextlib.suppress(OSError):
        paths.lock_path().write_text(json.dumps({**lock_contents(), "stopped": True}))


def was_stopped() -> bool:
    return lock_contents().get("stopped") is True


def is_running() -> bool:
    """Returns whether a daemon holds the lock, which a daemon does until its process ends."""
    return is_locked(paths.lock_path())


def ensure_daemon() -> socket.socket:
    """Connects to the daemon, and starts a daemon if none runs.

    Raises:
        DaemonError, BadInput: the daemon does not start, with the last line of its output.
    """
    if peer := connect():
        return peer
    try:
        return _start()
    except OSError as error:
        raise DaemonError(f"The daemon cannot be started: {error.strerror or error}") from None


def _start() -> socket.socket:
    with tempfile.TemporaryFile() as output:
        child = _spawn(output)
        end_s = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < end_s:
            if peer := connect():
                if lock_contents().get("pid") != child.pid:  # it lost the race for the lock
                    child.kill()
                    child.wait()
                return peer
            # A child that lost the race for the lock ends at once; the winner's socket follows.
            if child.poll() and not is_running():
                break
            time.sleep(_RETRY_S)
        if is_running():
            raise DaemonError(
                f"A daemon is running ({_lock_text()}), but its socket does not exist;"
                " end that process, then run `llmd start`"
            )
        output.seek(0)
        lines = output.read().decode(errors="replace").strip().splitlines() or ["no output"]
    reason = f"The daemon does not start: {lines[-1].removeprefix('llmd: ')}"
    raise BadInput(reason) if child.poll() == BadInput.exit_code else DaemonError(reason)


def _spawn(output: IO[bytes]) -> subprocess.Popen[bytes]:
    """Starts a daemon that writes to `output` until it serves, and then to its log only."""
    return subprocess.Popen(  # noqa: S603 - our own command
        module_command("llmd", "serve", "--detached"), env=child_env(), cwd=FOLDER,
        stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
    )  # fmt: skip


def _lock_text() -> str:
    try:
        return read_regular(paths.lock_path()).decode(errors="replace").strip()
    except OSError:
        return "unknown"


class DaemonClient:
    """Sends requests over one connection, one after the other."""

    def __init__(self, peer: socket.socket) -> None:
        self._peer = peer
        self._splitter = FrameSplitter()
        self._id = 0

    def request(
        self, method: str, params: dict[str, Any], timeout_s: float = ANSWER_TIMEOUT_S
    ) -> Any:
        """Returns the result of the answer.

        Raises:
            DaemonError: no answer in time, an error, or the daemon has gone away.
        """
        self._id += 1
        body = build_message(id=self._id, method=method, params=params)
        try:
            self._peer.settimeout(timeout_s)
            self._peer.sendall(frame(body))
            answer = self._answer()
        except TimeoutError:
            raise _unresponsive(timeout_s) from None
        except OSError as error:
            raise DaemonError(f"The daemon's connection broke: {error}") from None
        if "error" in answer:
            raise DaemonError(f"The daemon refused {method}: {answer['error'].get('message')}")
        return answer.get("result")

    def _answer(self) -> dict[str, Any]:
        while data := self._peer.recv(1 << 16):
            for body in self._splitter.feed(data):
                answer: dict[str, Any] = json.loads(body)
                if answer.get("id") == self._id and "method" not in answer:
                    return answer
        raise ConnectionError("closed before the answer arrived")

    def close(self) -> None:
        self._peer.close()


def connect_running() -> DaemonClient:
    if peer := connect():
        return DaemonClient(peer)
    raise DaemonError("No daemon is running; run `llmd start`")


def stop_daemon(is_restart: bool) -> None:
    """Returns when the daemon has ended. Kills a daemon that does not answer.

    Raises:
        DaemonError: no daemon runs, or it does not stop, or it is not certain which process it is.
    """
    before = lock_contents()
    try:
        connect_running().request("llmd/stop", {"restart": is_restart})
    except DaemonError:
        if not is_running():
            raise
        _kill(before, is_restart)
    end_s = time.monotonic() + STOP_TIMEOUT_S
    # A bridge may start the next daemon at once, which then holds the lock with another pid.
    while is_running() and lock_contents().get("pid") == before.get("pid"):
        if time.monotonic() > end_s:
            raise DaemonError(
                f"The daemon ({_lock_text()}) does not stop; end that process, then `llmd start`"
            )
        time.sleep(_RETRY_S)


def _kill(contents: dict[str, Any], is_restart: bool) -> None:
    identity = parse_identity(contents)
    if identity is None or not identity.is_running_here():
        raise DaemonError(
            f"The daemon ({_lock_text()}) does not answer, and it is not certain that this is a"
            " process of this machine; stop it where it runs, or remove"
            f" `{shlex.quote(str(paths.lock_path()))}` if that is long gone"
        )
    if not is_restart:
        mark_stopped()
    kill(identity)
    print(f"llmd: the daemon, pid {identity.pid}, did not answer and was killed", file=sys.stderr)
