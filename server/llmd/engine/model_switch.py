"""Switches to another model: loads it beside the model in use if both fit, otherwise in its place.

If the new model does not load, the old model stays in use or comes back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from llmd.config import Config
from llmd.engine.active_worker import ActiveWorker
from llmd.engine.cancel_flags import CancelFlags
from llmd.engine.candidate_worker import CandidateWorker
from llmd.engine.messages import Loaded
from llmd.engine.process import load_message
from llmd.engine.report import SwitchView
from llmd.engine.supervisor import Rollback, Supervisor
from llmd.errors import EngineError, ModelError
from llmd.models.resolve import ResolvedModel, resolve_model

_log = logging.getLogger("llmd.engine")


class ModelSwitch:
    def __init__(
        self,
        command: Sequence[str],
        flags: CancelFlags,
        active: ActiveWorker,
        supervisor: Supervisor,
        on_change: Callable[[], None],
        has_room: Callable[[Path, Loaded], bool],
    ) -> None:
        self.view = SwitchView()
        self._command = command
        self._flags = flags
        self._active = active
        self._supervisor = supervisor
        self._on_change = on_change
        self._has_room = has_room
        self._target: Config | None = None  # of the switch in progress
        self._task: asyncio.Task[None] | None = None

    def is_switching_to(self, config: Config) -> bool:
        """Returns whether `config` is being loaded, beside the old model or in its place."""
        return self._target == config or self._supervisor.is_trying(config)

    def start(self, config: Config) -> None:
        self._target, self.view = config, SwitchView(config.model, "loading")
        self._task = asyncio.create_task(self._switch_to(config))

    def cancel(self) -> None:
        """Ends the switch in progress and drops what it has loaded."""
        if self._task:
            self._task.cancel()
        self._task = self._target = None
        self._supervisor.drop_candidate()

    def forget(self) -> None:
        """Stops reporting the latest switch."""
        self.view = SwitchView()

    def on_loaded(self) -> None:
        """Handles that a model has been loaded: a switch in its place is done."""
        if self.view.state == "loading" and self._target is None:
            self.forget()

    async def _switch_to(self, config: Config) -> None:
        """Runs until the new model is loaded, or will be loaded in the place of the old one."""
        candidate = rollback = None
        try:
            resolved = resolve_model(config.model)
            if await self._fits_beside(config, resolved):
                candidate = await self._load_candidate(config, resolved)
            else:
                rollback = Rollback(self._supervisor.config, partial(self._report_failure, config))
        except (ModelError, EngineError, OSError) as error:
            self._target = None
            self._report_failure(config, str(error))
            return
        self._target = None
        self._supervisor.set_next(config, candidate, rollback)
        self._supervisor.restart_worker("switch")

    async def _fits_beside(self, config: Config, resolved: ResolvedModel) -> bool:
        """Returns whether both models fit, and nothing but the model changes."""
        info = self._active.info
        has_room = info is not None and await asyncio.to_thread(self._has_room, resolved.path, info)
        old = self._supervisor.config
        is_alike = (config.engine, config.kv, config.fim.order) == (
            old.engine, old.kv, old.fim.order
        )  # fmt: skip
        return has_room and is_alike

    async def _load_candidate(self, config: Config, resolved: ResolvedModel) -> CandidateWorker:
        candidate = CandidateWorker(
            self._command, self._flags, resolved.path, load_message(config, resolved)
        )
        try:
            await candidate.wait_loaded(partial(self._report_share, config.model))
        except BaseException:
            await candidate.end()
            raise
        return candidate

    def _report_share(self, model: str, share: float) -> None:
        self.view = SwitchView(model, "loading", share)

    def _report_failure(self, config: Config, reason: str) -> None:
        _log.error("The switch to model `%s` failed: %s", config.model, reason)
        self.view = SwitchView(config.model, "failed", reason=reason)
        self._on_change()
