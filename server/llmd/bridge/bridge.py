"""The frame bridge of `llmd lsp`: an editor's stdio on one side, the daemon's socket on the other.

Standard library only and no asyncio: every editor spawns one and waits for it to start. It never
changes a frame. When the daemon goes away, requests in flight are answered null, and the next
daemon is told all that the editor has said (bridge/journal); the editor notices nothing.

Two threads: `_up` reads the editor, `_down` reads the daemon and finds the next one. `_lock` is
held for what they share, so that no change is sent in the middle of a replay; `_out_lock` for one
frame to the editor, which may be slow to read.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from llmd import __version__
from llmd.bridge.journal import Journal
from llmd.errors import LlmdError
from llmd.transport.framing import FrameSplitter, FramingError, build_message, frame

PROTOCOL = 1
REQUEST_FAILED = -32803
CHUNK_BYTES = 64 * 1024
# After the editor's end of file the daemon closes too; one that hangs must not keep us.
FAREWELL_S = 1.0
# A daemon that was lost this often within the time is started again only when the editor speaks.
MAX_LOSSES = 5
LOSSES_WITHIN_S = 60.0
PAUSE_S = 1.0
# One that says nothing to a replay for so long is taken for lost.
REPLAY_TIMEOUT_S = 20.0

Connect = Callable[[], socket.socket]
Find = Callable[[], socket.socket | None]
WasStopped = Callable[[], bool]


class Bridge:
    """Bridges until the editor leaves or the daemon refuses the connection.

    `connect` starts a daemon where none runs, `find` only looks for a running one, and
    `was_stopped` returns whether the user ended a daemon that could not announce its end.
    """

    def __init__(
        self,
        connect: Connect,
        find: Find,
        was_stopped: WasStopped,
        stdin_fd: int = 0,
        stdout_fd: int = 1,
    ) -> None:
        self._connect = connect
        self._find = find
        self._was_stopped = was_stopped
        self._stdin_fd = stdin_fd
        self._stdout_fd = stdout_fd
        self._lock = threading.Lock()
        self._out_lock = threading.Lock()
        self._daemon: socket.socket | None = None  # None: lost, and not found again yet
        self._unanswered: dict[int | str, None] = {}
        self._swallowed: int | str | None = None  # the reply that a replay's `initialize` gets
        self._replay = Journal()
        self._has_begun = False  # a daemon was reached once
        self._editor_leaves = False
        self._editor_spoke = threading.Event()
        self._losses_s: deque[float] = deque(maxlen=MAX_LOSSES)
        self._told: set[str] = set()
        self._loads: set[str] = set()  # tokens of progress that the editor shows
        # Which side ended, and the reason; none: the editor left.
        self._ends: queue.SimpleQueue[tuple[str, str | None]] = queue.SimpleQueue()

    def run(self) -> int:
        """Returns the exit code, 0 or 1."""
        for name, side in (("up", self._up), ("down", self._down)):
            threading.Thread(target=self._guard, args=(name, side), daemon=True).start()
        first, reason = self._ends.get()
        if reason is None:
            if first == "up" and self._daemon is not None:
                with contextlib.suppress(queue.Empty):
                    self._ends.get(timeout=FAREWELL_S)
            return 0
        print(f"llmd: {reason}", file=sys.stderr, flush=True)
        with contextlib.suppress(OSError):  # the editor has gone: nobody waits
            self._refuse_initialize(reason)
            self._tell(reason)
            self._lose_daemon()
        return 1

    def _guard(self, name: str, side: Callable[[], str | None]) -> None:
        try:
            self._ends.put((name, side()))
        except Exception as error:  # a thread that ends in silence leaves the editor waiting
            self._ends.put((name, f"The bridge failed: {type(error).__name__}"))

    # -- editor to daemon

    def _up(self) -> str | None:
        """Until the editor's end of file."""
        splitter = FrameSplitter()
        try:
            while chunk := os.read(self._stdin_fd, CHUNK_BYTES):
                for body in splitter.feed(chunk):
                    self._pass_up(body)
        except FramingError as error:
            return f"The editor's messages can't be read: {error}"
        except OSError:
            pass  # the editor's pipe broke, of either side: it has gone
        self._editor_leaves = True
        self._editor_spoke.set()
        if self._daemon is not None:
            with contextlib.suppress(OSError):  # it has gone too
                self._daemon.shutdown(socket.SHUT_WR)
        return None

    def _pass_up(self, body: bytes) -> None:
        """A request is noted before it is sent: its reply may come before `sendall` returns."""
        id_, method, params = _envelope(body)
        if method == "exit":
            self._editor_leaves = True
        with self._lock:
            if method is not None:
                self._replay.record(body, method, id_, params)
            is_sent = self._daemon is not None
            is_request = method is not None and id_ is not None
            if is_request and (is_sent or method == "initialize"):
                self._unanswered[cast(int | str, id_)] = None
            if self._daemon is not None:
                with contextlib.suppress(OSError):  # `_down` sees the end of the socket
                    self._daemon.sendall(frame(body))
        if is_request and not is_sent and method != "initialize":
            self._write(build_message(id=id_, result=None))
        if method != "shutdown":  # to say goodbye is no reason to start a daemon
            self._editor_spoke.set()

    # -- daemon to editor

    def _down(self) -> str | None:
        """One daemon after the other, until the editor has left or one of them refuses us."""
        then = "restart"
        while not self._editor_leaves:
            try:
                if (daemon := self._next_daemon(then)) is None:
                    break
                self._introduce(daemon)
                then = self._relay(daemon)
            except _Refused as error:
                return str(error)
            except FramingError as error:
                return f"The daemon's messages can't be read: {error}. Run `llmd restart --daemon`"
            except OSError:
                return None  # the editor's end of stdout has gone
            if not self._editor_leaves:
                self._lose_daemon()
            daemon.close()
        return None

    def _next_daemon(self, then: str) -> socket.socket | None:
        """The next daemon, as soon as there is one; None when the editor leaves first."""
        while not self._editor_leaves:
            if then != "restart" or self._loses_too_often():
                self._editor_spoke.clear()
                self._editor_spoke.wait()
                if self._editor_leaves:
                    return None
            try:
                if daemon := self._find() if then == "stay" else self._connect():
                    return daemon
            except LlmdError as error:
                if not self._has_begun:
                    self._editor_spoke.wait()
                    raise _Refused(str(error)) from None
                self._tell(str(error))
                then = "on_demand"
            time.sleep(PAUSE_S)
        return None

    def _loses_too_often(self) -> bool:
        is_many = len(self._losses_s) == MAX_LOSSES
        return is_many and time.monotonic() - self._losses_s[0] < LOSSES_WITHIN_S

    def _introduce(self, daemon: socket.socket) -> None:
        """Says hello and repeats what the editor has said. `_up` waits meanwhile, so that a change
        comes after the text it changes."""
        hello = {"protocol": PROTOCOL, "version": __version__}
        with self._lock, contextlib.suppress(OSError):  # `_relay` sees the end of the socket
            daemon.settimeout(REPLAY_TIMEOUT_S)
            daemon.sendall(frame(build_message(method="llmd/hello", params=hello)))
            is_first = self._replay.initialize_id in self._unanswered
            for body in self._replay.bodies():
                daemon.sendall(frame(body))
            self._swallowed = None if is_first else self._replay.initialize_id
            daemon.settimeout(None)
            self._daemon = daemon
            self._has_begun = True

    def _relay(self, daemon: socket.socket) -> str:
        """Until the daemon's end of file. Returns what it said should be done then."""
        splitter, then = FrameSplitter(), "restart"
        while chunk := _receive(daemon):
            for body in splitter.feed(chunk):
                then = self._pass_down(body) or then
        return "stay" if self._was_stopped() else then

    def _pass_down(self, body: bytes) -> str:
        """Hands a frame to the editor, but for what the daemon says to us."""
        id_, method, params = _envelope(body)
        said = params if isinstance(params, dict) else {}
        if method == "llmd/bye":
            if said.get("then", "leave") == "leave":
                raise _Refused(said.get("reason") or "The llmd daemon refused the connection")
            return str(said["then"])
        with self._lock:
            if method == "llmd/snapshot":
                self._replay.take_snapshot(said)
                return ""
            if method is None and id_ is not None:
                if id_ == self._swallowed:
                    self._swallowed = None
                    return ""
                self._unanswered.pop(id_, None)
        if method == "$/progress":
            self._note_progress(said)
        self._write(body)
        return ""

    def _note_progress(self, said: dict[str, Any]) -> None:
        value, token = said.get("value"), str(said.get("token"))
        kind = value.get("kind") if isinstance(value, dict) else None
        if kind == "begin":
            self._loads.add(token)
        elif kind == "end":
            self._loads.discard(token)

    def _lose_daemon(self) -> None:
        """Gives each request that nobody will answer now its one reply, null; `initialize` waits
        for the next daemon. No progress stays on the screen."""
        self._losses_s.append(time.monotonic())
        with self._lock:
            self._daemon = None
            first = self._replay.initialize_id
            lost = [id_ for id_ in self._unanswered if id_ != first]
            self._unanswered = {id_: None for id_ in self._unanswered if id_ == first}
        for id_ in lost:
            self._write(build_message(id=id_, result=None))
        for token in self._loads:
            end = {"token": token, "value": {"kind": "end"}}
            self._write(build_message(method="$/progress", params=end))
        self._loads.clear()

    # -- to the editor

    def _tell(self, reason: str) -> None:
        """A sentence for the person, once."""
        if reason not in self._told and self._replay.initialize:
            self._told.add(reason)
            params = {"type": 1, "message": f"llmd: {reason}"}
            self._write(build_message(method="window/showMessage", params=params))

    def _refuse_initialize(self, reason: str) -> None:
        """An editor that waits for its first reply shows the error in it."""
        id_ = self._replay.initialize_id
        if id_ is not None and id_ in self._unanswered:
            del self._unanswered[id_]
            error = {"code": REQUEST_FAILED, "message": f"llmd: {reason}"}
            self._write(build_message(id=id_, error=error))

    def _write(self, body: bytes) -> None:
        rest = memoryview(frame(body))
        with self._out_lock:
            while rest:
                rest = rest[os.write(self._stdout_fd, rest) :]


class _Refused(Exception):  # noqa: N818 - an end, not an error
    """The reason why there will be no daemon for this editor."""


def _receive(daemon: socket.socket) -> bytes:
    try:
        return daemon.recv(CHUNK_BYTES)
    except OSError:
        return b""


def _envelope(body: bytes) -> tuple[int | str | None, str | None, Any]:
    """Id, method and params; nothing of a body that is no message (the daemon answers those)."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None, None, None
    if not isinstance(found, dict):
        return None, None, None
    id_, method = found.get("id"), found.get("method")
    return (
        id_ if isinstance(id_, int | str) else None,
        method if isinstance(method, str) else None,
        found.get("params"),
    )
