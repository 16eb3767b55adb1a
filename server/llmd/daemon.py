"""The daemon's life: lock, listen, serve, and an ordered end. Everything is put together here."""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from llmd import __version__, config, paths, status
from llmd.completer import Completer
from llmd.config import Config
from llmd.engine.service import EngineService
from llmd.errors import DaemonError
from llmd.transport.listen import Listener
from llmd.transport.lsp import serve_connection
from llmd.transport.service import Client

log = logging.getLogger("llmd")

# An answer that is on its way when the daemon is told to stop has this long to leave.
LAST_REPLY_S = 0.05


class Daemon:
    """What the transports see: transport.service.Service."""

    def __init__(self, settings: Config) -> None:
        self.config = settings
        self.engine = EngineService(settings)
        self.completer = Completer(settings, self.engine)
        self.complete = self.completer.complete
        self._clients: list[Client] = []
        self._stop = asyncio.Event()

    def client_connected(self, client: Client) -> None:
        self._clients.append(client)

    def client_gone(self, client: Client) -> None:
        with suppress(ValueError):
            self._clients.remove(client)

    def status(self) -> dict[str, Any]:
        return status.snapshot(self.engine, self.completer.totals, self._clients, self.config.model)

    def stop(self) -> None:
        self._stop.set()

    async def run(self, socket_path: Path) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        listener = Listener()
        await listener.start(socket_path, lambda r, w: serve_connection(r, w, self))
        engine = asyncio.create_task(self.engine.run())
        log.info("llmd %s serves %s, pid %d", __version__, socket_path, os.getpid())
        try:
            await self._stop.wait()
            await asyncio.sleep(LAST_REPLY_S)
        finally:
            engine.cancel()
            with suppress(asyncio.CancelledError):
                await engine
            await listener.close()


def take_lock() -> IO[str]:
    """The one daemon of this user holds this file's lock; it says who and where.

    Raises:
        DaemonError: another daemon holds it.
    """
    paths.private_dir(paths.state_dir())
    lock = open(paths.lock_path(), "a+", opener=_private)  # noqa: SIM115 - held until the end
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        raise DaemonError(f"llmd runs already ({lock.read().strip() or 'starting'})") from None
    lock.truncate(0)
    lock.write(json.dumps({"pid": os.getpid(), "socket": str(paths.socket_path())}))
    lock.flush()
    return lock


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def serve() -> int:
    """Serves until told to stop. Bad config is told before anything is started."""
    settings = config.load()
    with take_lock():
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
        paths.private_dir(paths.runtime_dir())
        asyncio.run(Daemon(settings).run(paths.socket_path()))
    return 0
