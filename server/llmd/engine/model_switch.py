"""Another model in the place of the one in use: loaded beside it where there is room, else
instead of it. The old one goes on to be used, or comes back, where the new one does not load."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import msgspec

from llmd.config import Config
from llmd.engine.active_worker import ActiveWorker
from llmd.engine.cancel_flags import CancelFlags
from llmd.engine.candidate import CandidateWorker
from llmd.engine.messages import Loaded
from llmd.engine.process import load_message
from llmd.engine.supervisor import Rollback, Supervisor
from llmd.errors import EngineError, ModelError
from llmd.models.resolve import ResolvedModel, resolve_model

_log = logging.getLogger("llmd.engine")


class SwitchView(msgspec.Struct, frozen=True):
    """The latest change to another model. `state`: empty where it was done, or there was none."""

    model: str = ""
    state: Literal["", "loading", "failed"] = ""
    share: float = 0.0  # that is loaded
    reason: str = ""


class ModelSwitch:
    def __init__(
        self,
        command: Sequence[str],
        flags: CancelFlags,
        current: ActiveWorker,
        life: Supervisor,
        on_change: Callable[[], None],
        has_room: Callable[[Path, Loaded], bool],
    ) -> None:
        self.view = SwitchView()
        self._command = command
        self._flags = flags
        self._active = current
        self._supervisor = life
        self._on_change = on_change
        self._has_room = has_room
        self._target: Config | None = None  # of the switch that is under way
        self._task: asyncio.Task[None] | None = None

    def is_switching_to(self, config: Config) -> bool:
        """Beside the old model, or in its place."""
        return self._target == config or self._supervisor.is_trying(config)

    def start(self, config: Config) -> None:
        self._target, self.view = config, SwitchView(config.model, "loading")
        self._task = asyncio.create_task(self._switch_to(config))

    def cancel(self) -> None:
        """What was loaded beside is not wanted any more."""
        if self._task:
            self._task.cancel()
        self._task = self._target = None
        self._supervisor.drop_candidate()

    def forget(self) -> None:
        """There is nothing to tell of it any more."""
        self.view = SwitchView()

    def on_loaded(self) -> None:
        """A model has been, in the place of the old one or beside it."""
        if self.view.state == "loading" and self._target is None:
            self.forget()

    async def _switch_to(self, config: Config) -> None:
        """Until the new model is loaded, or will be loaded in the old one's place."""
        beside = back = None
        try:
            laid = resolve_model(config.model)
            if await self._fits_beside(config, laid):
                beside = await self._load_candidate(config, laid)
            else:
                back = Rollback(self._supervisor.config, partial(self._tell_failed, config))
        except (ModelError, EngineError, OSError) as error:
            self._target = None
            self._tell_failed(config, str(error))
            return
        self._target = None
        self._supervisor.set_next(config, beside, back)
        self._supervisor.restart_worker("switch")

    async def _fits_beside(self, config: Config, laid: ResolvedModel) -> bool:
        """Where both have room, and nothing but the model is to be another."""
        info = self._active.info
        has_room = info is not None and await asyncio.to_thread(self._has_room, laid.path, info)
        old = self._supervisor.config
        is_alike = (config.engine, config.kv, config.fim.order) == (
            old.engine, old.kv, old.fim.order
        )  # fmt: skip
        return has_room and is_alike

    async def _load_candidate(self, config: Config, laid: ResolvedModel) -> CandidateWorker:
        new = CandidateWorker(self._command, self._flags, laid.path, load_message(config, laid))
        try:
            await new.wait_loaded(partial(self._tell_share, config.model))
        except BaseException:
            await new.end()
            raise
        return new

    def _tell_share(self, model: str, share: float) -> None:
        self.view = SwitchView(model, "loading", share)

    def _tell_failed(self, config: Config, reason: str) -> None:
        _log.error("Model `%s` was not switched to: %s", config.model, reason)
        self.view = SwitchView(config.model, "failed", reason=reason)
        self._on_change()
