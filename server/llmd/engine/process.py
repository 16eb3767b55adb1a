"""One worker process: started, spoken to, ended, and how it ended."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from llmd.config import Config
from llmd.engine import messages
from llmd.engine.cancel_flags import CancelFlags
from llmd.errors import EngineError
from llmd.models.pull.presence import fingerprint
from llmd.models.resolve import ResolvedModel

# How long a worker that closed its socket may take to end by itself.
OWN_END_S = 1.0
# Else ggml runs a debugger when it aborts, which takes seconds and stops the process meanwhile.
QUIET_ABORT = {"GGML_NO_BACKTRACE": "1"}
KILLED = "as the kernel does when memory runs out"

OnMessage = Callable[[messages.FromWorker], None]


class WorkerProcess:
    def __init__(self, command: Sequence[str], flags: CancelFlags, path: Path) -> None:
        self.pid: int | None = None
        self.path = path
        self._command = command
        self._flags = flags
        self._file = fingerprint(path)
        self._stderr_tail = StderrTail()
        self._socket: asyncio.Transport | None = None
        self._must_end = False

    async def run(self, load: messages.Load, take: OnMessage) -> str:
        """From its start to its end; `take` is given what it says. Returns how it ended.

        Raises:
            ModelError: what `take` raises.
            EngineError: it sent nonsense.
            OSError: no process could be made.
        """
        worker, ours = await self._start()
        self.pid = worker.pid
        if self._must_end:  # told while the process was being made
            self.end()
        loop = asyncio.get_running_loop()
        self._socket, hearing = await loop.create_connection(
            lambda: WorkerProtocol(take), sock=ours
        )
        listening = asyncio.create_task(self._stderr_tail.read(worker.stderr))
        try:
            self.send(load)
            await hearing.ended
            with suppress(TimeoutError):  # its own end says more than ours
                async with asyncio.timeout(OWN_END_S):
                    await worker.wait()
        finally:
            self._socket.close()
            self.end()
            code = await worker.wait()
            self.pid = None
            await listening
        return self._exit_description(code)

    def send(self, frame: messages.ToWorker) -> None:
        if self._socket:
            self._socket.write(messages.encode(frame))

    def end(self) -> None:
        self._must_end = True
        if self.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def file_has_changed(self) -> bool:
        """Whether the model's file is no longer the one that was given to it."""
        return fingerprint(self.path) != self._file

    async def _start(self) -> tuple[asyncio.subprocess.Process, socket.socket]:
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                fds = (theirs.fileno(), self._flags.fileno())
                worker = await asyncio.create_subprocess_exec(
                    *self._command, *map(str, fds), pass_fds=fds,
                    env={**os.environ, **QUIET_ABORT},
                    stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
                )  # fmt: skip
        except OSError:
            ours.close()
            raise
        return worker, ours

    def _exit_description(self, code: int) -> str:
        how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        if code == -signal.SIGKILL:
            how += f", {KILLED}"
        if code == -signal.SIGBUS and self.file_has_changed():
            how += ", since its model file has changed"
        said = f": {self._stderr_tail.last}" if self._stderr_tail.last else ""
        return f"The engine worker ended ({how}){said}"


class WorkerProtocol(asyncio.Protocol):
    """Takes what the worker says as it comes; a stream would be two turns of the loop later.

    `ended` is done when the worker's end of the socket closes, or fails with what `take` raises,
    or with an EngineError: what came is no frame. Then nothing more is taken.
    """

    def __init__(self, take: OnMessage) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._take = take
        self._splitter = messages.FrameDecoder()

    def data_received(self, data: bytes) -> None:
        if self.ended.done():
            return
        try:
            for body in self._splitter.feed(data):
                self._take(messages.decode_from_worker(body))
        except ValueError as error:  # also msgspec's: the worker speaks nonsense
            said = f"The engine worker sent an unreadable frame: {error}"
            self.ended.set_exception(EngineError(said))
        except Exception as error:
            self.ended.set_exception(error)

    def connection_lost(self, _error: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


def load_message(config: Config, laid: ResolvedModel, n_shrunk: int = 0) -> messages.Load:
    """What a worker is told first. What the user set of the order stands above what the model's
    entry says."""
    order = config.fim.order
    if order == "auto" and laid.order:
        order = laid.order
    adapters = tuple((str(path), scale) for path, scale in laid.adapters)
    return messages.Load(str(laid.path), order, config.engine, config.kv, adapters, n_shrunk)


MAX_LINE_BYTES = 500

_log = logging.getLogger("llmd.worker")


class StderrTail:
    def __init__(self) -> None:
        self.last = ""

    async def read(self, stream: asyncio.StreamReader | None) -> None:
        """Until the worker's end. A line that is too long is cut."""
        rest = b""
        while stream and (data := await stream.read(1 << 12)):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self._take(line)
            rest = rest[:MAX_LINE_BYTES]
        self._take(rest)

    def _take(self, line: bytes) -> None:
        if said := line[:MAX_LINE_BYTES].decode(errors="replace").strip():
            self.last = said
            _log.info("%s", said)
