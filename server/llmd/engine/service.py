"""The daemon's side of the engine: one worker process, its life and its requests.

The event loop owns all of this. A worker that dies costs the requests it was at: each is answered
once, empty, and a new worker is started. One that nobody has asked for long is ended, and started
again when somebody comes.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

from llmd.config import Config, Sampling
from llmd.engine import frames
from llmd.engine.flags import CancelFlags
from llmd.engine.frames import Loaded, SlotView
from llmd.engine.job import Job
from llmd.engine.jobs import Jobs
from llmd.engine.process import WorkerProcess
from llmd.errors import EngineError, ModelError, place_of
from llmd.models.presence import is_being_pulled
from llmd.models.store import model_path
from llmd.postprocess.stop import StopRule
from llmd.prompt.build import Piece

State = Literal["loading", "ready", "unloaded", "failed"]
# Why a worker ends although it is well.
Intent = Literal["", "restart", "unload", "stuck"]

WORKER = (sys.executable, "-m", "llmd.engine.worker")

# A worker that dies this often within the time is not started again by itself.
MAX_DEATHS = 5
DEATHS_WITHIN_S = 60.0

# How much longer than the deadline the worker may take before its asker is answered without it,
# and how long it may then say nothing before it counts as stuck. Both are seconds in which this
# loop ran: after the machine has slept, a worker is not late.
GRACE_MS = 500
STUCK_S = 10
LOAD_STUCK_S = 600  # a model that is read from a slow disk says nothing for minutes

PULL_POLL_S = 1.0
SPAWN_PAUSE_S = 1.0
TRY_AGAIN = "`llmd restart` tries again"

_log = logging.getLogger("llmd.engine")


class EngineService:
    def __init__(
        self,
        config: Config,
        command: Sequence[str] = WORKER,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_change` is called when the state, its reason or the share loaded has changed."""
        self.state: State = "loading"
        self.reason = ""
        self.info: Loaded | None = None
        self.loaded_share = 0.0
        self._config = config
        self._command = command
        self._on_change = on_change
        self._ids = itertools.count(1)
        self._jobs = Jobs()
        self._deaths_s: deque[float] = deque(maxlen=MAX_DEATHS)
        self._intent: Intent = ""
        self._wake = asyncio.Event()
        self._worker: WorkerProcess | None = None
        self._is_missing = False
        self._slots: tuple[SlotView, ...] = ()
        self._n_silent_s = 0
        self._used_s = time.monotonic()
        self._moved = asyncio.Event()  # wakes `_tick`
        self._flags = CancelFlags()

    @property
    def worker_pid(self) -> int | None:
        return self._worker.pid if self._worker else None

    @property
    def notice(self) -> str:
        """One sentence about the model in use, or empty."""
        if self.info is None or self._worker is None:
            return ""
        if not self._worker.file_has_changed():
            return self.info.notice
        subject = f"Model file `{self._worker.path}`"
        if not self._worker.path.exists():
            return f"{subject} is gone; what was loaded goes on, a restart could not load it"
        return f"{subject} has changed since it was loaded; `llmd restart` loads it as it is now"

    def slots(self) -> list[dict[str, int]]:
        """Whose cells there are, after the latest request: in the KV cache or parked in memory,
        then with the bytes that this takes."""
        if self.info is None:
            return []
        n_ctx = self.info.n_ctx
        return [
            {
                "id": slot.id,
                "n_cells": slot.n_cells,
                "n_ctx": n_ctx,
                "resident": slot.resident,
                "bytes": slot.parked_bytes,
            }
            for slot in self._slots
        ]

    def infer(
        self,
        pieces: Callable[[Loaded], tuple[Piece, ...]],
        stop: StopRule,
        sampling: Sampling,
        on_partial: Callable[[str], None] | None = None,
        *,
        slot: int = 0,
        background: bool = False,
        is_prefill: bool = False,
    ) -> Job:
        """Asks the engine; while the model loads the request waits for it, up to its deadline.

        Work in the background makes way for any request and for newer such work. It is refused,
        that is finished as cancelled, where it would wait, wake the model or keep it awake.
        """
        id_ = next(self._ids)

        def make(model: Loaded) -> frames.Infer:
            return frames.Infer(id_, pieces(model), stop, sampling, slot, background, is_prefill)

        job = Job(id_, self._flags, make, on_partial, slot, background)
        if background and not (self.state == "ready" and self._jobs.is_free()):
            job.finish(frames.unanswered(id_, "cancelled"))
            return job
        self._jobs.make_way(slot)
        self._jobs.add(job)
        if not background:
            self._answer_in_time(job, stop.deadline_ms)
            self.wake()
        self._send_or_keep(job)
        return job

    def forget(self, slot: int) -> None:
        """The document of the slot was closed."""
        self._jobs.end_background(slot)
        self._slots = tuple(view for view in self._slots if view.id != slot)
        if self.state == "ready" and self._worker:
            self._worker.send(frames.Forget(slot))

    def wake(self) -> None:
        """Somebody is about to ask: an unloaded model is loaded, a missing one looked for."""
        self._used_s = time.monotonic()
        is_missing = self.state == "failed" and self._is_missing
        has_come = is_missing and (self._can_find_model() or is_being_pulled())
        if self.state == "unloaded" or has_come:
            self._become("loading")
        self._wake.set()
        self._moved.set()

    def restart(self) -> None:
        """Ends the worker and starts a new one, also after a failure."""
        self._deaths_s.clear()
        self._become("loading")
        self._end_worker("restart")
        self._wake.set()

    def configure(self, config: Config, reload: bool) -> None:
        self._config = config
        self._moved.set()
        if reload:
            self.restart()

    async def run(self) -> None:
        """Keeps a worker alive until cancelled."""
        ticking = asyncio.create_task(self._tick())
        try:
            while True:
                try:
                    await self._live_once()
                except Exception as error:  # what must not happen is told, and ends nothing else
                    _log.error("The engine failed at %s", place_of(error))
                    await self._fail(f"The engine failed ({type(error).__name__}); {TRY_AGAIN}")
        finally:
            ticking.cancel()
            self._answer_all("The daemon is stopping")

    def _become(self, state: State, reason: str = "") -> None:
        self.state, self.reason = state, reason
        self._moved.set()
        self._on_change()

    @staticmethod
    def _answer_in_time(job: Job, deadline_ms: int) -> None:
        timer = asyncio.get_running_loop().call_later(
            (deadline_ms + GRACE_MS) / 1e3, job.cancel, "deadline"
        )
        job.answered.add_done_callback(lambda _: timer.cancel())

    def _send_or_keep(self, job: Job) -> None:
        if self.state == "ready" and self.info and self._worker:
            self._worker.send(job.make(self.info))
        elif self.state == "loading":
            self._jobs.keep(job)
        else:
            job.finish(frames.unanswered(job.id, "failed", self.reason))

    async def _live_once(self) -> None:
        """One worker from its start to its death, and what follows from it."""
        self._intent = ""
        self._wake.clear()
        self.loaded_share = 0.0
        self._become("loading")
        try:
            path = model_path(self._config.model)
        except ModelError as error:
            return await self._wait_for_model(str(error))
        is_final = False
        try:
            reason = await self._worker_life(path)
        except EngineError as error:
            reason = str(error)
        except OSError as error:  # no descriptors, no processes, no interpreter any more
            reason = f"The engine worker cannot be started: {error.strerror}"
            await asyncio.sleep(SPAWN_PAUSE_S)
        except ModelError as error:
            reason, is_final = str(error), True
        if self._intent in ("restart", "unload"):
            return await self._end_as_wanted()
        _log.error("%s", reason)
        self._answer_all(reason)
        self._deaths_s.append(time.monotonic())
        if self._died_too_often():
            reason += f"; it ended {MAX_DEATHS} times within {DEATHS_WITHIN_S:.0f} s, {TRY_AGAIN}"
            is_final = True
        if is_final:
            await self._fail(reason)
        return None

    def _died_too_often(self) -> bool:
        deaths_s = self._deaths_s
        return len(deaths_s) == MAX_DEATHS and deaths_s[-1] - deaths_s[0] < DEATHS_WITHIN_S

    async def _end_as_wanted(self) -> None:
        """Requests that came while the old worker ended wait for the new one."""
        for job in self._jobs.sent():
            job.finish(frames.unanswered(job.id, "failed", "The engine is restarting"))
        await self._while_in("unloaded")

    async def _fail(self, reason: str) -> None:
        """Until `restart`: asking again would fail again."""
        self._become("failed", reason)
        self._answer_all(reason)
        await self._while_in("failed")

    async def _wait_for_model(self, reason: str) -> None:
        """Until its file is there: looked for at each request, and while it is being pulled."""
        _log.error("%s", reason)
        self._is_missing = True
        while is_being_pulled():
            self._become("loading", "The model is being pulled")
            await asyncio.sleep(PULL_POLL_S)
        if not self._can_find_model():
            await self._fail(reason)
        self._is_missing = False

    async def _while_in(self, state: State) -> None:
        while self.state == state:
            self._wake.clear()
            await self._wake.wait()

    def _can_find_model(self) -> bool:
        try:
            return model_path(self._config.model).exists()
        except ModelError:
            return False

    async def _worker_life(self, path: Path) -> str:
        """Returns how the worker ended.

        Raises:
            ModelError: the model could not be loaded.
            EngineError: the worker sent nonsense.
            OSError: no process could be made.
        """
        self._worker = WorkerProcess(self._command, self._flags, path)
        self._n_silent_s = 0
        self._moved.set()
        try:
            config = self._config
            load = frames.Load(str(path), config.fim.order, config.engine, config.kv)
            how = await self._worker.live(load, self._take)
        finally:
            self.info = self._worker = None
        if self._intent == "stuck":
            return f"The engine worker said nothing for {self._n_silent_s} s and was ended"
        return how

    def _take(self, frame: frames.FromWorker) -> None:
        """
        Raises:
            ModelError: the frame says that the model could not be loaded.
        """
        self._n_silent_s = 0
        match frame:
            case frames.Partial(id=id_, text=text):
                if job := self._jobs.get(id_):
                    job.show(text)
            case frames.Done(id=id_):
                if frame.error:
                    _log.error("%s", frame.error)
                self._slots = frame.slots or self._slots
                if job := self._jobs.get(id_):
                    job.finish(frame)
            case frames.Loading(share=share):
                self.loaded_share = share
                self._on_change()
            case frames.Loaded() if not self._intent:
                self.info = frame
                self._slots = (SlotView(0, 0, resident=True),)
                self._used_s = time.monotonic()
                self._become("ready")
                for job in self._jobs.take_unsent():
                    self._send_or_keep(job)
            case frames.LoadFailed(reason=reason):
                raise ModelError(reason)

    async def _tick(self) -> None:
        """Each second while the worker owes a word, else when it may be unloaded, else never."""
        while True:
            self._moved.clear()
            with suppress(TimeoutError):
                if self._owes_a_word():
                    await asyncio.sleep(1)
                else:
                    await asyncio.wait_for(self._moved.wait(), self._idle_left_s())
            self._n_silent_s = self._n_silent_s + 1 if self._is_overdue() else 0
            limit_s = LOAD_STUCK_S if self.state == "loading" else STUCK_S
            if self._n_silent_s >= limit_s:
                self._end_worker("stuck")
            elif self.state == "ready" and not self._jobs and self._idle_left_s() == 0:
                self._become("unloaded")
                self._end_worker("unload")

    def _owes_a_word(self) -> bool:
        """A model, or the end of a request."""
        return self.worker_pid is not None and bool(self.state == "loading" or self._jobs)

    def _is_overdue(self) -> bool:
        """A request counts once it has been answered without the worker."""
        is_late = self.state == "loading" or self._jobs.is_overdue()
        return self._owes_a_word() and is_late

    def _idle_left_s(self) -> float | None:
        """None: never. Whole seconds, so that a clock's rounding does not spin."""
        after_s = self._config.engine.idle_unload_s
        if not after_s or self.state != "ready":
            return None
        left_s = self._used_s + after_s - time.monotonic()
        return max(0.0, math.ceil(left_s))

    def _answer_all(self, reason: str) -> None:
        self._jobs.take_unsent()
        for job in self._jobs.all():
            job.finish(frames.unanswered(job.id, "failed", reason))

    def _end_worker(self, intent: Intent) -> None:
        self._intent = intent
        if self._worker:
            self._worker.end()
