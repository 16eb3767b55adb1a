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

from llmd.config import Config, Sampling
from llmd.engine import candidate, messages
from llmd.engine.active_worker import Current, State
from llmd.engine.cancel_flags import CancelFlags
from llmd.engine.messages import Loaded
from llmd.engine.model_switch import Switch, SwitchView
from llmd.engine.requests import Job
from llmd.engine.supervisor import Life, tick
from llmd.postprocess.stop import StopRule
from llmd.prompt.build import Piece

WORKER = (sys.executable, "-m", "llmd.worker.main")

# How much longer than the deadline the worker may take before its asker is answered without it.
GRACE_MS = 500


class EngineService:
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
        self._held = ""  # why no model may be loaded now
        self._current = Current(self._changed)
        self._jobs = self._current.jobs
        self._life = Life(config, command, self._flags, self._current)
        self._switch = Switch(command, self._flags, self._current, self._life, on_change, has_room)

    # -- what there is to see

    @property
    def state(self) -> State:
        return self._current.state

    @property
    def reason(self) -> str:
        """Of the state; may be empty."""
        return self._current.reason

    @property
    def info(self) -> Loaded | None:
        """What is loaded."""
        return self._current.info

    @property
    def loaded_share(self) -> float:
        return self._current.loaded_share

    @property
    def config(self) -> Config:
        """What is loaded, or will be: during a switch, and after one that failed, the old one."""
        return self._life.config

    @property
    def switch(self) -> SwitchView:
        return self._switch.view

    @property
    def worker_pid(self) -> int | None:
        return self._current.worker_pid

    @property
    def notice(self) -> str:
        """One sentence about the model in use, or empty."""
        if self.switch.state == "failed":
            return f"{self.switch.reason}; `{self.config.model}` stays in use"
        return self._current.notice

    def file_has_changed(self) -> bool:
        """Whether what is loaded is no longer what its file holds."""
        return self._current.file_has_changed()

    def slots(self) -> list[dict[str, int]]:
        """Whose cells there are, after the latest request: in the KV cache or parked in memory,
        then with the bytes that this takes."""
        return self._current.slots_shown()

    # -- requests

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
        alternative: int = 0,
    ) -> Job:
        """Asks the engine; while the model loads the request waits for it, up to its deadline.

        Work in the background makes way for any request and for newer such work. It is refused,
        that is finished as cancelled, where it would wait, wake the model or keep it awake.
        """
        id_ = next(self._ids)

        def make(model: Loaded) -> messages.Infer:
            asked = slot, background, is_prefill, alternative
            return messages.Infer(id_, pieces(model), stop, sampling, *asked)

        job = Job(id_, self._flags, make, on_partial, slot, background)
        if background and not (self.state == "ready" and self._jobs.is_free()):
            job.finish(messages.unanswered(id_, "cancelled"))
            return job
        self._jobs.make_way(slot)
        self._jobs.add(job)
        if not background and self.state != "ready":
            self.wake()
        self._current.send_or_keep(job)
        if not background:  # what can wait comes while the worker is at it
            _answer_in_time(job, stop.deadline_ms)
            self.wake()
        return job

    def forget(self, slot: int) -> None:
        """The document of the slot was closed."""
        self._jobs.end_background(slot)
        self._current.forget(slot)

    def keep_parked(self, keep: bool) -> None:
        """Whether the worker keeps cells of documents that one is not in."""
        self._current.keep_parked(keep)

    # -- the model

    async def run(self) -> None:
        """Keeps a worker alive until cancelled."""
        ticking = asyncio.create_task(tick(self._current, self._life))
        try:
            await self._life.run()
        finally:
            ticking.cancel()
            self._switch.end()
            self._jobs.fail_all("The daemon is stopping")

    def wake(self) -> None:
        """Somebody is about to ask: an unloaded model is loaded, a missing one looked for."""
        self._current.used_s = time.monotonic()
        if (self.state == "unloaded" and not self._held) or self._life.model_has_come():
            self._current.become("loading")
        self._life.wake()
        self._current.moved.set()

    def hold(self, reason: str) -> None:
        """Unloads the model, and loads none until `release`."""
        self._held = reason
        if self.state in ("ready", "loading"):
            self._jobs.fail_all(reason)
            self._current.unload(reason)

    def release(self) -> None:
        """The next request loads the model again."""
        if self._held and self.state == "unloaded":
            self._current.become("unloaded")
        self._held = ""

    def restart(self) -> None:
        """Ends the worker and starts a new one, also after a failure."""
        self._held = ""
        self._life.begin_anew("restart")

    def configure(self, config: Config, reload: bool) -> None:
        """Another model is switched to; with any other change the worker is started anew."""
        self._current.moved.set()
        if self._switch.is_under_way_to(config):
            return
        self._switch.end()
        if reload and self.state == "ready" and config.model != self.config.model:
            self._switch.begin(config)
            return
        self._switch.forget()
        self._life.set_next(config)
        if reload:
            self.restart()

    def _changed(self) -> None:
        if self.state == "ready":
            self._switch.loaded()
        self._on_change()


def _answer_in_time(job: Job, deadline_ms: int) -> None:
    timer = asyncio.get_running_loop().call_later(
        (deadline_ms + GRACE_MS) / 1e3, job.cancel, "deadline"
    )
    job.answered.add_done_callback(lambda _: timer.cancel())
