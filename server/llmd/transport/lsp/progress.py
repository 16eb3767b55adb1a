"""What a person sees of the engine in the editor: a load's progress, each problem once, and
nothing when all is well. A plugin of ours is told the state and shows it itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lsprotocol import types as t

from llmd.transport.service import EngineView

TITLE = "llmd"
MESSAGE = "loading the model"


class ProgressReporter:
    def __init__(self, notify: Callable[..., Any], request: Callable[..., Any]) -> None:
        self.has_progress = False  # whether the editor can show it
        self.is_plugin = False  # of ours
        self._notify = notify
        self._request = request
        self._may_speak = False
        self._view: EngineView | None = None
        self._told: set[str] = set()
        self._state: dict[str, Any] = {}
        self._n_loads = 0
        self._token = ""
        self._shown = (-1, "")

    def begin(self) -> None:
        """The editor has sent `initialized`: before that LSP allows no request of ours."""
        self._may_speak = True
        if self._view:
            self.show(self._view)

    def show(self, view: EngineView) -> None:
        self._view = view
        if not self._may_speak:
            return
        if self.is_plugin:
            self._tell(view)
            return
        if self.has_progress:
            self._show_load(view)
        for problem in self._untold(view):
            is_fatal = view.state == "failed" and problem == view.problems[0]
            kind = t.MessageType.Error if is_fatal else t.MessageType.Warning
            self._notify(t.WINDOW_SHOW_MESSAGE, t.ShowMessageParams(kind, f"llmd: {problem}"))

    def _tell(self, view: EngineView) -> None:
        state = {"state": view.state, "share": round(view.share, 2), "reason": view.reason}
        problems = self._untold(view)
        if problems or state != self._state:
            self._state = state
            self._notify("llmd/state", {**state, "problems": problems})

    def _untold(self, view: EngineView) -> list[str]:
        new = [problem for problem in dict.fromkeys(view.problems) if problem not in self._told]
        self._told.update(new)
        return new

    def _show_load(self, view: EngineView) -> None:
        percentage, message = round(100 * view.share), view.doing or MESSAGE
        if view.state != "loading":
            if self._token:
                self._progress(t.WorkDoneProgressEnd(message=view.state))
            self._token = ""
        elif not self._token:
            self._n_loads += 1
            self._token = f"llmd-load-{self._n_loads}"
            create = t.WorkDoneProgressCreateParams(self._token)
            self._request(t.WINDOW_WORK_DONE_PROGRESS_CREATE, create)
            self._progress(t.WorkDoneProgressBegin(TITLE, message=message, percentage=percentage))
        elif (percentage, message) != self._shown:
            self._progress(t.WorkDoneProgressReport(message=message, percentage=percentage))
        self._shown = (percentage, message)

    def _progress(self, value: Any) -> None:
        self._notify(t.PROGRESS, t.ProgressParams(self._token, value))
