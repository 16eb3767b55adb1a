"""Shows the engine's state in the editor: the progress of a load, and each problem once. llmd's own
plugins get the state as a message and show it themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lsprotocol import types as t

from llmd.transport.service import EngineView

TITLE = "llmd"
MESSAGE = "loading the model"


class ProgressReporter:
    def __init__(self, notify: Callable[..., Any], request: Callable[..., Any]) -> None:
        self.has_progress = False  # the editor can show progress
        self.is_plugin = False  # the client is llmd's own plugin
        self._notify = notify
        self._request = request
        self._is_initialized = False
        self._view: EngineView | None = None
        self._reported: set[str] = set()  # problems
        self._state: dict[str, Any] = {}  # the latest that was sent
        self._n_loads = 0
        self._token = ""  # of the load in progress; empty: none
        self._shown = (-1, "")

    def begin(self) -> None:
        """Begins once the editor has sent `initialized`. LSP allows no server requests before."""
        self._is_initialized = True
        if self._view:
            self.show(self._view)

    def show(self, view: EngineView) -> None:
        self._view = view
        if not self._is_initialized:
            return
        problems = [text for text in dict.fromkeys(view.problems) if text not in self._reported]
        self._reported.update(problems)
        if self.is_plugin:
            self._send_state(view, problems)
            return
        if self.has_progress:
            self._show_load(view)
        for problem in problems:
            is_fatal = view.state == "failed" and problem == view.problems[0]
            kind = t.MessageType.Error if is_fatal else t.MessageType.Warning
            self._notify(t.WINDOW_SHOW_MESSAGE, t.ShowMessageParams(kind, f"llmd: {problem}"))

    def _send_state(self, view: EngineView, problems: list[str]) -> None:
        state = {"state": view.state, "share": round(view.share, 2), "reason": view.reason}
        if problems or state != self._state:
            self._state = state
            self._notify("llmd/state", {**state, "problems": problems})

    def _show_load(self, view: EngineView) -> None:
        percentage, message = round(100 * view.share), view.doing or MESSAGE
        if view.state != "loading":
            if self._token:
                self._notify_progress(t.WorkDoneProgressEnd(message=view.state))
            self._token = ""
        elif not self._token:
            self._n_loads += 1
            self._token = f"llmd-load-{self._n_loads}"
            create = t.WorkDoneProgressCreateParams(self._token)
            self._request(t.WINDOW_WORK_DONE_PROGRESS_CREATE, create)
            self._notify_progress(
                t.WorkDoneProgressBegin(TITLE, message=message, percentage=percentage)
            )
        elif (percentage, message) != self._shown:
            self._notify_progress(t.WorkDoneProgressReport(message=message, percentage=percentage))
        self._shown = (percentage, message)

    def _notify_progress(self, value: Any) -> None:
        self._notify(t.PROGRESS, t.ProgressParams(self._token, value))
