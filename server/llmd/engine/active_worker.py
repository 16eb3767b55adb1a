"""The worker in use: its state, what it says, and the requests that it is given.

Owned by the event loop.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Literal

from llmd.engine import messages
from llmd.engine.messages import Loaded, SlotView
from llmd.engine.process import WorkerProcess
from llmd.engine.requests import Job, Jobs
from llmd.errors import ModelError

EngineState = Literal["loading", "ready", "unloaded", "failed"]
# Why a worker ends although it is well.
StopIntent = Literal["", "restart", "unload", "stuck", "switch"]

_log = logging.getLogger("llmd.engine")


class ActiveWorker:
    """`info` and `slots` are of the model that is loaded; `worker` is there from its start on."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        self.state: EngineState = "loading"
        self.reason = ""
        self.info: Loaded | None = None
        self.loaded_share = 0.0
        self.slots: tuple[SlotView, ...] = ()
        self.jobs = Jobs()
        self.worker: WorkerProcess | None = None
        self.stop_intent: StopIntent = ""
        self.state_changed = asyncio.Event()  # wakes `ticks`
        self.silent_s = 0
        self.used_s = time.monotonic()
        self._on_change = on_change

    @property
    def worker_pid(self) -> int | None:
        return self.worker.pid if self.worker else None

    @property
    def notice(self) -> str:
        """One sentence about the model, or empty."""
        if self.info is None or self.worker is None:
            return ""
        if not self.worker.file_has_changed():
            return self.info.notice
        subject = f"Model file `{self.worker.path}`"
        if not self.worker.path.exists():
            return f"{subject} is gone; what was loaded goes on, a restart could not load it"
        return f"{subject} has changed since it was loaded; `llmd restart` loads it as it is now"

    def slots_shown(self) -> list[dict[str, int]]:
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
            for slot in self.slots
        ]

    def file_has_changed(self) -> bool:
        """Whether what is loaded is no longer what its file holds."""
        return self.worker is not None and self.worker.file_has_changed()

    def set_state(self, state: EngineState, reason: str = "") -> None:
        self.state, self.reason = state, reason
        self.state_changed.set()
        self._on_change()

    def attach(self, worker: WorkerProcess) -> None:
        self.worker = worker
        self.silent_s = 0
        self.state_changed.set()

    def end(self, intent: StopIntent) -> None:
        self.stop_intent = intent
        if self.worker:
            self.worker.end()

    def unload(self, reason: str = "") -> None:
        self.set_state("unloaded", reason)
        self.end("unload")

    def send_or_keep(self, job: Job) -> None:
        """A job that no worker will take is finished."""
        if self.state == "ready" and self.info and self.worker:
            self.worker.send(job.make(self.info))
        elif self.state == "loading":
            self.jobs.keep(job)
        else:
            job.finish(messages.empty_done(job.id, "failed", self.reason))

    def forget(self, slot: int) -> None:
        self.slots = tuple(view for view in self.slots if view.id != slot)
        if self.state == "ready" and self.worker:
            self.worker.send(messages.Forget(slot))

    def set_parking(self, keep: bool) -> None:
        self.slots = self.slots if keep else self.slots[:1]
        if self.state == "ready" and self.worker:
            self.worker.send(messages.DropParked(keep))

    def on_message(self, frame: messages.FromWorker) -> None:
        """
        Raises:
            ModelError: the frame says that the model could not be loaded.
        """
        self.silent_s = 0
        match frame:
            case messages.Partial():
                self.jobs.show(frame)
            case messages.Done():
                if frame.error:
                    _log.error("%s", frame.error)
                self.slots = frame.slots or self.slots
                self.jobs.finish(frame)
            case messages.Loading(share=share):
                self.loaded_share = share
                self._on_change()
            case messages.Loaded() if not self.stop_intent:
                self._on_loaded(frame)
            case messages.LoadFailed(reason=reason):
                raise ModelError(reason)

    def _on_loaded(self, info: Loaded) -> None:
        self.info = info
        self.slots = (SlotView(0, 0, resident=True),)
        self.used_s = time.monotonic()
        self.set_state("ready")
        for job in self.jobs.take_unsent():
            self.send_or_keep(job)
