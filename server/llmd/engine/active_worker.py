"""Holds the worker in use: its state, its model, and the requests that are in flight.

The engine's state changes in `ActiveWorker` only. Owned by the event loop.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Literal

from llmd.engine import messages
from llmd.engine.messages import EngineState, Loaded, SlotView
from llmd.engine.process import WorkerProcess
from llmd.engine.requests import EngineRequest, RequestTable
from llmd.errors import ModelError

# Why a healthy worker is ended.
StopIntent = Literal["", "restart", "unload", "stuck", "switch"]

_log = logging.getLogger("llmd.engine")


class ActiveWorker:
    """Tracks the worker in use, its model and its requests.

    `info` and `slots` describe the loaded model; `worker` is set from the process's start.
    """

    def __init__(self, on_change: Callable[[], None]) -> None:
        self.state: EngineState = "loading"
        self.reason = ""
        self.info: Loaded | None = None
        self.loaded_share = 0.0
        self.slots: tuple[SlotView, ...] = ()
        self.requests = RequestTable()
        self.worker: WorkerProcess | None = None
        self.stop_intent: StopIntent = ""
        # Wakes the watchdog: a new state, a new worker, a cancelled request.
        self.activity = asyncio.Event()
        self.silent_s = 0  # seconds in which the worker should have sent something and did not
        self.used_s = time.monotonic()
        self._on_change = on_change

    @property
    def worker_pid(self) -> int | None:
        return self.worker.pid if self.worker else None

    @property
    def notice(self) -> str:
        """Returns one sentence for the user about the model, or an empty text."""
        if self.info is None or self.worker is None:
            return ""
        if not self.worker.file_has_changed():
            return self.info.notice
        subject = f"Model file `{self.worker.path}`"
        if not self.worker.path.exists():
            return f"{subject} is gone; the loaded model stays in use, but cannot be loaded again"
        return f"{subject} has changed since it was loaded; run `llmd restart` to load it again"

    def file_has_changed(self) -> bool:
        """Returns whether the model file has changed since it was loaded."""
        return self.worker is not None and self.worker.file_has_changed()

    # -- state

    def load(self, reason: str = "") -> None:
        """Enters `loading`; `reason` says what takes time where that is not the load itself."""
        self._set_state("loading", reason)

    def unload(self, reason: str = "") -> None:
        self._set_state("unloaded", reason)
        self.end("unload")

    def fail(self, reason: str) -> None:
        """Enters `failed`, and fails every request."""
        self._set_state("failed", reason)
        self.requests.fail_all(reason)

    def attach(self, worker: WorkerProcess) -> None:
        """Begins the life of a worker."""
        self.worker = worker
        self.silent_s = 0
        self.activity.set()

    def detach(self) -> None:
        """Ends the life of the worker: its process is gone."""
        self.info = self.worker = None

    def reset(self) -> None:
        """Forgets how the previous worker was ended and how far its model was loaded."""
        self.stop_intent, self.loaded_share = "", 0.0
        self.load()

    def end(self, intent: StopIntent) -> None:
        """Kills the worker's process, if there is one; `detach` follows."""
        self.stop_intent = intent
        if self.worker:
            self.worker.end()

    def touch(self) -> None:
        """Records that the model is in use, so that it is not unloaded as idle."""
        self.used_s = time.monotonic()

    def _set_state(self, state: EngineState, reason: str = "") -> None:
        self.state, self.reason = state, reason
        self.activity.set()
        self._on_change()

    # -- requests and messages

    def send_or_queue(self, request: EngineRequest) -> None:
        """Sends the request, or leaves it queued until a model is loaded. A request that no worker
        will take fails."""
        if self.state == "ready" and self.info and self.worker:
            self.worker.send(request.build_message(self.info))
            request.state = "running"
        elif self.state != "loading":
            request.finish(messages.empty_done(request.id, "failed", self.reason))

    def forget(self, slot: int) -> None:
        """Drops the KV cells of a slot whose document was closed."""
        self.slots = tuple(view for view in self.slots if view.id != slot)
        if self.state == "ready" and self.worker:
            self.worker.send(messages.Forget(slot))

    def set_parking(self, keep: bool) -> None:
        """Sets whether the worker keeps the KV cells of documents other than the active one."""
        self.slots = self.slots if keep else self.slots[:1]
        if self.state == "ready" and self.worker:
            self.worker.send(messages.DropParked(keep))

    def on_message(self, message: messages.FromWorker) -> None:
        """Handles one message of the worker.

        Raises:
            ModelError: the model could not be loaded.
        """
        self.silent_s = 0
        match message:
            case messages.Partial():
                self.requests.receive(message)
            case messages.Done():
                if message.error:
                    _log.error("%s", message.error)
                self.slots = message.slots or self.slots
                self.requests.finish(message)
            case messages.Loading(share=share):
                self.loaded_share = share
                self._on_change()
            case messages.Loaded() if not self.stop_intent:
                self._on_loaded(message)
            case messages.LoadFailed(reason=reason):
                raise ModelError(reason)

    def _on_loaded(self, info: Loaded) -> None:
        self.info = info
        if self.worker:
            self.worker.forget_output()  # of attempts that ran out of memory
        self.slots = (SlotView(0, 0, resident=True),)
        self.used_s = time.monotonic()
        self._set_state("ready")
        for request in self.requests.queued():
            self.send_or_queue(request)
