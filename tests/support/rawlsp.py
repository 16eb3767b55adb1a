"""A client that may break every rule: the daemon's socket, bytes, and JSON-RPC by hand."""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import time
from collections import defaultdict
from types import TracebackType
from typing import Any

import psutil

from llmd.transport.framing import FrameSplitter, frame
from tests.support.daemon import RunningDaemon
from tests.support.editor import INLINE, text_of

Message = dict[str, Any]

CODE = "def add(a, b):\n    return "
CODE_END = (1, 11)
INLINE_METHOD = "textDocument/inlineCompletion"
HEAD = b"Content-Length: "
TIMEOUT_S = 60.0
MB = 1 << 20

_uris = (f"file:///t/raw_{n}.py" for n in itertools.count())


def new_uri() -> str:
    """One that no other test has asked about."""
    return next(_uris)


class RawLsp:
    def __init__(self, daemon: RunningDaemon, timeout_s: float = TIMEOUT_S) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(daemon.socket_path))  # waits where the queue is full
        self._socket.settimeout(timeout_s)
        self._splitter = FrameSplitter()
        self._ids = itertools.count(1)
        self.replies: defaultdict[Any, list[Message]] = defaultdict(list)
        self.others: list[Message] = []  # what is no reply
        self.expected: list[int] = []  # requests that the caller wants counted

    def __enter__(self) -> RawLsp:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    # -- out

    def write(self, data: bytes) -> None:
        self._socket.sendall(data)

    def write_or_lose(self, data: bytes) -> None:
        """The daemon may close before it has read all."""
        with contextlib.suppress(OSError):
            self._socket.sendall(data)

    def body(self, body: bytes) -> None:
        self.write(frame(body))

    def message(self, **message: Any) -> None:
        self.body(json.dumps({"jsonrpc": "2.0", **message}).encode())

    def note(self, method: str, **params: Any) -> None:
        self.message(method=method, params=params)

    def ask(self, method: str, **params: Any) -> int:
        id_ = self.next_id()
        self.message(id=id_, method=method, params=params)
        return id_

    def next_id(self) -> int:
        return next(self._ids)

    def end_writing(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    # -- in

    def reply(self, id_: Any) -> Message:
        """The reply to `id_`; one that comes a second time fails `settle`."""
        while not self.replies[id_]:
            if not self._read():
                raise ConnectionError(f"closed before the reply to {id_}")
        return self.replies[id_][0]

    def error_code(self, id_: Any = None) -> int:
        return int(self.reply(id_)["error"]["code"])

    def call(self, method: str, **params: Any) -> Any:
        reply = self.reply(self.ask(method, **params))
        assert "error" not in reply, reply
        return reply["result"]

    def settle(self) -> dict[Any, int]:
        """How many replies each id got, once the daemon has handled all that was sent."""
        last = self.ask("llmd/status")
        self.reply(last)
        return {id_: len(found) for id_, found in self.replies.items() if found and id_ != last}

    def forget(self) -> None:
        """What has come so far: a client that lives long would itself grow."""
        self.replies.clear()
        self.others.clear()

    def rest(self) -> list[Message]:
        """All that comes until the daemon closes."""
        while self._read():
            pass
        return [*(one for found in self.replies.values() for one in found), *self.others]

    def is_closed(self) -> bool:
        """Whether the daemon closes, within the time."""
        try:
            self.rest()
        except ConnectionError:
            return True
        except TimeoutError:
            return False
        return True

    def _read(self) -> bool:
        data = self._socket.recv(1 << 16)
        for body in self._splitter.feed(data):
            message = json.loads(body)
            if "method" in message:
                self.others.append(message)
            else:
                self.replies[message.get("id")].append(message)
        return bool(data)

    # -- an editor that keeps the rules

    def initialize(self, encoding: str = "utf-16") -> RawLsp:
        capabilities = INLINE | {"general": {"positionEncodings": [encoding]}}
        self.call("initialize", processId=None, rootUri=None, capabilities=capabilities)
        self.note("initialized")
        return self

    def open(self, text: str = CODE, uri: str = "", version: int = 1) -> str:
        uri = uri or new_uri()
        item = {"uri": uri, "languageId": "python", "version": version, "text": text}
        self.note("textDocument/didOpen", textDocument=item)
        return uri

    def ask_inline(
        self, uri: str, line: int = CODE_END[0], col: int = CODE_END[1], invoked: bool = True
    ) -> int:
        return self.ask(INLINE_METHOD, **inline_params(uri, line, col, invoked))

    def inline(self, uri: str, line: int = CODE_END[0], col: int = CODE_END[1]) -> str:
        return text_of(self.reply(self.ask_inline(uri, line, col)))


def request(**message: Any) -> bytes:
    """A request with the id `q`, unless the message says otherwise."""
    return json.dumps({"jsonrpc": "2.0", "id": "q", **message}).encode()


def inline_params(
    uri: str, line: int = CODE_END[0], col: int = CODE_END[1], invoked: bool = True
) -> Message:
    return {
        "textDocument": {"uri": uri},
        "position": {"line": line, "character": col},
        "context": {"triggerKind": 1 if invoked else 2},
    }


def assert_serves(daemon: RunningDaemon, pid: int | None = None) -> None:
    """A new client is told the state and gets a completion, from the same processes as before."""
    assert daemon.process
    assert daemon.process.poll() is None, daemon.log_path.read_text()[-2000:]
    found = daemon.status()
    assert found["state"] == "ready", found["reason"]
    assert pid in (None, found["worker_pid"]), "the worker was replaced"
    with RawLsp(daemon).initialize() as fresh:
        uri = fresh.open()
        assert fresh.inline(uri), daemon.ask("llmd/why", uri=uri)


def rss_bytes(daemon: RunningDaemon) -> int:
    assert daemon.process
    return int(psutil.Process(daemon.process.pid).memory_info().rss)


def cpu_s(daemon: RunningDaemon) -> float:
    assert daemon.process
    times = psutil.Process(daemon.process.pid).cpu_times()
    return float(times.user + times.system)


def cpu_share(daemon: RunningDaemon, during_s: float = 1.0) -> float:
    """Of one core, while nothing is asked."""
    before_s = cpu_s(daemon)
    time.sleep(during_s)
    return (cpu_s(daemon) - before_s) / during_s
