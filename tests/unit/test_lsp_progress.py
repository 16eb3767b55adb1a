"""Checks what an editor shows of the engine's state."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from llmd.transport.lsp.progress import ProgressReporter
from llmd.transport.service import EngineView

MISSING = "Model `builtin` is not on this machine; run `llmd pull builtin`"
UNTRAINED = "Model `x` has no FIM tokens"


def view(
    state: Literal["loading", "ready", "unloaded", "failed"], share: float = 0.0, *problems: str
) -> EngineView:
    return EngineView(state, share, "", problems)


class Screen:
    def __init__(self, has_progress: bool = True) -> None:
        self.shown: list[str] = []
        self.progress = ProgressReporter(self._notify, lambda method, _: self.shown.append(method))
        self.progress.has_progress = has_progress

    def _notify(self, method: str, params: Any) -> None:
        if method == "window/showMessage":
            self.shown.append(f"{params.type.name}: {params.message}")
        else:
            percentage = getattr(params.value, "percentage", None)
            self.shown.append(f"{params.token} {params.value.kind} {percentage}")


CASES = {
    "ready from the start": ([view("ready", 1)], []),
    "a load": (
        [view("loading"), view("loading", 0.5), view("loading", 0.5), view("ready", 1)],
        [
            "window/workDoneProgress/create", "llmd-load-1 begin 0", "llmd-load-1 report 50",
            "llmd-load-1 end None",
        ],
    ),
    "no model": ([view("failed", 0, MISSING)] * 3, [f"Error: llmd: {MISSING}"]),
    "an untrained model": ([view("ready", 1, UNTRAINED)] * 2, [f"Warning: llmd: {UNTRAINED}"]),
    "a second load": (
        [view("loading"), view("ready", 1), view("unloaded", 1), view("loading", 0.2)],
        [
            "window/workDoneProgress/create", "llmd-load-1 begin 0", "llmd-load-1 end None",
            "window/workDoneProgress/create", "llmd-load-2 begin 20",
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("views", "expected"), CASES.values(), ids=CASES)
def test_the_editor_shows(views: list[EngineView], expected: list[str]) -> None:
    screen = Screen()
    screen.progress.begin()
    for view_ in views:
        screen.progress.show(view_)
    assert screen.shown == expected


def test_nothing_is_shown_before_the_editor_is_initialized() -> None:
    screen = Screen()
    screen.progress.show(view("failed", 0, MISSING))
    assert screen.shown == []
    screen.progress.begin()
    assert screen.shown == [f"Error: llmd: {MISSING}"]


def test_a_plugin_gets_the_state_and_nothing_else() -> None:
    sent: list[Any] = []
    progress = ProgressReporter(
        lambda *message: sent.append(message), lambda *_: sent.append("a request")
    )
    progress.has_progress = progress.is_plugin = True
    progress.show(view("loading", 0.1))
    assert sent == []
    progress.begin()
    doing = EngineView("loading", 0.5, "The model is being pulled", ())
    for view_ in (doing, doing, view("ready", 1, UNTRAINED), view("failed", 0, MISSING, UNTRAINED)):
        progress.show(view_)
    keys = ("state", "share", "reason", "problems")
    assert sent == [
        ("llmd/state", dict(zip(keys, values, strict=True)))
        for values in (
            ("loading", 0.1, "", []),
            ("loading", 0.5, "The model is being pulled", []),
            ("ready", 1, "", [UNTRAINED]),
            ("failed", 0, MISSING, [MISSING]),
        )
    ]


def test_an_editor_without_progress_shows_problems_only() -> None:
    screen = Screen(has_progress=False)
    screen.progress.begin()
    for view_ in (view("loading"), view("failed", 0, "The engine worker ended")):
        screen.progress.show(view_)
    assert screen.shown == ["Error: llmd: The engine worker ended"]
