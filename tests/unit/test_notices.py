"""What an editor shows of the engine, from a sequence of views."""

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
        self.said: list[str] = []
        self.notices = ProgressReporter(self._notify, lambda method, _: self.said.append(method))
        self.notices.has_progress = has_progress

    def _notify(self, method: str, params: Any) -> None:
        if method == "window/showMessage":
            self.said.append(f"{params.type.name}: {params.message}")
        else:
            percentage = getattr(params.value, "percentage", None)
            self.said.append(f"{params.token} {params.value.kind} {percentage}")


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


@pytest.mark.parametrize(("views", "said"), CASES.values(), ids=CASES)
def test_a_person_sees(views: list[EngineView], said: list[str]) -> None:
    screen = Screen()
    screen.notices.begin()
    for shown in views:
        screen.notices.show(shown)
    assert screen.said == said


def test_nothing_is_said_before_the_editor_is_initialized() -> None:
    screen = Screen()
    screen.notices.show(view("failed", 0, MISSING))
    assert screen.said == []
    screen.notices.begin()
    assert screen.said == [f"Error: llmd: {MISSING}"]


def test_a_plugin_of_ours_is_told_the_state_and_nothing_else() -> None:
    told: list[Any] = []
    notices = ProgressReporter(
        lambda *message: told.append(message), lambda *_: told.append("a request")
    )
    notices.has_progress = notices.is_plugin = True
    notices.show(view("loading", 0.1))
    assert told == []
    notices.begin()
    doing = EngineView("loading", 0.5, "The model is being pulled", ())
    for shown in (doing, doing, view("ready", 1, UNTRAINED), view("failed", 0, MISSING, UNTRAINED)):
        notices.show(shown)
    keys = ("state", "share", "reason", "problems")
    assert told == [
        ("llmd/state", dict(zip(keys, values, strict=True)))
        for values in (
            ("loading", 0.1, "", []),
            ("loading", 0.5, "The model is being pulled", []),
            ("ready", 1, "", [UNTRAINED]),
            ("failed", 0, MISSING, [MISSING]),
        )
    ]


def test_an_editor_without_progress_is_told_of_problems_only() -> None:
    screen = Screen(has_progress=False)
    screen.notices.begin()
    for shown in (view("loading"), view("failed", 0, "The engine worker ended")):
        screen.notices.show(shown)
    assert screen.said == ["Error: llmd: The engine worker ended"]
