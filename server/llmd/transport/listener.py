"""Listens on the daemon's unix socket. A connection's first byte decides its protocol.

The listener accepts connections without `asyncio.start_unix_server`, whose streams cannot peek at
the first byte.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import stat
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path

from llmd.errors import DaemonError
from llmd.paths import private_dir
from llmd.processes import peer_uid
from llmd.transport.framing import SEND_BUFFER_BYTES

OnConnection = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Protocols = Mapping[bytes, OnConnection]  # by the first byte of a connection

READ_LIMIT_BYTES = 1 << 20
BACKLOG = 1024
# A socket's file may vanish: a logout or a cleaner removes runtime folders.
LOOK_S = 1.0
MAX_LOST_LOOKS = 10  # in a row in which no new socket could be made
ACCEPT_PAUSE_S = 0.1
# A peer that connects and sends nothing occupies a file descriptor for no longer than this.
FIRST_BYTE_TIMEOUT_S = 10.0

_log = logging.getLogger("llmd.listen")


class Listener:
    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._path: Path | None = None
        self._inode = 0
        self._accepting: asyncio.Task[None] | None = None
        self._protocols: Protocols = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(
        self, path: Path, protocols: Protocols, on_lost: Callable[[], object] = int
    ) -> None:
        """Listens at `path` with mode 0600. The caller must hold the daemon's lock: a socket at
        `path` then belongs to a dead daemon, and is replaced. Listens anew where the file vanishes;
        `on_lost` is called if that cannot be done.

        Raises:
            DaemonError: `path` is not a socket, or a socket cannot be created there.
        """
        self._path, self._protocols = path, protocols
        self._listen(path)
        self._spawn(self._watch(path, on_lost))

    def _listen(self, path: Path) -> None:
        old, before = self._socket, self._accepting
        self._socket, self._inode = _bind(path)
        self._accepting = self._spawn(self._accept(self._socket))
        if before:
            before.cancel()
        if old:
            old.close()

    async def _watch(self, path: Path, on_lost: Callable[[], object]) -> None:
        """Looks whether the socket's file is there. One in its place is another daemon's."""
        n_lost = 0
        while n_lost < MAX_LOST_LOOKS:
            await asyncio.sleep(LOOK_S)
            if _is_there(path):
                n_lost = 0
                continue
            n_lost += 1
            with suppress(DaemonError, OSError):
                private_dir(path.parent)
                self._listen(path)
                _log.warning("the socket `%s` had vanished and is there again", path)
        _log.error("the socket `%s` has vanished and cannot be made again", path)
        on_lost()

    async def close(self) -> None:
        """Stops accepting, removes the socket file, and ends all connections. The socket file of
        another daemon stays."""
        with suppress(OSError):
            if self._path is not None and self._path.lstat().st_ino == self._inode:
                self._path.unlink()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._socket is not None:
            self._socket.close()

    def _spawn(self, work: Awaitable[None]) -> asyncio.Task[None]:
        task = asyncio.create_task(_log_failure(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                peer, _ = await loop.sock_accept(listening)
            except OSError as error:  # EMFILE: the connection stays queued, so do not retry at once
                _log.warning("accept failed: %s", os.strerror(error.errno or 0))
                await asyncio.sleep(ACCEPT_PAUSE_S)
                continue
            self._spawn(self._serve(peer))

    async def _serve(self, peer: socket.socket) -> None:
        try:
            if (uid := peer_uid(peer)) != os.getuid():
                _log.warning("connection of uid %d refused", uid)
                return
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
            first = await asyncio.wait_for(_peek_first_byte(peer), FIRST_BYTE_TIMEOUT_S)
            if on_connection := self._protocols.get(first):
                await on_connection(*await _open_streams(peer))
            elif first:
                _log.warning("connection closed: first byte 0x%02x is of no protocol", first[0])
        except (OSError, TimeoutError):
            pass  # the peer closed, or sent nothing
        finally:
            peer.close()


def _bind(path: Path) -> tuple[socket.socket, int]:
    """Returns the listening socket and its file's inode, which `close` compares."""
    _remove_stale(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    umask = os.umask(0o077)
    try:
        listening.bind(os.fspath(path))
        path.chmod(0o600)
    except OSError as error:
        listening.close()
        raise DaemonError(
            f"Socket `{path}` cannot be created: {error.strerror}; set LLMD_RUNTIME_DIR to a folder"
            " that takes sockets"
        ) from error
    finally:
        os.umask(umask)
    listening.listen(BACKLOG)
    listening.setblocking(False)
    return listening, path.stat().st_ino


def _is_there(path: Path) -> bool:
    """Looks in the runtime folder, which is on a local disk."""
    return os.path.lexists(path)


def _remove_stale(path: Path) -> None:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise DaemonError(f"Path `{path}` is not a socket; remove it")
    path.unlink()


async def _peek_first_byte(peer: socket.socket) -> bytes:
    """Returns the first byte without consuming it; empty if the peer has closed."""
    loop = asyncio.get_running_loop()
    peer.setblocking(False)
    while True:
        readable = asyncio.Event()
        loop.add_reader(peer, readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(peer)
        try:
            return peer.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            continue


async def _open_streams(peer: socket.socket) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=READ_LIMIT_BYTES, loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    transport, _ = await loop.connect_accepted_socket(lambda: protocol, peer)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


async def _log_failure(work: Awaitable[None]) -> None:
    try:
        await work
    except Exception as error:  # a fault of one connection must not end the daemon
        _log.warning("connection ended by %s", type(error).__name__)
