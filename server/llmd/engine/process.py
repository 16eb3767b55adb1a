"""Runs one worker process: starts it, exchanges messages, ends it, and describes how it ended."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from llmd import machine
from llmd.config import Config
from llmd.engine import messages
from llmd.engine.cancel_flags import CancelFlags
from llmd.errors import EngineError
from llmd.files import fingerprint
from llmd.models.memory_plan import is_out_of_memory
from llmd.models.resolve import ResolvedModel
from llmd.processes import FOLDER, child_env

# How long a worker that closed its socket may take to exit.
OWN_END_S = 1.0
# How long Metal keeps an idle model's memory wired, after which the next key waits for gigabytes
# (ggml-metal-device.m; its default is that on battery).
KEEP_WIRED = "GGML_METAL_RESIDENCY_KEEP_ALIVE_S"
KEEP_WIRED_ON_BATTERY_S = 180
KEEP_WIRED_MAX_S = 30 * 24 * 3600  # Metal counts 200 turns a second in an int
KILLED = ", as the kernel does when memory runs out" if sys.platform == "linux" else ""

OnMessage = Callable[[messages.FromWorker], None]


class WorkerProcess:
    def __init__(self, command: Sequence[str], flags: CancelFlags, path: Path) -> None:
        self.pid: int | None = None
        self.exit_code = 0  # of a process that has ended; negative: by that signal
        self.ran_out_of_memory = False
        self.path = path
        self._command = command
        self._flags = flags
        self._file = fingerprint(path)
        self._stderr_tail = StderrTail()
        self._socket: asyncio.Transport | None = None
        self._must_end = False

    async def run(self, load: messages.Load, on_message: OnMessage) -> str:
        """Runs the process from start to end; `on_message` gets each message. Returns how the
        process ended.

        Raises:
            ModelError: what `on_message` raises.
            EngineError: the worker sent an invalid message.
            OSError: no process could be made.
        """
        worker, ours = await self._start(worker_variables(
            os.environ, load.engine.idle_unload_s, bool(machine.is_on_battery()), sys.platform
        ))  # fmt: skip
        self.pid = worker.pid
        if self._must_end:  # `end` was called while the process was starting
            self.end()
        loop = asyncio.get_running_loop()
        self._socket, protocol = await loop.create_connection(
            lambda: WorkerProtocol(on_message), sock=ours
        )
        reading = asyncio.create_task(self._stderr_tail.read(worker.stderr))
        try:
            self.send(load)
            await protocol.ended
            with suppress(TimeoutError):  # its own exit code says more than our SIGKILL
                async with asyncio.timeout(OWN_END_S):
                    await worker.wait()
        finally:
            self._socket.close()
            self.end()
            code = await worker.wait()
            self.pid = None
            await reading
        return self._exit_description(code)

    def send(self, frame: messages.ToWorker) -> None:
        if self._socket:
            self._socket.write(messages.encode(frame))

    def end(self) -> None:
        self._must_end = True
        if self.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def forget_output(self) -> None:
        """Forgets what the process has written so far, which explains nothing that comes later."""
        self._stderr_tail.lines.clear()

    def file_has_changed(self) -> bool:
        """Returns whether the model file has changed since the worker was created."""
        return fingerprint(self.path) != self._file

    async def _start(
        self, variables: Mapping[str, str]
    ) -> tuple[asyncio.subprocess.Process, socket.socket]:
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                fds = (theirs.fileno(), self._flags.fileno())
                worker = await asyncio.create_subprocess_exec(
                    *self._command, *map(str, fds), pass_fds=fds,
                    env={**child_env(), **variables}, cwd=FOLDER,
                    stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
                )  # fmt: skip
        except OSError:
            ours.close()
            raise
        return worker, ours

    def _exit_description(self, code: int) -> str:
        self.exit_code = code
        how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        lines = self._stderr_tail.lines
        last = lines[-1] if lines else ""
        # Where memory runs out, ggml's CUDA backend aborts; its last line is a place in its source.
        if code in (messages.LOST_DEVICE, -signal.SIGABRT):
            of_memory = list(filter(is_out_of_memory, lines))
            self.ran_out_of_memory = bool(of_memory)
            last = of_memory[-1] if of_memory else last
        if code == -signal.SIGKILL:
            how += KILLED
        if code == -signal.SIGBUS and self.file_has_changed():
            how += ", since its model file has changed"
        return f"The engine worker ended ({how})" + (f": {last}" if last else "")


class WorkerProtocol(asyncio.Protocol):
    """Decodes messages as they come; a stream reader would be two turns of the event loop later.

    `ended` is resolved when the worker closes its end of the socket. It fails with what
    `on_message` raises, or with an EngineError for an invalid message; later data is ignored.
    """

    def __init__(self, on_message: OnMessage) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._on_message = on_message
        self._splitter = messages.FrameDecoder()

    def data_received(self, data: bytes) -> None:
        if self.ended.done():
            return
        try:
            for body in self._splitter.feed(data):
                self._on_message(messages.decode_from_worker(body))
        except ValueError as error:  # msgspec's errors too
            reason = f"The engine worker sent an invalid message: {error}"
            self.ended.set_exception(EngineError(reason))
        except Exception as error:
            self.ended.set_exception(error)

    def connection_lost(self, _error: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


def worker_variables(
    environ: Mapping[str, str], idle_unload_s: int, on_battery: bool, platform: str
) -> dict[str, str]:
    """Returns the variables that a worker gets beside the daemon's own, which win."""
    # Without it, ggml runs a debugger when it aborts, which takes seconds.
    variables = {"GGML_NO_BACKTRACE": "1"}
    if platform == "darwin":
        loaded_s = min(idle_unload_s or KEEP_WIRED_MAX_S, KEEP_WIRED_MAX_S)
        variables[KEEP_WIRED] = str(KEEP_WIRED_ON_BATTERY_S if on_battery else loaded_s)
    return {name: value for name, value in variables.items() if name not in environ}


def load_message(config: Config, model: ResolvedModel, n_shrunk: int = 0) -> messages.Load:
    """Builds the first message to a worker. The user's `fim.order` overrides the catalog's."""
    order = config.fim.order
    if order == "auto" and model.order:
        order = model.order
    adapters = tuple((str(path.absolute()), scale) for path, scale in model.adapters)
    path = str(model.path.absolute())
    return messages.Load(path, order, config.engine, config.kv, adapters, n_shrunk)


MAX_LINE_BYTES = 500
N_LAST_LINES = 10

_log = logging.getLogger("llmd.worker")


class StderrTail:
    """Logs what a worker writes to its standard error, and keeps the last lines."""

    def __init__(self) -> None:
        self.lines: deque[str] = deque(maxlen=N_LAST_LINES)

    async def read(self, stream: asyncio.StreamReader | None) -> None:
        """Reads until the worker's end. Lines over MAX_LINE_BYTES are cut."""
        rest = b""
        while stream and (data := await stream.read(1 << 12)):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self._add(line)
            rest = rest[:MAX_LINE_BYTES]
        self._add(rest)

    def _add(self, line: bytes) -> None:
        if text := line[:MAX_LINE_BYTES].decode(errors="replace").strip():
            self.lines.append(text)
            _log.info("%s", text)
