"""Imitates a hub as far as the real client uses one: the resolve route answers with the metadata of
a file and redirects to another host, as the hub does to its store. Tests can inject faults."""

from __future__ import annotations

import fcntl
import hashlib
import os
import socket
import struct
import sys
import termios
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from tests.support.daemon import wait_until

COMMIT = "c0ffee" + "0" * 34
STALL_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    range: str
    authorization: str
    user_agent: str

    @property
    def is_of_store(self) -> bool:
        return self.path.startswith("/store/")


@dataclass(slots=True)
class Faults:
    status: int = 0  # the status of every answer
    cut_after_bytes: int = -1  # ends the next answer of the store there, once
    is_reset: bool = False  # with RST, as a router does, in place of FIN
    stall_after_bytes: int = -1  # waits there for `Hub.release`
    ignores_range: bool = False
    etag: str = ""  # in place of the SHA-256
    size: int | None = None  # announced in place of the content's
    encoding: str = ""  # of the content, which is sent as it is


@dataclass(slots=True)
class Hub:
    """Holds `files` by OWNER/REPO/FILE. `served` replaces the content that was announced."""

    files: dict[str, bytes] = field(default_factory=dict)
    served: dict[str, bytes] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    revisions: set[str] = field(default_factory=lambda: {"main", COMMIT})
    faults: Faults = field(default_factory=Faults)
    requests: list[Request] = field(default_factory=list)
    has_stalled: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)
    _server: ThreadingHTTPServer = field(init=False)

    def __enter__(self) -> Self:
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def store(self) -> str:
        """Returns another host for the client, to which the client must not send tokens."""
        return f"http://localhost:{self._server.server_port}/store"

    def downloads(self) -> list[str]:
        """Returns the Range of each request for content, oldest first; empty for the whole file."""
        return [r.range for r in self.requests if r.is_of_store and r.method == "GET"]


def _n_unsent_bytes(connection: socket.socket) -> int:
    answer = fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4))
    return int.from_bytes(answer, sys.byteorder)


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        seen = (self.headers.get(key, "") for key in ("Range", "Authorization", "User-Agent"))
        request = Request(self.command, self.path, *seen)
        self.hub.requests.append(request)
        if self.hub.faults.status:
            self._send(self.hub.faults.status, {})
        elif request.is_of_store:
            self._content(self.path.removeprefix("/store/"))
        else:
            self._resolve(*self.path[1:].split("/", 4))

    def _resolve(self, owner: str, repo: str, _: str, revision: str, file: str) -> None:
        place = f"{owner}/{repo}"
        if place in self.hub.gated and not self.headers.get("Authorization"):
            self._send(401, {"X-Error-Code": "GatedRepo"})
        elif not any(name.startswith(f"{place}/") for name in self.hub.files):
            self._send(401, {"X-Error-Code": "RepoNotFound"})  # as the hub answers without a token
        elif revision not in self.hub.revisions:
            self._send(404, {"X-Error-Code": "RevisionNotFound"})
        elif (content := self.hub.files.get(f"{place}/{file}")) is None:
            self._send(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
        else:
            self._send(302, self._facts(content) | {"Location": f"{self.hub.store}/{place}/{file}"})

    def _facts(self, content: bytes) -> dict[str, str]:
        etag = self.hub.faults.etag or hashlib.sha256(content).hexdigest()
        return {
            "X-Repo-Commit": COMMIT,
            "X-Linked-Etag": f'"{etag}"',
            "X-Linked-Size": str(len(content) if (size := self.hub.faults.size) is None else size),
        }

    def _content(self, name: str) -> None:
        content = self.hub.served.get(name, self.hub.files[name])
        given = self.headers.get("Range", "")
        start = 0 if self.hub.faults.ignores_range else int(given[6:].split("-")[0] or 0)
        part = content[start:]
        headers = {"Content-Length": str(len(part)), "Accept-Ranges": "bytes"}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        if self.hub.faults.encoding:
            headers["Content-Encoding"] = self.hub.faults.encoding
        self._send(206 if start else 200, headers)
        faults, self.hub.faults = self.hub.faults, Faults()  # a fault applies to one answer
        with suppress(ConnectionError):  # a reader that is killed
            self._write(part, faults)

    def _write(self, part: bytes, faults: Faults) -> None:
        if faults.stall_after_bytes >= 0:
            self.wfile.write(part[: faults.stall_after_bytes])
            self.hub.has_stalled.set()
            self.hub.release.wait(STALL_TIMEOUT_S)
            part = part[faults.stall_after_bytes :]
        if faults.cut_after_bytes >= 0:
            part = part[: faults.cut_after_bytes]
        self.wfile.write(part)
        if faults.is_reset:
            self._reset()

    def _reset(self) -> None:
        """Resets after all bytes were acknowledged, since a reset drops unsent bytes."""
        wait_until(lambda: not _n_unsent_bytes(self.connection), "the reader has it")
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(self.connection.detach())

    def _send(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in ({"Content-Length": "0"} | headers).items():
            self.send_header(key, value)
        self.end_headers()
