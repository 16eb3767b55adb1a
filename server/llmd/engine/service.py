"""The daemon's side of the engine: one worker process, its life and its requests.

The event loop owns all of this. A worker that dies costs the requests it was at: each is answered
once, empty, and a new worker is started.
"""

from __future__ import annotations

import asyncio
import itertools
import mmap
import os
import signal
import socket
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Literal

from llmd.config import Config, Sampling
from llmd.engine import frames
from llmd.engine.frames import FLAG_BYTES, N_FLAGS, Done, Loaded
from llmd.errors import EngineError, ModelError
from llmd.models.store import model_path
from llmd.postprocess.stop import StopRule
from llmd.prompt.build import Piece
from llmd.trace import Cost

State = Literal["loading", "ready", "failed"]

# A worker that dies this often within the time is not started again by itself.
MAX_DEATHS = 5
DEATHS_WITHIN_S = 60.0

# How much longer than the deadline the worker may take before it counts as stuck on this request.
GRACE_MS = 500


class Job:
    """One request to the engine.

    `answered` is done when the asker may go on, `finished` when the engine has stopped working.
    """

    def __init__(
        self,
        id_: int,
        flags: mmap.mmap,
        make: Callable[[Loaded], frames.Infer],
        on_partial: Callable[[str], None] | None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.id = id_
        self.make = make
        self.answered: asyncio.Future[Done] = loop.create_future()
        self.finished: asyncio.Future[Done] = loop.create_future()
        self._flags = flags
        self._on_partial = on_partial
        self._flag_at = id_ % N_FLAGS * FLAG_BYTES
        flags[self._flag_at] = 0

    def cancel(self, reason: frames.StopReason = "cancelled") -> None:
        """Answers now; the engine sees the flag within one decode step."""
        if not self.finished.done():
            self._flags[self._flag_at] = 1
        if not self.answered.done():
            self.answered.set_result(Done(self.id, "", reason, Cost()))

    def show(self, text: str) -> None:
        if self._on_partial and not self.answered.done():
            self._on_partial(text)

    def finish(self, done: Done) -> None:
        for future in (self.answered, self.finished):
            if not future.done():
                future.set_result(done)


class EngineService:
    def __init__(self, config: Config) -> None:
        self.state: State = "loading"
        self.reason = ""
        self.info: Loaded | None = None
        self.worker_pid: int | None = None
        self.loaded_share = 0.0
        self._config = config
        self._ids = itertools.count(1)
        self._jobs: dict[int, Job] = {}
        self._unsent: list[Job] = []
        self._deaths_s: deque[float] = deque(maxlen=MAX_DEATHS)
        self._wake = asyncio.Event()
        self._writer: asyncio.StreamWriter | None = None
        self._flags_file = tempfile.TemporaryFile()  # noqa: SIM115 - the worker maps it
        self._flags_file.truncate(N_FLAGS * FLAG_BYTES + mmap.PAGESIZE)
        self._flags = mmap.mmap(self._flags_file.fileno(), 0)

    def infer(
        self,
        pieces: Callable[[Loaded], tuple[Piece, ...]],
        stop: StopRule,
        sampling: Sampling,
        on_partial: Callable[[str], None] | None = None,
    ) -> Job:
        """Asks the engine; while the model loads the request waits for it, up to its deadline."""
        id_ = next(self._ids)

        def make(model: Loaded) -> frames.Infer:
            return frames.Infer(id_, pieces(model), stop, sampling)

        job = self._jobs[id_] = Job(id_, self._flags, make, on_partial)
        timer = asyncio.get_running_loop().call_later(
            (stop.deadline_ms + GRACE_MS) / 1e3, job.cancel, "deadline"
        )
        job.answered.add_done_callback(lambda _: timer.cancel())
        job.answered.add_done_callback(lambda _: self._forget_unsent(job))
        job.finished.add_done_callback(lambda _: self._jobs.pop(id_, None))
        self._send_or_keep(job)
        return job

    async def run(self) -> None:
        """Keeps a worker alive until cancelled."""
        try:
            while True:
                await self._live_once()
        finally:
            self._answer_all("The daemon is stopping")
            self._kill_worker()

    def _send_or_keep(self, job: Job) -> None:
        if self.state == "ready" and self.info and self._writer:
            self._writer.write(frames.encode(job.make(self.info)))
        elif self.state == "loading":
            self._unsent.append(job)
        else:
            job.finish(_failed(job.id, self.reason))
            self._wake.set()  # the model may have come since

    def _forget_unsent(self, job: Job) -> None:
        if job in self._unsent:
            self._unsent.remove(job)
            job.finish(job.answered.result())

    async def _live_once(self) -> None:
        """One worker from its start to its death, and what follows from it."""
        self.state = "loading"
        try:
            path = model_path(self._config.model)
            self.reason = await self._worker_life(str(path))
        except ModelError as error:
            self._fail(str(error))
            await self._woken()
            return
        except EngineError as error:
            self.reason = str(error)
        self._answer_all(self.reason)
        self._deaths_s.append(time.monotonic())
        if (
            len(self._deaths_s) == MAX_DEATHS
            and self._deaths_s[-1] - self._deaths_s[0] < DEATHS_WITHIN_S
        ):
            self._fail(f"{self.reason}; it died {MAX_DEATHS} times, restart llmd to try again")
            await asyncio.Event().wait()

    async def _woken(self) -> None:
        """Until a request comes, and then only if the model file is there."""
        while True:
            self._wake.clear()
            await self._wake.wait()
            try:
                model_path(self._config.model)
            except ModelError as error:
                self.reason = str(error)
                continue
            return

    async def _worker_life(self, path: str) -> str:
        """Returns why the worker ended.

        Raises:
            ModelError: the model could not be loaded.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            fds = (theirs.fileno(), self._flags_file.fileno())
            worker = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "llmd.engine.worker", *map(str, fds),
                pass_fds=fds, stdin=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
        self.worker_pid = worker.pid
        reader, self._writer = await asyncio.open_connection(sock=ours)
        try:
            load = frames.Load(path, self._config.fim.order, self._config.engine)
            self._writer.write(frames.encode(load))
            await self._read(reader)
        finally:
            self.info = None
            self._writer.close()
            self._kill_worker()
            code = await worker.wait()
            self.worker_pid = None
        return f"The engine worker ended ({_ended(code)})"

    async def _read(self, reader: asyncio.StreamReader) -> None:
        """Until the worker's end of the socket closes."""
        splitter = frames.Splitter()
        try:
            while data := await reader.read(1 << 16):
                for body in splitter.feed(data):
                    self._take(frames.decode_from_worker(body))
        except ConnectionError:
            return
        except ValueError as error:  # also msgspec's: the worker speaks nonsense
            raise EngineError(f"The engine worker sent an unreadable frame: {error}") from None

    def _take(self, frame: frames.FromWorker) -> None:
        match frame:
            case frames.Partial(id=id_, text=text):
                if job := self._jobs.get(id_):
                    job.show(text)
            case frames.Done(id=id_):
                if job := self._jobs.get(id_):
                    job.finish(frame)
            case frames.Loading(share=share):
                self.loaded_share = share
            case frames.Loaded():
                self.info, self.state, self.reason = frame, "ready", ""
                waiting, self._unsent = self._unsent, []
                for job in waiting:
                    self._send_or_keep(job)
            case frames.LoadFailed(reason=reason):
                raise ModelError(reason)

    def _fail(self, reason: str) -> None:
        self.state, self.reason = "failed", reason
        self._answer_all(reason)

    def _answer_all(self, reason: str) -> None:
        self._unsent.clear()
        for job in list(self._jobs.values()):
            job.finish(_failed(job.id, reason))

    def _kill_worker(self) -> None:
        if self.worker_pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self.worker_pid, signal.SIGKILL)


def _failed(id_: int, reason: str) -> Done:
    return Done(id_, "", "failed", Cost(), reason)


def _ended(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
