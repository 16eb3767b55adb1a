"""Bridges an editor's stdio to the daemon's socket, for `llmd lsp`.

Standard library only and no asyncio: every editor spawns a bridge and waits until the bridge has
started. A bridge never changes a frame. When the daemon goes away, the bridge answers requests in
flight with null and replays the editor's messages (bridge/journal) to the next daemon, so that the
editor does not notice.

Two threads: `_up` reads from the editor, `_down` reads from the daemon and finds the next daemon.
`_lock` guards their shared state, so that no change is sent in the middle of a replay. `_out_lock`
guards one frame to the editor, which may read slowly.
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
from llmd.errors import LlmdError, printable
from llmd.transport.framing import FrameSplitter, FramingError, build_message, frame

PROTOCOL = 1
REQUEST_FAILED = -32803
CHUNK_BYTES = 64 * 1024
# After the editor's end of file the daemon closes too. A hung daemon must not delay the end.
FAREWELL_S = 1.0
# A daemon that was lost so often within this time is restarted only at the editor's next message.
MAX_LOSSES = 5
LOSSES_WITHIN_S = 60.0
PAUSE_S = 1.0
# A daemon that does not read a replay for so long counts as lost.
REPLAY_TIMEOUT_S = 20.0

Connect = Callable[[], socket.socket]
Find = Callable[[], socket.socket | None]
WasStopped = Callable[[], bool]

# What a daemon may send to an editor beside answers (docs/PROTOCOL.md).
TO_EDITOR = ("window/showMessage", "window/logMessage", "window/workDoneProgress/create",
             "$/progress", "$/cancelRequest", "llmd/partial", "llmd/state")  # fmt: skip


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
        self._daemon: socket.socket | None = None  # None: lost, and no other daemon found yet
        self._unanswered: dict[int | str, None] = {}
        # Id of a replayed `initialize`, whose reply is dropped.
        self._swallowed: int | str | None = None
        self._journal = Journal()
        self._has_begun = False  # a daemon was connected once
        self._editor_leaves = False
        self._editor_spoke = threading.Event()
        self._losses_s: deque[float] = deque(maxlen=MAX_LOSSES)
        self._shown: set[str] = set()
        self._loads: set[str] = set()  # tokens of the progress that the editor shows
        self._was_shut_down = self._is_unannounced = False
        # The thread that ended, and the reason; no reason: the editor left.
        self._ends: queue.SimpleQueue[tuple[str, str | None]] = queue.SimpleQueue()

    def run(self) -> int:
        """Returns the exit code: 0, or 1 for a failure or an `exit` without `shutdown`."""
        for name, side in (("up", self._up), ("down", self._down)):
            threading.Thread(target=self._guard, args=(name, side), daemon=True).start()
        first, reason = self._ends.get()
        if reason is None:
            if first == "up" and self._daemon is not None:
                with contextlib.suppress(queue.Empty):
                    self._ends.get(timeout=FAREWELL_S)
            return int(self._is_unannounced)
        print(f"llmd: {printable(reason)}", file=sys.stderr, flush=True)
        with contextlib.suppress(OSError):  # the editor has gone
            self._refuse_initialize(reason)
            self._show(reason)
            self._lose_daemon()
        return 1

    def _guard(self, name: str, side: Callable[[], str | None]) -> None:
        try:
            self._ends.put((name, side()))
        except Exception as error:  # else the editor would wait for ever
            self._ends.put((name, f"The bridge failed: {type(error).__name__}"))

    # -- editor to daemon

    def _up(self) -> str | None:
        """Relays the editor's messages until the end of file."""
        splitter = FrameSplitter()
        try:
            while chunk := os.read(self._stdin_fd, CHUNK_BYTES):
                for body in splitter.feed(chunk):
                    self._pass_up(body)
        except FramingError as error:
            return f"The editor's messages cannot be read: {error}"
        except OSError:
            pass  # a pipe of the editor broke: the editor has gone
        self._editor_leaves = True
        self._editor_spoke.set()
        if self._daemon is not None:
            with contextlib.suppress(OSError):  # the daemon has gone too
                self._daemon.shutdown(socket.SHUT_WR)
        return None

    def _pass_up(self, body: bytes) -> None:
        """Records a request before sending it: the reply may arrive before `sendall` returns."""
        id_, method, params = _envelope(body)
        self._was_shut_down = self._was_shut_down or method == "shutdown"
        if method == "exit":
            self._editor_leaves, self._is_unannounced = True, not self._was_shut_down
        with self._lock:
            if method is not None:
                self._journal.record(body, method, id_, params)
            is_sent = self._daemon is not None
            is_request = method is not None and id_ is not None
            if is_request and (is_sent or method == "initialize"):
                self._unanswered[cast(int | str, id_)] = None
            if self._daemon is not None:
                with contextlib.suppress(OSError):  # `_down` sees the end of the socket
                    self._daemon.sendall(frame(body))
        if is_request and not is_sent and method != "initialize":
            self._write(build_message(id=id_, result=None))
        if method != "shutdown":  # a shutdown does not start a daemon
            self._editor_spoke.set()

    # -- daemon to editor

    def _down(self) -> str | None:
        """Connects to one daemon after the other, until the editor leaves or a daemon refuses."""
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
                return f"The daemon's messages cannot be read: {error}; run `llmd restart --daemon`"
            except OSError:
                return None  # the editor has closed stdout
            if not self._editor_leaves:
                self._lose_daemon()
            daemon.close()
        return None

    def _next_daemon(self, then: str) -> socket.socket | None:
        """Waits for the next daemon. Returns None if the editor leaves first."""
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
                self._show(str(error))
                then = "on_demand"
            time.sleep(PAUSE_S)
        return None

    def _loses_too_often(self) -> bool:
        is_many = len(self._losses_s) == MAX_LOSSES
        return is_many and time.monotonic() - self._losses_s[0] < LOSSES_WITHIN_S

    def _introduce(self, daemon: socket.socket) -> None:
        """Sends `llmd/hello` and the journal. `_up` waits meanwhile, so that a change arrives after
        the text that it changes."""
        hello = {"protocol": PROTOCOL, "version": __version__}
        with self._lock, contextlib.suppress(OSError):  # `_relay` sees the end of the socket
            daemon.settimeout(REPLAY_TIMEOUT_S)
            daemon.sendall(frame(build_message(method="llmd/hello", params=hello)))
            is_first = self._journal.initialize_id in self._unanswered
            for body in self._journal.bodies():
                daemon.sendall(frame(body))
            self._swallowed = None if is_first else self._journal.initialize_id
            daemon.settimeout(None)
            self._daemon = daemon
            self._has_begun = True

    def _relay(self, daemon: socket.socket) -> str:
        """Relays until the daemon's end of file. Returns the daemon's `then` of `llmd/bye`."""
        splitter, then = FrameSplitter(), "restart"
        while chunk := _receive(daemon):
            for body in splitter.feed(chunk):
                then = self._pass_down(body) or then
        return "stay" if self._was_stopped() else then

    def _pass_down(self, body: bytes) -> str:
        """Passes a frame to the editor, unless it is for the bridge. Returns a `then`, or empty."""
        id_, method, params = _envelope(body)
        fields = params if isinstance(params, dict) else {}
        if method == "llmd/bye":
            if fields.get("then", "leave") == "leave":
                raise _Refused(fields.get("reason") or "The llmd daemon refused the connection")
            return str(fields["then"])
        if method not in (None, "llmd/snapshot", *TO_EDITOR):
            return ""  # an editor obeys workspace/applyEdit and the like
        with self._lock:
            if method == "llmd/snapshot":
                self._journal.take_snapshot(fields)
                return ""
            if method is None and id_ is not None:
                if id_ == self._swallowed:
                    self._swallowed = None
                    return ""
                self._unanswered.pop(id_, None)
        if method == "$/progress":
            self._note_progress(fields)
        self._write(body)
        return ""

    def _note_progress(self, params: dict[str, Any]) -> None:
        value, token = params.get("value"), str(params.get("token"))
        kind = value.get("kind") if isinstance(value, dict) else None
        if kind == "begin":
            self._loads.add(token)
        elif kind == "end":
            self._loads.discard(token)

    def _lose_daemon(self) -> None:
        """Answers the requests in flight with null, except `initialize`, which waits for the next
        daemon. Ends the progress that the editor shows."""
        self._losses_s.append(time.monotonic())
        with self._lock:
            self._daemon = None
            first = self._journal.initialize_id
            lost = [id_ for id_ in self._unanswered if id_ != first]
            self._unanswered = {id_: None for id_ in self._unanswered if id_ == first}
        for id_ in lost:
            self._write(build_message(id=id_, result=None))
        for token in self._loads:
            end = {"token": token, "value": {"kind": "end"}}
            self._write(build_message(method="$/progress", params=end))
        self._loads.clear()

    # -- to the editor

    def _show(self, reason: str) -> None:
        """Shows a sentence to the user, once."""
        if reason not in self._shown and self._journal.initialize:
            self._shown.add(reason)
            params = {"type": 1, "message": f"llmd: {printable(reason)}"}
            self._write(build_message(method="window/showMessage", params=params))

    def _refuse_initialize(self, reason: str) -> None:
        """Answers a pending `initialize` with an error, which the editor shows."""
        id_ = self._journal.initialize_id
        if id_ is not None and id_ in self._unanswered:
            del self._unanswered[id_]
            error = {"code": REQUEST_FAILED, "message": f"llmd: {reason}"}
            self._write(build_message(id=id_, error=error))

    def _write(self, body: bytes) -> None:
        rest = memoryview(frame(body))
        with self._out_lock:
            while rest:
                rest = rest[os.write(self._stdout_fd, rest) :]


class _Refused(Exception):  # noqa: N818 - not an error
    """Holds the reason why this editor gets no daemon."""


def _receive(daemon: socket.socket) -> bytes:
    try:
        return daemon.recv(CHUNK_BYTES)
    except OSError:
        return b""


def _envelope(body: bytes) -> tuple[int | str | None, str | None, Any]:
    """Returns id, method and params; None for an invalid message, which the daemon answers."""
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        return None, None, None
    if not isinstance(parsed, dict):
        return None, None, None
    id_ = parsed["id"] if isinstance(parsed.get("id"), int | str) else None
    method = parsed["method"] if isinstance(parsed.get("method"), str) else None
    return id_, method, parsed.get("params")
