"""The frame bridge of `llmd lsp`: an editor's stdio on one side, the daemon's socket on the other.

Standard library only and no asyncio: every editor spawns one and waits for it to start. It reads
frames only to know which requests are unanswered; it never changes one.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any

from llmd import __version__
from llmd.transport.framing import FrameSplitter, FramingError, frame

PROTOCOL = 1
CHUNK_BYTES = 64 * 1024
# After the editor's end of file the daemon closes too; one that hangs must not keep us.
FAREWELL_S = 1.0


def run(connect: Callable[[], socket.socket], stdin_fd: int = 0, stdout_fd: int = 1) -> int:
    """Bridges until one side ends and returns the exit code: 0 when the editor left, else 1.

    Raises:
        LlmdError: what `connect` raises; nothing was read from the editor then.
    """
    return Bridge(connect(), stdin_fd, stdout_fd).run()


class Bridge:
    def __init__(self, daemon: socket.socket, stdin_fd: int, stdout_fd: int) -> None:
        self._daemon = daemon
        self._stdin_fd = stdin_fd
        self._stdout_fd = stdout_fd
        self._lock = threading.Lock()  # of the three below, and of whole frames on stdout
        self._unanswered: dict[int | str, None] = {}
        self._daemon_gone = False
        self._editor_leaves = False
        self._ends: queue.SimpleQueue[str | None] = queue.SimpleQueue()  # None: the editor left

    def run(self) -> int:
        for side in (self._up, self._down):
            threading.Thread(target=self._guard, args=(side,), daemon=True).start()
        reason = self._ends.get()
        if reason is None:
            self._wait_for_daemon()
        else:
            print(reason, file=sys.stderr, flush=True)
            self._answer_all()
        return 0 if reason is None else 1

    def _guard(self, side: Callable[[], str | None]) -> None:
        self._ends.put(side())

    def _up(self) -> str | None:
        """Editor to daemon, until the editor's end of file."""
        splitter = FrameSplitter()
        self._send(_notification("llmd/hello", {"protocol": PROTOCOL, "version": __version__}))
        try:
            while chunk := os.read(self._stdin_fd, CHUNK_BYTES):
                for body in splitter.feed(chunk):
                    self._remember(body)
                    self._send(body)
        except FramingError as error:
            return f"The editor's messages can't be read: {error}"
        except OSError:
            pass  # the editor's pipe broke: it has gone
        self._editor_leaves = True
        with contextlib.suppress(OSError):  # the daemon has gone too
            self._daemon.shutdown(socket.SHUT_WR)
        return None

    def _down(self) -> str | None:
        """Daemon to editor, until the daemon's end of file."""
        splitter = FrameSplitter()
        try:
            while chunk := self._receive():
                for body in splitter.feed(chunk):
                    if (reason := self._take(body)) is not None:
                        return reason
        except FramingError as error:
            return f"The daemon's messages can't be read: {error}. Run `llmd restart --daemon`"
        except OSError:
            return None  # the editor's end of stdout has gone
        if self._editor_leaves:
            self._daemon_gone = True
            return None
        return "The llmd daemon closed the connection; restart the editor's language server"

    def _receive(self) -> bytes:
        try:
            return self._daemon.recv(CHUNK_BYTES)
        except OSError:
            return b""

    def _send(self, body: bytes) -> None:
        with contextlib.suppress(OSError):  # `_down` sees the end of the socket, and says so once
            self._daemon.sendall(frame(body))

    def _remember(self, body: bytes) -> None:
        """Notes a request before it is sent: its reply may come before `sendall` returns."""
        id_, method, _ = _envelope(body)
        if method == "exit":
            self._editor_leaves = True
        if method is None or id_ is None:
            return
        with self._lock:
            if self._daemon_gone:
                self._write(_null_reply(id_))
            else:
                self._unanswered[id_] = None

    def _take(self, body: bytes) -> str | None:
        """Hands a frame to the editor; the reason if it is the daemon's refusal instead."""
        id_, method, params = _envelope(body)
        if method == "llmd/bye":
            reason = params.get("reason") if isinstance(params, dict) else None
            return str(reason or "The llmd daemon refused the connection")
        with self._lock:
            if method is None and id_ is not None:
                self._unanswered.pop(id_, None)
            self._write(body)
        return None

    def _answer_all(self) -> None:
        """Gives each request that nobody will answer now its one reply, null."""
        with self._lock:
            self._daemon_gone = True
            ids, self._unanswered = list(self._unanswered), {}
            try:
                for id_ in ids:
                    self._write(_null_reply(id_))
            except OSError:
                pass  # the editor has gone: nobody waits

    def _wait_for_daemon(self) -> None:
        if self._daemon_gone:
            return
        with contextlib.suppress(queue.Empty):
            self._ends.get(timeout=FAREWELL_S)

    def _write(self, body: bytes) -> None:
        rest = memoryview(frame(body))
        while rest:
            rest = rest[os.write(self._stdout_fd, rest) :]


def _envelope(body: bytes) -> tuple[int | str | None, str | None, Any]:
    """Id, method and params; nothing of a body that is no message (the daemon answers those)."""
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        return None, None, None
    if not isinstance(message, dict):
        return None, None, None
    id_, method = message.get("id"), message.get("method")
    return (
        id_ if isinstance(id_, int | str) else None,
        method if isinstance(method, str) else None,
        message.get("params"),
    )


def _notification(method: str, params: dict[str, Any]) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "method": method, "params": params}).encode()


def _null_reply(id_: int | str) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": id_, "result": None}).encode()
