"""The daemon's side of the engine: what the rest of the daemon asks of it.

The event loop owns all of this. A model that nobody has asked for long is unloaded, and loaded
again when somebody comes.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from llmd.config import Config, SamplingConfig
from llmd.engine import candidate, messages
from llmd.engine.active_worker import ActiveWorker, EngineState
from llmd.engine.cancel_flags import CancelFlags
from llmd.engine.messages import Loaded
from llmd.engine.model_switch import ModelSwitch, SwitchView
from llmd.engine.requests import Job
from llmd.engine.supervisor import Supervisor, watchdog
from llmd.postprocess.stop import StopRule
from llmd.prompt.build import Piece

WORKER = (sys.executable, "-m", "llmd.worker.main")

# How much longer than the deadline the worker may take before its asker is answered without it.
GRACE_MS = 500


class EngineClient:
    def __init__(
        self,
        config: Config,
        command: Sequence[str] = WORKER,
        on_change: Callable[[], None] = lambda: None,
        has_room: Callable[[Path, Loaded], bool] = candidate.has_room,
    ) -> None:
        """`on_change` is called when the state, its reason or the share loaded has changed.
        `has_room`: whether another model can be loaded while that one stays."""
        self._on_change = on_change
        self._ids = itertools.count(1)
        self._flags = CancelFlags()
        self._suspended = ""  # why no model may be loaded now
        self._active = ActiveWorker(self._changed)
        self._jobs = self._active.jobs
        self._supervisor = Supervisor(config, command, self._flags, self._active)
        self._switch = ModelSwitch(
            command, self._flags, self._active, self._supervisor, on_change, has_room
        )

    # -- what there is to see

    @property
    def state(self) -> EngineState:
        return self._active.state

    @property
    def reason(self) -> str:
        """Of the state; may be empty."""
        return self._active.reason

    @property
    def info(self) -> Loaded | None:
        """What is loaded."""
        return self._active.info

    @property
    def loaded_share(self) -> float:
        return self._active.loaded_share

    @property
    def config(self) -> Config:
        """What is loaded, or will be: during a switch, and after one that failed, the old one."""
        return self._supervisor.config

    @property
    def switch(self) -> SwitchView:
        return self._switch.view

    @property
    def worker_pid(self) -> int | None:
        return self._active.worker_pid

    @property
    def notice(self) -> str:
        """One sentence about the model in use, or empty."""
        if self.switch.state == "failed":
            return f"{self.switch.reason}; `{self.config.model}` stays in use"
        return self._active.notice

    def file_has_changed(self) -> bool:
        """Whether what is loaded is no longer what its file holds."""
        return self._active.file_has_changed()

    def slots(self) -> list[dict[str, int]]:
        """Whose cells there are, after the latest request: in the KV cache or parked in memory,
        then with the bytes that this takes."""
        return self._active.slots_shown()

    # -- requests

    def add_request(
        self,
        pieces: Callable[[Loaded], tuple[Piece, ...]],
        stop: StopRule,
        sampling: SamplingConfig,
        on_partial: Callable[[str], None] | None = None,
        *,
        slot: int = 0,
        background: bool = False,
        is_prefill: bool = False,
        alternative: int = 0,
    ) -> Job:
        """Asks the engine; while the model loads the request waits for it, up to its deadline.

        Work in the background makes way for any request and for newer such work. It is refused,
        that is finished as cancelled, where it would wait, wake the model or keep it awake.
        """
        id_ = next(self._ids)

        def make(model: Loaded) -> messages.Generate:
            asked = slot, background, is_prefill, alternative
            return messages.Generate(id_, pieces(model), stop, sampling, *asked)

        job = Job(id_, self._flags, make, on_partial, slot, background)
        if background and not (self.state == "ready" and self._jobs.is_free()):
            job.finish(messages.empty_done(id_, "cancelled"))
            return job
        self._jobs.make_way(slot)
        self._jobs.add(job)
        if not background and self.state != "ready":
            self.wake()
        self._active.send_or_keep(job)
        if not background:  # what can wait comes while the worker is at it
            _answer_in_time(job, stop.deadline_ms)
            self.wake()
        return job

    def forget(self, slot: int) -> None:
        """The document of the slot was closed."""
        self._jobs.end_background(slot)
        self._active.forget(slot)

    def set_parking(self, keep: bool) -> None:
        """Whether the worker keeps cells of documents that one is not in."""
        self._active.set_parking(keep)

    # -- the model

    async def run(self) -> None:
        """Keeps a worker alive until cancelled."""
        ticking = asyncio.create_task(watchdog(self._active, self._supervisor))
        try:
            await self._supervisor.run()
        finally:
            ticking.cancel()
            self._switch.cancel()
            self._jobs.fail_all("The daemon is stopping")

    def wake(self) -> None:
        """Somebody is about to ask: an unloaded model is loaded, a missing one looked for."""
        self._active.used_s = time.monotonic()
        if (self.state == "unloaded" and not self._suspended) or self._supervisor.model_has_come():
            self._active.set_state("loading")
        self._supervisor.wake()
        self._active.state_changed.set()

    def suspend(self, reason: str) -> None:
        """Unloads the model, and loads none until `release`."""
        self._suspended = reason
        if self.state in ("ready", "loading"):
            self._jobs.fail_all(reason)
            self._active.unload(reason)

    def resume(self) -> None:
        """The next request loads the model again."""
        if self._suspended and self.state == "unloaded":
            self._active.set_state("unloaded")
        self._suspended = ""

    def restart(self) -> None:
        """Ends the worker and starts a new one, also after a failure."""
        self._suspended = ""
        self._supervisor.restart_worker("restart")

    def configure(self, config: Config, reload: bool) -> None:
        """Another model is switched to; with any other change the worker is started anew."""
        self._active.state_changed.set()
        if self._switch.is_switching_to(config):
            return
        self._switch.cancel()
        if reload and self.state == "ready" and config.model != self.config.model:
            self._switch.start(config)
            return
        self._switch.forget()
        self._supervisor.set_next(config)
        if reload:
            self.restart()

    def _changed(self) -> None:
        if self.state == "ready":
            self._switch.on_loaded()
        self._on_change()


def _answer_in_time(job: Job, deadline_ms: int) -> None:
    timer = asyncio.get_running_loop().call_later(
        (deadline_ms + GRACE_MS) / 1e3, job.cancel, "deadline"
    )
    job.answered.add_done_callback(lambda _: timer.cancel())
