"""The command line's way to the daemon, and the bridge's: find it, start it, ask it.

Standard library only: every editor's bridge and every `llmd status` starts with this.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import subprocess
import sys
import time
from typing import Any

from llmd import paths
from llmd.errors import DaemonError
from llmd.transport.framing import FrameSplitter, frame

START_TIMEOUT_S = 20.0
_RETRY_S = 0.02


def connect() -> socket.socket | None:
    """A connection to the running daemon; None where there is none."""
    for path in (str(paths.socket_path()), _locked_socket()):
        if path:
            peer = socket.socket(socket.AF_UNIX)
            try:
                peer.connect(path)
            except OSError:
                peer.close()
            else:
                return peer
    return None


def _locked_socket() -> str:
    """Where the lock says the daemon is; a shell with another XDG_RUNTIME_DIR needs it."""
    try:
        held = json.loads(paths.lock_path().read_text())
    except (OSError, ValueError):
        return ""
    return str(held.get("socket", "")) if isinstance(held, dict) else ""


def is_running() -> bool:
    """Whether a daemon holds the lock; it does so until its very end."""
    try:
        with paths.lock_path().open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        pass
    return False


def ensure_daemon() -> socket.socket:
    """A connection, to a daemon that is started if none runs.

    Raises:
        DaemonError: it does not answer in time; the log's last line says why.
    """
    if peer := connect():
        return peer
    child = _spawn()
    end_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < end_s:
        if peer := connect():
            return peer
        # A child that lost the race for the lock ends at once; the winner's socket comes.
        if child.poll() and "runs already" not in _last_words():
            break
        time.sleep(_RETRY_S)
    raise DaemonError(f"The daemon does not start: {_last_words() or 'no word in its log'}")


def _spawn() -> subprocess.Popen[bytes]:
    paths.private_dir(paths.state_dir())
    flags = os.O_CREAT | os.O_APPEND | os.O_WRONLY | os.O_CLOEXEC
    log = os.open(paths.log_path(), flags, 0o600)
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "llmd", "serve"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True,
        )  # fmt: skip
    finally:
        os.close(log)


def _last_words() -> str:
    try:
        lines = paths.log_path().read_text(errors="replace").splitlines()
    except OSError:
        return ""
    return lines[-1] if lines else ""


class Control:
    """One connection for requests, one after the other."""

    def __init__(self, peer: socket.socket) -> None:
        self._peer = peer
        self._splitter = FrameSplitter()
        self._id = 0

    def request(self, method: str, params: dict[str, Any], timeout_s: float = 10.0) -> Any:
        """
        Raises:
            DaemonError: no answer in time, an error, or the daemon went away.
        """
        self._id += 1
        body = {"jsonrpc": "2.0", "id": self._id, "method": method, "params": params}
        try:
            self._peer.settimeout(timeout_s)
            self._peer.sendall(frame(json.dumps(body).encode()))
            answer = self._answer()
        except TimeoutError:
            raise DaemonError(f"The daemon does not answer within {timeout_s:.0f} s") from None
        except OSError as error:
            raise DaemonError(f"The daemon's connection broke: {error}") from None
        if "error" in answer:
            raise DaemonError(f"The daemon refused {method}: {answer['error'].get('message')}")
        return answer.get("result")

    def _answer(self) -> dict[str, Any]:
        while data := self._peer.recv(1 << 16):
            for body in self._splitter.feed(data):
                message: dict[str, Any] = json.loads(body)
                if message.get("id") == self._id and "method" not in message:
                    return message
        raise ConnectionError("closed before the answer came")

    def close(self) -> None:
        self._peer.close()
