"""Offers the engine to the rest of the daemon: requests, the model in use, switching and unloading.

Owned by the event loop. A model that has been idle for long is unloaded, and loaded again when a
client needs it.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

from llmd.config import Config, SamplingConfig
from llmd.engine import candidate_worker, messages
from llmd.engine.active_worker import ActiveWorker
from llmd.engine.cancel_flags import CancelFlags
from llmd.engine.messages import EngineState, Loaded
from llmd.engine.model_switch import ModelSwitch
from llmd.engine.report import SlotReport, SwitchView
from llmd.engine.requests import EngineRequest
from llmd.engine.supervisor import Supervisor
from llmd.engine.watchdog import watchdog
from llmd.postprocess.stop import StopRule
from llmd.processes import module_command
from llmd.prompt.build import Piece

WORKER = module_command("llmd.worker.main")

# How much longer than its time limit a request may take before it is cancelled from outside.
GRACE_MS = 500


class EngineClient:
    def __init__(
        self,
        config: Config,
        command: Sequence[str] = WORKER,
        on_change: Callable[[], None] = lambda: None,
        has_room: Callable[[Path, Loaded], bool] = candidate_worker.has_room,
    ) -> None:
        """Starts without a worker; `run` loads the model.

        `on_change` is called when the state, its reason or the share loaded has changed.
        `has_room` tells whether another model can be loaded beside the loaded one.
        """
        self._on_change = on_change
        self._ids = itertools.count(1)
        self._flags = CancelFlags()
        self._suspended = ""  # why no model may be loaded; empty: one may
        self._active = ActiveWorker(self._changed)
        self._requests = self._active.requests
        self.file_has_changed = self._active.file_has_changed
        self.set_parking = self._active.set_parking
        self._supervisor = Supervisor(config, command, self._flags, self._active)
        self._switch = ModelSwitch(
            command, self._flags, self._active, self._supervisor, on_change, has_room
        )

    # -- what the daemon shows

    @property
    def state(self) -> EngineState:
        return self._active.state

    @property
    def reason(self) -> str:
        """Returns why the engine is in this state; may be empty."""
        return self._active.reason

    @property
    def info(self) -> Loaded | None:
        """Returns what is known of the loaded model; None while none is loaded."""
        return self._active.info

    @property
    def loaded_share(self) -> float:
        return self._active.loaded_share

    @property
    def config(self) -> Config:
        """Returns the configuration that is loaded or will be. During a switch, and after a failed
        one, the old configuration."""
        return self._supervisor.config

    @property
    def switch(self) -> SwitchView:
        return self._switch.view

    @property
    def worker_pid(self) -> int | None:
        return self._active.worker_pid

    @property
    def notice(self) -> str:
        """Returns one sentence for the user about the model in use, or an empty text."""
        if self.switch.state == "failed":
            return f"{self.switch.reason}; `{self.config.model}` stays in use"
        return self._active.notice

    def slots(self) -> tuple[SlotReport, ...]:
        """Lists the slots as they were after the latest request, the resident one first."""
        if self.info is None:
            return ()
        n_ctx = self.info.n_ctx
        return tuple(
            SlotReport(slot.id, slot.n_cells, n_ctx, slot.resident, slot.parked_bytes)
            for slot in self._active.slots
        )

    # -- requests

    def add_request(
        self,
        pieces: Callable[[Loaded], tuple[Piece, ...]],
        stop: StopRule,
        sampling: SamplingConfig,
        *,
        slot: int = 0,
        background: bool = False,
        is_prefill: bool = False,
        alternative: int = 0,
        wants_tokens: bool = False,
    ) -> EngineRequest:
        """Submits a request. While a model loads, the request waits for it.

        A background request is cancelled by any other request and by a newer background one. It
        finishes at once as cancelled where it would have to wait, load the model, or keep an idle
        model loaded.
        """
        id_ = next(self._ids)

        def build_message(model: Loaded) -> messages.Generate:
            options = slot, background, is_prefill, alternative, wants_tokens
            return messages.Generate(id_, pieces(model), stop, sampling, *options)

        on_cancel = self._active.activity.set
        request = EngineRequest(id_, self._flags, build_message, on_cancel, slot, background)
        if background and not (self.state == "ready" and self._requests.is_idle()):
            request.cancel()
            return request
        self._requests.cancel_background(slot)
        self._requests.add(request)
        if not background and self.state != "ready":
            self.wake()
        self._active.send_or_queue(request)
        if not background:  # after sending, so that the worker does not wait for it
            _cancel_after(request, stop.deadline_ms + GRACE_MS)
            self._active.touch()
        return request

    def forget(self, slot: int) -> None:
        """Ends the work for a slot whose document was closed, and drops its KV cells."""
        self._requests.end_background(slot)
        self._active.forget(slot)

    # -- the model

    async def run(self) -> None:
        """Keeps a worker alive until cancelled."""
        ticking = asyncio.create_task(watchdog(self._active, self._supervisor))
        try:
            await self._supervisor.run()
        finally:
            ticking.cancel()
            self._switch.cancel()
            self._requests.fail_all("The daemon is stopping")

    def wake(self) -> None:
        """Prepares for a request that is about to come: loads an unloaded model, and looks again
        for a missing one."""
        self._active.touch()
        if (self.state == "unloaded" and not self._suspended) or self._supervisor.model_has_come():
            self._active.load()
        self._supervisor.wake()

    def suspend(self, reason: str) -> None:
        """Unloads the model, and loads none until `resume`."""
        self._suspended = reason
        if self.state in ("ready", "loading"):
            self._requests.fail_all(reason)
            self._active.unload(reason)

    def resume(self) -> None:
        """Lets the next request load the model again."""
        if self._suspended and self.state == "unloaded":
            self._active.unload()
        self._suspended = ""

    def restart(self) -> None:
        """Ends the worker and starts a new one, also after a failure."""
        self._suspended = ""
        self._supervisor.restart_worker("restart")

    def configure(self, config: Config, reload: bool) -> None:
        """Applies `config`: switches to another model, or restarts the worker, where `reload` says
        that the loaded model does not fit any more."""
        self._active.activity.set()  # the time until an idle unload may have changed
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
            self._supervisor.on_loaded()
            self._switch.on_loaded()
        self._on_change()


def _cancel_after(request: EngineRequest, timeout_ms: int) -> None:
    timer = asyncio.get_running_loop().call_later(timeout_ms / 1e3, request.cancel)
    request.finished.add_done_callback(lambda _: timer.cancel())
