"""Starts one worker after another, and decides what follows from the end of each.

A worker that dies costs the requests that it was working on: each is answered once, empty, and a
new worker is started. Owned by the event loop.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from llmd.config import Config
from llmd.engine.active_worker import ActiveWorker
from llmd.engine.cancel_flags import CancelFlags
from llmd.engine.candidate_worker import CandidateWorker
from llmd.engine.messages import EngineState
from llmd.engine.process import WorkerProcess, load_message
from llmd.errors import EngineError, ModelError, error_location
from llmd.models.pull.staging import is_being_pulled
from llmd.models.resolve import ResolvedModel, model_path, resolve_model

# A worker that dies this often within the time is not restarted automatically.
MAX_DEATHS = 5
DEATHS_WITHIN_S = 60.0

PULL_POLL_S = 1.0
SPAWN_PAUSE_S, MAX_SPAWN_PAUSE_S = 1.0, 30.0
TRY_AGAIN = "`llmd restart` tries again"
RESTARTING = "The engine is restarting"
SWITCHING = "The model is being switched"

_log = logging.getLogger("llmd.engine")


@dataclass(frozen=True, slots=True)
class Rollback:
    """Names the configuration to return to if the next model does not load; `on_failure` gets the
    reason."""

    config: Config
    on_failure: Callable[[str], None]


class Supervisor:
    """Runs one worker after another.

    `config` is what the current or the next worker loads.
    """

    def __init__(
        self, config: Config, command: Sequence[str], flags: CancelFlags, active: ActiveWorker
    ) -> None:
        self.config = config
        self._command = command
        self._flags = flags
        self._active = active
        self._wake = asyncio.Event()
        self._deaths_s: deque[float] = deque(maxlen=MAX_DEATHS)
        self._is_missing = False
        self._n_unstarted = 0  # tries in a row that made no process
        self._n_shrunk = 0  # how often memory ran out, in a load or later
        self._candidate: CandidateWorker | None = None  # loaded, to be the next worker
        self._rollback: Rollback | None = None

    async def run(self) -> None:
        """Keeps a worker alive until cancelled."""
        while True:
            try:
                await self._run_worker()
            except Exception as error:  # a defect is reported, and ends nothing else
                _log.error("The engine failed at %s", error_location(error))
                await self._fail(f"The engine failed ({type(error).__name__}); {TRY_AGAIN}")

    def wake(self) -> None:
        """Checks again whether the state that is waited in is over."""
        self._wake.set()

    def restart_worker(self, intent: Literal["restart", "switch"]) -> None:
        """Ends the worker and starts a new one, also after a failure."""
        self._n_shrunk = self._n_unstarted = 0
        self._deaths_s.clear()
        self._active.load()
        self._active.end(intent)
        self._wake.set()

    def set_next(
        self,
        config: Config,
        candidate: CandidateWorker | None = None,
        rollback: Rollback | None = None,
    ) -> None:
        """Sets what the next worker loads; a `candidate` has loaded it already."""
        self.config, self._candidate, self._rollback = config, candidate, rollback

    def is_trying(self, config: Config) -> bool:
        """Returns whether `config` is being loaded in the place of another."""
        return self._rollback is not None and self.config == config

    def on_loaded(self) -> None:
        """Handles that a model has been loaded: there is no rollback from it."""
        self._rollback = None

    def drop_candidate(self) -> None:
        if candidate := self._candidate:
            self._candidate = None
            candidate.worker.end()

    def model_has_come(self) -> bool:
        """Returns whether a model that was missing is there, or is being pulled."""
        is_missing = self._active.state == "failed" and self._is_missing
        return is_missing and (self._can_find_model() or is_being_pulled())

    async def _run_worker(self) -> None:
        """Runs one worker from its start to its end, and handles the end."""
        self._wake.clear()
        self._active.reset()
        try:
            model = resolve_model(self.config.model)
        except ModelError as error:
            if not self._roll_back(str(error)):
                await self._wait_for_model(str(error))
            return
        is_final = False
        try:
            reason = await self._run_process(model)
        except EngineError as error:
            reason = str(error)
        except OSError as error:  # no descriptors, no memory, no interpreter any more
            reason = f"The engine worker cannot be started: {error.strerror}"
            self._n_unstarted += 1
            if not self._active.stop_intent:
                if not self._roll_back(reason):
                    await self._wait_to_start(reason)
                return
        except ModelError as error:
            reason, is_final = str(error), True
        if self._active.stop_intent in ("restart", "unload", "switch"):
            await self._handle_requested_stop()
        elif not self._roll_back(reason):
            await self._handle_exit(reason, is_final)

    async def _wait_to_start(self, reason: str) -> None:
        """Waits before the next try to start a process, each time longer. Nothing has ended, so
        that this does not count as a death."""
        _log.error("%s", reason)
        self._active.requests.fail_all(reason)
        self._active.load(reason)
        with suppress(TimeoutError):  # of a restart
            await asyncio.wait_for(self._wake.wait(), spawn_pause_s(self._n_unstarted))

    async def _handle_exit(self, reason: str, is_final: bool) -> None:
        _log.error("%s", reason)
        self._active.requests.fail_all(reason)
        self._deaths_s.append(time.monotonic())
        deaths_s = self._deaths_s
        if len(deaths_s) == MAX_DEATHS and deaths_s[-1] - deaths_s[0] < DEATHS_WITHIN_S:
            reason += f"; it ended {MAX_DEATHS} times within {DEATHS_WITHIN_S:.0f} s, {TRY_AGAIN}"
            is_final = True
        if is_final:
            await self._fail(reason)

    async def _run_process(self, model: ResolvedModel) -> str:
        """Runs the candidate, or a new process, until it ends. Returns how it ended.

        Raises:
            ModelError: the model could not be loaded.
            EngineError: the worker sent an invalid message.
            OSError: no process could be made.
        """
        active = self._active
        candidate, self._candidate = self._candidate, None
        worker = candidate.worker if candidate else None
        worker = worker or WorkerProcess(self._command, self._flags, model.path)
        active.attach(worker)
        try:
            if candidate:
                how = await candidate.adopt(active.on_message)
            else:
                load = load_message(self.config, model, self._n_shrunk)
                how = await worker.run(load, active.on_message)
            self._n_unstarted = 0
            is_killed = active.state == "loading" and worker.exit_code == -signal.SIGKILL
            if (is_killed or worker.ran_out_of_memory) and not active.stop_intent:
                self._n_shrunk += 1
        finally:
            active.detach()
        if active.stop_intent == "stuck":
            return f"The engine worker sent nothing for {active.silent_s} s and was ended"
        return how

    def _roll_back(self, reason: str) -> bool:
        """Returns to the previous model if another was to be loaded in its place and could not be.
        Returns whether that was so."""
        if self._rollback is None:
            return False
        rollback, self._rollback = self._rollback, None
        self.config, self._n_shrunk = rollback.config, 0
        rollback.on_failure(reason)
        return True

    async def _handle_requested_stop(self) -> None:
        """Fails what the old worker had received; queued requests wait for the new one."""
        is_switch = self._active.stop_intent == "switch"
        self._n_shrunk = 0  # the memory may be there again at the next load
        self._active.requests.fail_sent(SWITCHING if is_switch else RESTARTING)
        await self._wait_while("unloaded")

    async def _fail(self, reason: str) -> None:
        """Stays in `failed` until `restart_worker`: another try would fail again."""
        self._active.fail(reason)
        await self._wait_while("failed")

    async def _wait_while(self, state: EngineState) -> None:
        while self._active.state == state:
            self._wake.clear()
            await self._wake.wait()

    async def _wait_for_model(self, reason: str) -> None:
        """Waits until the model's file exists: looks at each request, and while it is pulled."""
        _log.error("%s", reason)
        self._is_missing = True
        while is_being_pulled():
            self._active.load("The model is being pulled")
            await asyncio.sleep(PULL_POLL_S)
        if not self._can_find_model():
            await self._fail(reason)
        self._is_missing = False

    def _can_find_model(self) -> bool:
        try:
            return model_path(self.config.model).exists()
        except ModelError:
            return False


def spawn_pause_s(n_unstarted: int) -> float:
    """Returns the pause before the next try to start a process, after so many in a row."""
    return float(min(SPAWN_PAUSE_S * 2 ** min(n_unstarted - 1, 16), MAX_SPAWN_PAUSE_S))
