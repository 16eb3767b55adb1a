"""An editor that speaks LSP through the real `llmd lsp`: a few lines of JSON-RPC, no library."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from llmd.transport.framing import FrameSplitter, frame
from tests.support.daemon import RunningDaemon

URI = "file:///t/editor.py"
INLINE: dict[str, Any] = {"textDocument": {"inlineCompletion": {}}}


class Editor:
    def __init__(
        self,
        daemon: RunningDaemon,
        encodings: tuple[str, ...] = ("utf-16",),
        capabilities: dict[str, Any] = INLINE,
        options: dict[str, Any] | None = None,
        command: tuple[str, ...] = (str(Path(sys.executable).parent / "llmd"),),
    ) -> None:
        self.process = subprocess.Popen(
            [*command, "lsp"],
            env=daemon.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.replies: dict[int, list[dict[str, Any]]] = {}
        self.notifications: list[dict[str, Any]] = []
        self._inbox: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._id = 0
        self._versions: dict[str, int] = {}
        threading.Thread(target=self._read, daemon=True).start()
        general = {"general": {"positionEncodings": list(encodings)}}
        self.initialized = self.call(
            "initialize",
            processId=None,
            rootUri=None,
            clientInfo={"name": "test-editor", "version": "1"},
            capabilities=general | capabilities,
            initializationOptions=options or {},
        )
        self.send("initialized")

    def _read(self) -> None:
        assert self.process.stdout
        splitter = FrameSplitter()
        while data := os.read(self.process.stdout.fileno(), 1 << 16):
            for body in splitter.feed(data):
                self._inbox.put(json.loads(body))
        self._inbox.put(None)

    def write(self, data: bytes) -> None:
        assert self.process.stdin
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def _message(self, **message: Any) -> None:
        self.write(frame(json.dumps({"jsonrpc": "2.0", **message}).encode()))

    def send(self, method: str, **params: Any) -> None:
        self._message(method=method, params=params)

    def ask(self, method: str, **params: Any) -> int:
        self._id += 1
        self._message(id=self._id, method=method, params=params)
        return self._id

    def answer(self, id_: int, timeout_s: float = 60) -> dict[str, Any]:
        while id_ not in self.replies:
            message = self._inbox.get(timeout=timeout_s)
            if message is None:
                raise ConnectionError("the bridge closed")
            if "id" in message and "method" not in message:
                self.replies.setdefault(message["id"], []).append(message)
                assert len(self.replies[message["id"]]) == 1, f"two replies to {message['id']}"
            else:
                self.notifications.append(message)
        return self.replies[id_][0]

    def call(self, method: str, **params: Any) -> Any:
        reply = self.answer(self.ask(method, **params))
        assert "error" not in reply, reply
        return reply["result"]

    def open(self, text: str, uri: str = URI, language: str = "python") -> None:
        self._versions[uri] = 1
        document = {"uri": uri, "languageId": language, "version": 1, "text": text}
        self.send("textDocument/didOpen", textDocument=document)

    def insert(self, line: int, col: int, text: str, uri: str = URI) -> None:
        self.replace((line, col), (line, col), text, uri)

    def replace(
        self, start: tuple[int, int], end: tuple[int, int], text: str, uri: str = URI
    ) -> None:
        self._versions[uri] += 1
        span = {"start": _position(*start), "end": _position(*end)}
        self.send(
            "textDocument/didChange",
            textDocument={"uri": uri, "version": self._versions[uri]},
            contentChanges=[{"range": span, "text": text}],
        )

    def ask_inline(self, line: int, col: int, uri: str = URI, invoked: bool = True) -> int:
        return self.ask(
            "textDocument/inlineCompletion",
            textDocument={"uri": uri},
            position=_position(line, col),
            context={"triggerKind": 1 if invoked else 2},
        )

    def inline(self, line: int, col: int, uri: str = URI, invoked: bool = True) -> str:
        return text_of(self.answer(self.ask_inline(line, col, uri, invoked)))

    def close(self) -> None:
        self.call("shutdown")
        self.send("exit")
        self.process.wait(10)


def text_of(reply: dict[str, Any]) -> str:
    items = (reply.get("result") or {}).get("items", [])
    return str(items[0]["insertText"]) if items else ""


def _position(line: int, col: int) -> dict[str, int]:
    return {"line": line, "character": col}
