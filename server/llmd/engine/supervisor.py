"""One worker after the other, and what follows from the end of each.

A worker that dies costs the requests it was at: each is answered once, empty, and a new worker is
started. Owned by the event loop.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from llmd.config import Config
from llmd.engine import messages
from llmd.engine.active_worker import ActiveWorker, EngineState
from llmd.engine.cancel_flags import CancelFlags
from llmd.engine.candidate import CandidateWorker
from llmd.engine.process import KILLED, WorkerProcess, load_message
from llmd.errors import EngineError, ModelError, place_of
from llmd.models.pull.presence import is_being_pulled
from llmd.models.resolve import ResolvedModel, model_path, resolve_model

# A worker that dies this often within the time is not started again by itself.
MAX_DEATHS = 5
DEATHS_WITHIN_S = 60.0

PULL_POLL_S = 1.0
SPAWN_PAUSE_S = 1.0
TRY_AGAIN = "`llmd restart` tries again"
RESTARTING = "The engine is restarting"
SWITCHING = "The model is being switched"

_log = logging.getLogger("llmd.engine")


@dataclass(frozen=True, slots=True)
class Rollback:
    """To the model before, should the next one not load; `tell` is told why it did not."""

    config: Config
    tell: Callable[[str], None]


class Supervisor:
    def __init__(
        self, config: Config, command: Sequence[str], flags: CancelFlags, current: ActiveWorker
    ) -> None:
        self.config = config
        self._command = command
        self._flags = flags
        self._active = current
        self._wake = asyncio.Event()
        self._deaths_s: deque[float] = deque(maxlen=MAX_DEATHS)
        self._is_missing = False
        self._n_shrunk = 0  # how often a load was killed, as the kernel does for memory
        self._candidate: CandidateWorker | None = None  # loaded, to be the next worker
        self._rollback: Rollback | None = None

    async def run(self) -> None:
        """Keeps a worker alive until cancelled."""
        while True:
            try:
                await self._run_worker()
            except Exception as error:  # what must not happen is told, and ends nothing else
                _log.error("The engine failed at %s", place_of(error))
                await self._fail(f"The engine failed ({type(error).__name__}); {TRY_AGAIN}")

    def wake(self) -> None:
        """Looks again whether there is a state to leave."""
        self._wake.set()

    def restart_worker(self, intent: Literal["restart", "switch"]) -> None:
        """Ends the worker and starts a new one, also after a failure."""
        self._n_shrunk = 0
        self._deaths_s.clear()
        self._active.set_state("loading")
        self._active.end(intent)
        self._wake.set()

    def set_next(
        self, config: Config, beside: CandidateWorker | None = None, back: Rollback | None = None
    ) -> None:
        """What the next worker loads, or has loaded already."""
        self.config, self._candidate, self._rollback = config, beside, back

    def is_trying(self, config: Config) -> bool:
        """Whether it is being loaded in the place of another."""
        return self._rollback is not None and self.config == config

    def drop_candidate(self) -> None:
        if new := self._candidate:
            self._candidate = None
            new.worker.end()

    def model_has_come(self) -> bool:
        """Whether one that was missing is there, or on its way."""
        is_missing = self._active.state == "failed" and self._is_missing
        return is_missing and (self._can_find_model() or is_being_pulled())

    async def _run_worker(self) -> None:
        """One worker from its start to its death, and what follows from it."""
        current = self._active
        current.stop_intent, current.loaded_share = "", 0.0
        self._wake.clear()
        current.set_state("loading")
        try:
            laid = resolve_model(self.config.model)
        except ModelError as error:
            if self._roll_back(str(error)):
                return None
            return await self._wait_for_model(str(error))
        is_final = False
        try:
            reason = await self._worker_life(laid)
        except EngineError as error:
            reason = str(error)
        except OSError as error:  # no descriptors, no processes, no interpreter any more
            reason = f"The engine worker cannot be started: {error.strerror}"
            await asyncio.sleep(SPAWN_PAUSE_S)
        except ModelError as error:
            reason, is_final = str(error), True
        if current.stop_intent in ("restart", "unload", "switch"):
            return await self._handle_requested_stop()
        if self._roll_back(reason):
            return None
        return await self._handle_exit(reason, is_final)

    async def _handle_exit(self, reason: str, is_final: bool) -> None:
        _log.error("%s", reason)
        self._active.jobs.fail_all(reason)
        self._deaths_s.append(time.monotonic())
        if self._died_too_often():
            reason += f"; it ended {MAX_DEATHS} times within {DEATHS_WITHIN_S:.0f} s, {TRY_AGAIN}"
            is_final = True
        if is_final:
            await self._fail(reason)

    def _died_too_often(self) -> bool:
        deaths_s = self._deaths_s
        return len(deaths_s) == MAX_DEATHS and deaths_s[-1] - deaths_s[0] < DEATHS_WITHIN_S

    async def _worker_life(self, laid: ResolvedModel) -> str:
        """Returns how the worker ended.

        Raises:
            ModelError: the model could not be loaded.
            EngineError: the worker sent nonsense.
            OSError: no process could be made.
        """
        current = self._active
        new, self._candidate = self._candidate, None
        worker = new.worker if new else WorkerProcess(self._command, self._flags, laid.path)
        current.attach(worker)
        try:
            if new:
                how = await new.adopt(self._on_message)
            else:
                how = await worker.run(
                    load_message(self.config, laid, self._n_shrunk), self._on_message
                )
                if current.state == "loading" and KILLED in how and not current.stop_intent:
                    self._n_shrunk += 1
        finally:
            current.info = current.worker = None
        if current.stop_intent == "stuck":
            return f"The engine worker said nothing for {current.silent_s} s and was ended"
        return how

    def _on_message(self, frame: messages.FromWorker) -> None:
        if isinstance(frame, messages.Loaded) and not self._active.stop_intent:
            self._rollback = None
        self._active.on_message(frame)

    def _roll_back(self, reason: str) -> bool:
        """To the model before, where another was to be loaded in its place and could not."""
        if self._rollback is None:
            return False
        back, self._rollback = self._rollback, None
        self.config, self._n_shrunk = back.config, 0
        back.tell(reason)
        return True

    async def _handle_requested_stop(self) -> None:
        """Requests that came while the old worker ended wait for the new one."""
        is_switch = self._active.stop_intent == "switch"
        self._active.jobs.fail_sent(SWITCHING if is_switch else RESTARTING)
        await self._wait_while("unloaded")

    async def _fail(self, reason: str) -> None:
        """Until `restart`: asking again would fail again."""
        self._active.set_state("failed", reason)
        self._active.jobs.fail_all(reason)
        await self._wait_while("failed")

    async def _wait_while(self, state: EngineState) -> None:
        while self._active.state == state:
            self._wake.clear()
            await self._wake.wait()

    async def _wait_for_model(self, reason: str) -> None:
        """Until its file is there: looked for at each request, and while it is being pulled."""
        _log.error("%s", reason)
        self._is_missing = True
        while is_being_pulled():
            self._active.set_state("loading", "The model is being pulled")
            await asyncio.sleep(PULL_POLL_S)
        if not self._can_find_model():
            await self._fail(reason)
        self._is_missing = False

    def _can_find_model(self) -> bool:
        try:
            return model_path(self.config.model).exists()
        except ModelError:
            return False


# How long a worker that owes a word may say nothing before it counts as stuck.
STUCK_S = 10
LOAD_STUCK_S = 600  # a model that is read from a slow disk says nothing for minutes


async def watchdog(current: ActiveWorker, life: Supervisor) -> None:
    """Each second while the worker owes a word, else when it may be unloaded, else never."""
    while True:
        current.state_changed.clear()
        with suppress(TimeoutError):
            if _has_outstanding_work(current):
                await asyncio.sleep(1)
            else:
                await asyncio.wait_for(current.state_changed.wait(), _idle_left_s(current, life))
        current.silent_s = current.silent_s + 1 if is_unresponsive(current) else 0
        limit_s = LOAD_STUCK_S if current.state == "loading" else STUCK_S
        if current.silent_s >= limit_s:
            current.end("stuck")
        elif current.state == "ready" and not current.jobs and _idle_left_s(current, life) == 0:
            current.unload()


def is_unresponsive(current: ActiveWorker) -> bool:
    """A request counts once it has been answered without the worker."""
    is_late = current.state == "loading" or current.jobs.is_overdue()
    return _has_outstanding_work(current) and is_late


def _has_outstanding_work(current: ActiveWorker) -> bool:
    """A model, or the end of a request."""
    return current.worker_pid is not None and bool(current.state == "loading" or current.jobs)


def _idle_left_s(current: ActiveWorker, life: Supervisor) -> float | None:
    """None: never. Whole seconds, so that a clock's rounding does not spin."""
    after_s = life.config.engine.idle_unload_s
    if not after_s or current.state != "ready":
        return None
    left_s = current.used_s + after_s - time.monotonic()
    return max(0.0, math.ceil(left_s))
