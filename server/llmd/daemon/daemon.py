"""Runs the daemon: takes the lock, listens, serves and shuts down. Connects all other parts."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from llmd import __version__, machine, paths
from llmd.completion.pipeline import CompletionPipeline
from llmd.completion.trace import RequestStages
from llmd.completion.types import Outcome
from llmd.config import Config
from llmd.config.load import Settings, SettingsReport, load_settings, needs_reload, report_settings
from llmd.config.watch import changes
from llmd.context.workspace_rules import Workspaces
from llmd.daemon import logs
from llmd.daemon.lock import take_lock
from llmd.daemon.logs import LastError
from llmd.daemon.status import build_status
from llmd.daemon.suggestion_stats import SuggestionStats
from llmd.document import Document, paths_for_uri
from llmd.engine.client import EngineClient
from llmd.engine.memory_pressure import EVERY_S, NO_PARKED, UNLOADED, Pressure, next_pressure
from llmd.engine.messages import Loaded
from llmd.errors import LlmdError, error_location
from llmd.processes import protect_memory
from llmd.transport import lsp, nvim
from llmd.transport.listener import Listener, Protocols
from llmd.transport.service import Client, EngineView, ReconnectPolicy
from llmd.transport.status_types import ConfigStatus, PressureStatus, Status

_log = logging.getLogger("llmd")

# When the daemon stops, a reply that is being written has this long to reach the client.
LAST_REPLY_S = 0.05
# On battery, requests wait for a pause in the typing, so that there are fewer of them.
BATTERY_DEBOUNCE_MS = 75
BATTERY_LOOK_S = 60.0


class Daemon:
    """Implements transport.service.Service for the transports."""

    def __init__(self, settings: Settings, flags: Sequence[str], last_error: LastError) -> None:
        self._settings = settings
        self._flags = flags
        self._last_error = last_error
        self._config_problem = ""
        self._priority_problem = self._home_notice = ""
        self._clients: list[Client] = []
        self._stop = asyncio.Event()
        self._then: ReconnectPolicy = "on_demand"
        self._workspaces = Workspaces(lambda warning: _log.warning("%s", warning))
        self._pressure = Pressure()
        self._has_moved = asyncio.Event()  # the engine
        self.engine = EngineClient(settings.config, on_change=self._engine_changed)
        self.pipeline = CompletionPipeline(
            settings.config, self.engine, self._workspaces.skip_reason
        )
        self.complete = self.pipeline.complete
        self.cursor_idle = self.pipeline.cursor_idle
        self.document_closed = self.pipeline.document_closed
        self._stats = SuggestionStats(paths.outcomes_path())
        self._latest: Loaded | None = None

    # -- transport.service.Service

    def client_connected(self, client: Client) -> None:
        self._clients.append(client)
        self.engine.wake()
        client.show(self._engine_view())

    def client_gone(self, client: Client) -> None:
        with suppress(ValueError):
            self._clients.remove(client)

    def document_opened(self) -> None:
        self.engine.wake()

    def record_outcome(self, document: Document, outcome: Outcome) -> None:
        model = self._latest.name if self._latest else self._settings.config.model
        self._stats.add(document.language, model, outcome)

    def status(self) -> Status:
        return build_status(
            self.engine,
            self.pipeline.totals,
            self.pipeline.background_totals,
            self._clients,
            self._last_error,
            ConfigStatus(str(self._settings.path), self._config_problem),
            self.pipeline.debounce_ms,
            PressureStatus(self._pressure.step, self._pressure.doing),
            self._stats.rows(),
        )

    def why(self, uri: str) -> RequestStages | None:
        return self.pipeline.history.last(paths_for_uri(uri)[-1] if uri else "")

    def settings(self) -> SettingsReport:
        return report_settings(self._settings)

    def restart(self) -> None:
        self._reload(force=True)

    def use(self) -> None:
        """Loads the model of the config file, unless that model is already loaded."""
        self._reload(force=self.engine.state == "failed" or self.engine.file_has_changed())
        self.engine.wake()

    def stop(self, then: ReconnectPolicy = "on_demand") -> None:
        self._then = then
        self._stop.set()

    # -- life

    async def run(self, socket_path: Path) -> None:
        machine.raise_open_files()
        self._priority_problem = machine.leave_background()
        if (shared := paths.shared_state_dir()) != (own := paths.state_dir()):
            self._home_notice = (
                f"Another machine or container has its state in `{shared}`; the daemon of this one"
                f" keeps its own in `{own}`"
            )
            _log.warning("%s", self._home_notice)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        listener = Listener()
        await listener.start(socket_path, self._protocols(), on_lost=self.stop)
        works = {
            "The engine": self.engine.run(),
            "Watching the config": self._watch_config(),
            "Watching the battery": self._watch_battery(),
            "Watching the memory": self._watch_memory(),
            "Counting": self._stats.save_periodically(),
        }
        tasks = [asyncio.create_task(_logged(what, work)) for what, work in works.items()]
        _log.info("llmd %s serves %s, pid %d", __version__, socket_path, os.getpid())
        try:
            await self._stop.wait()
            for client in list(self._clients):
                client.disconnect(self._then)
            await asyncio.sleep(LAST_REPLY_S)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await listener.close()

    def _protocols(self) -> Protocols:
        by_lsp = partial(lsp.serve_connection, service=self)
        by_nvim = partial(nvim.serve_connection, service=self)
        return dict.fromkeys((b"C", b"c"), by_lsp) | dict.fromkeys(nvim.FIRST_BYTES, by_nvim)

    def _engine_view(self) -> EngineView:
        engine = self.engine
        is_failed = engine.state == "failed"
        problems = (engine.reason if is_failed else "", engine.notice, self._config_problem,
                    self._priority_problem, self._home_notice)  # fmt: skip
        doing = "" if is_failed else engine.reason
        share = engine.loaded_share
        return EngineView(engine.state, share, doing, tuple(filter(None, problems)))

    def _engine_changed(self) -> None:
        self._has_moved.set()
        if (info := self.engine.info) and info is not self._latest:
            self._latest = info
            self.pipeline.forget_suggestions()
        self._notify_clients()

    def _notify_clients(self) -> None:
        view = self._engine_view()
        for client in list(self._clients):
            client.show(view)

    # -- settings

    async def _watch_config(self) -> None:
        async for _ in changes(self._settings.path):
            self._reload(is_seen=True)

    def _reload(self, force: bool = False, is_seen: bool = False) -> None:
        """Reads the config again. An invalid file is reported and changes nothing. `is_seen`: the
        file has changed; values that were already read are not applied again."""
        old = self._settings.config
        try:
            self._settings = load_settings(self._settings.path, self._flags)
        except LlmdError as error:
            self._config_problem = f"{error}; the old settings stay in effect"
            _log.error("%s", error)
        else:
            self._config_problem = ""
        config = self._settings.config
        self.pipeline.configure(config)
        self._apply_policy()
        is_worth_a_try = self.engine.state == "failed" and config != old
        is_other = needs_reload(self.engine.config, config)
        if config != old or not is_seen:
            self.engine.configure(config, force or is_worth_a_try or is_other)
        self._notify_clients()

    async def _watch_battery(self) -> None:
        """Returns at once on a machine without a battery."""
        self._apply_policy()
        while machine.is_on_battery() is not None:
            await asyncio.sleep(BATTERY_LOOK_S)
            self._apply_policy()

    def _apply_policy(self) -> None:
        config, on_battery = self._settings.config, bool(machine.is_on_battery())
        is_roomy = not self._pressure.step
        self.pipeline.set_policy(
            debounce_ms(config, on_battery), is_roomy and may_prefetch(config, on_battery)
        )

    async def _watch_memory(self) -> None:
        """Checks the memory periodically while a model is loaded or a step is in effect."""
        while True:
            if self.engine.state == "ready" or self._pressure.step:
                reading = await asyncio.to_thread(machine.read_memory)
                self._apply_pressure(next_pressure(self._pressure, reading))
                await asyncio.sleep(EVERY_S)
            else:
                self._has_moved.clear()
                await self._has_moved.wait()

    def _apply_pressure(self, new: Pressure) -> None:
        old, self._pressure = self._pressure, new
        if old.step == new.step:
            return
        _log.warning("Step %d: %s", new.step, new.doing or "memory is no longer short")
        self._apply_policy()
        self.engine.set_parking(new.step < NO_PARKED)
        if new.step == UNLOADED:
            self.engine.suspend(f"The model is unloaded: {new.doing}")
        elif old.step == UNLOADED:
            self.engine.resume()
        self._notify_clients()


def debounce_ms(config: Config, on_battery: bool) -> int:
    """Returns the pause in the typing before a request is sent to the engine."""
    saves = config.background == "mains" and on_battery
    return max(config.completion.debounce_ms, BATTERY_DEBOUNCE_MS if saves else 0)


def may_prefetch(config: Config, on_battery: bool) -> bool:
    """Returns whether the engine may work in the background."""
    return config.background == "on" or (config.background == "mains" and not on_battery)


async def _logged(what: str, work: Coroutine[Any, Any, None]) -> None:
    """Logs an unexpected error by its location only: its text may contain buffer text."""
    try:
        await work
    except Exception as error:
        _log.critical("%s ended by %s at %s", what, type(error).__name__, error_location(error))


def serve(flags: Sequence[str] = (), is_detached: bool = False) -> int:
    """Serves until the daemon is stopped. `is_detached`: does not log to standard error.

    Raises:
        BadInput: the config is invalid; nothing was started.
        DaemonError: another daemon runs, or a folder cannot be used.
    """
    protect_memory()
    settings = load_settings(flags=flags)
    with take_lock():
        paths.private_dir(paths.runtime_dir())
        last_error = logs.start(paths.log_path(), to_stderr=not is_detached)
        asyncio.run(Daemon(settings, flags, last_error).run(paths.socket_path()))
    return 0
