"""The command line's way to the daemon, and the bridge's: find it, start it, ask it.

Standard library only: every editor's bridge and every `llmd status` starts with this.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from typing import IO, Any

from llmd import paths
from llmd.errors import BadInput, DaemonError
from llmd.files import is_locked
from llmd.transport.framing import FrameSplitter, build_message, frame

START_TIMEOUT_S = 20.0
ANSWER_TIMEOUT_S = 5.0
_RETRY_S = 0.02


def connect() -> socket.socket | None:
    """A connection to the running daemon; None where there is none.

    Raises:
        DaemonError: there is one that takes no connection.
    """
    for path in dict.fromkeys((str(paths.socket_path()), str(lock_contents().get("socket", "")))):
        if path and (peer := connect_to(path)):
            return peer
    return None


def connect_to(path: str) -> socket.socket | None:
    """The same where its socket is known."""
    peer = socket.socket(socket.AF_UNIX)
    try:
        _connect(peer, path)
    except OSError:
        peer.close()
        return None
    return peer


def _connect(peer: socket.socket, path: str) -> None:
    """Waits its turn, and not for ever: where many wait already, the daemon must be stuck."""
    peer.setblocking(False)
    end_s = time.monotonic() + ANSWER_TIMEOUT_S
    while (code := peer.connect_ex(path)) == errno.EAGAIN:
        if time.monotonic() > end_s:
            raise _unresponsive(ANSWER_TIMEOUT_S)
        time.sleep(_RETRY_S)
    if code:
        raise OSError(code, os.strerror(code))
    peer.setblocking(True)


def _unresponsive(timeout_s: float) -> DaemonError:
    return DaemonError(
        f"The daemon ({_lock_text()}) runs but does not answer within {timeout_s:.0f} s;"
        " `llmd stop` ends it, or `kill -9` its pid"
    )


def lock_contents() -> dict[str, Any]:
    """What the lock says of the latest daemon: `pid` and `socket`; a shell with another
    XDG_RUNTIME_DIR finds the socket so."""
    try:
        held = json.loads(_lock_text())
    except ValueError:
        return {}
    return held if isinstance(held, dict) else {}


def mark_stopped() -> None:
    """Tells the bridges of a daemon that is about to be killed that nobody wants it back."""
    with contextlib.suppress(OSError):
        paths.lock_path().write_text(json.dumps({**lock_contents(), "stopped": True}))


def was_stopped() -> bool:
    return lock_contents().get("stopped") is True


def is_running() -> bool:
    """Whether a daemon holds the lock; it does so until its very end."""
    return is_locked(paths.lock_path())


def ensure_daemon() -> socket.socket:
    """A connection, to a daemon that is started if none runs.

    Raises:
        DaemonError, BadInput: it does not start, with its last words.
    """
    if peer := connect():
        return peer
    try:
        return _start()
    except OSError as error:
        said = error.strerror or error
        raise DaemonError(f"The daemon cannot be started: {said}; make room for it") from None


def _start() -> socket.socket:
    with tempfile.TemporaryFile() as words:
        child = _spawn(words)
        end_s = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < end_s:
            if peer := connect():
                return peer
            # A child that lost the race for the lock ends at once; the winner's socket comes.
            if child.poll() and not is_running():
                break
            time.sleep(_RETRY_S)
        if is_running():
            raise DaemonError(
                f"A daemon runs ({_lock_text()}), but its socket is not there;"
                " end that process and run `llmd start`"
            )
        words.seek(0)
        said = words.read().decode(errors="replace").strip().splitlines() or ["no output"]
    reason = f"The daemon does not start: {said[-1].removeprefix('llmd: ')}"
    raise BadInput(reason) if child.poll() == BadInput.exit_code else DaemonError(reason)


def _spawn(words: IO[bytes]) -> subprocess.Popen[bytes]:
    """Its standard error goes to `words` until it serves, then nowhere: it has a log."""
    return subprocess.Popen(
        [sys.executable, "-m", "llmd", "serve", "--detached"],
        stdin=subprocess.DEVNULL, stdout=words, stderr=words, cwd="/", start_new_session=True,
    )  # fmt: skip


def _lock_text() -> str:
    try:
        return paths.lock_path().read_text().strip()
    except OSError:
        return "unknown"


class DaemonClient:
    """One connection for requests, one after the other."""

    def __init__(self, peer: socket.socket) -> None:
        self._peer = peer
        self._splitter = FrameSplitter()
        self._id = 0

    def request(
        self, method: str, params: dict[str, Any], timeout_s: float = ANSWER_TIMEOUT_S
    ) -> Any:
        """
        Raises:
            DaemonError: no answer in time, an error, or the daemon went away.
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
        raise ConnectionError("closed before the answer came")

    def close(self) -> None:
        self._peer.close()
