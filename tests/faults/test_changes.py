"""Tests changes that do not fit the document (reliability row 61): what the daemon stores, and that
it shows nothing when its text may be stale."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.editor import Editor
from tests.support.rawlsp import CODE, CODE_END, new_uri

Steps = Callable[[Editor, str], None]


def _change(version: Any, text: str = "X", start: Any = (0, 0), end: Any = (0, 0)) -> Steps:
    def send(editor: Editor, uri: str) -> None:
        places = [{"line": line, "character": col} for line, col in (start, end)]
        item = {"uri": uri} | ({} if version == "none" else {"version": version})
        change = {"range": dict(zip(("start", "end"), places, strict=True)), "text": text}
        editor.send("textDocument/didChange", textDocument=item, contentChanges=[change])

    return send


def _raw(method: str, **params: Any) -> Steps:
    return lambda editor, uri: editor.send(method, textDocument={"uri": uri}, **params)


def _close(editor: Editor, uri: str) -> None:
    editor.send("textDocument/didClose", textDocument={"uri": uri})


def _open(editor: Editor, uri: str) -> None:
    editor.open("ab\ncd", uri)


@pytest.mark.parametrize(
    ("steps", "text"),
    [
        pytest.param([_open, _change(2), _change(3, "Y")], "YXab\ncd", id="in order"),
        pytest.param([_open, _change(5), _change(3, "Y")], "YXab\ncd", id="out of order"),
        pytest.param([_open, _change(2), _change(2, "Y")], "YXab\ncd", id="version twice"),
        pytest.param([_open, _change(99)], "Xab\ncd", id="versions left out"),
        pytest.param([_open, _change(-7)], "Xab\ncd", id="negative version"),
        pytest.param([_open, _change(2, "X", (1, 1), (0, 1))], "aXd", id="end before start"),
        pytest.param([_open, _change(2, "X", (9, 9), (7, 7))], "ab\ncdX", id="range outside"),
        pytest.param([_open, _change(2, "", (0, 0), (10**9, 0))], "", id="all and more"),
        pytest.param([_open, _change(2, "\ud800")], "\ufffdab\ncd", id="row 60: surrogate"),
        pytest.param([_change(2)], None, id="never opened"),
        pytest.param([_open, _close, _change(2)], None, id="closed before"),
        pytest.param([_open, _close, _close], None, id="closed twice"),
        pytest.param([_close, _open], "ab\ncd", id="closed, then opened"),
        pytest.param([_open, _change(2), _open], "ab\ncd", id="opened twice"),
        pytest.param([_open, _raw("textDocument/didSave")], "ab\ncd", id="saved"),
    ],
)
def test_changes_apply_in_the_order_they_come(
    editor: Editor, steps: list[Steps], text: str | None
) -> None:
    """Row 61: versions tell which text is stale, not where it differs."""
    uri = new_uri()
    for step in steps:
        step(editor, uri)
    assert "error" not in editor.answer(editor.ask_inline(0, 1, uri))
    held = editor.call("llmd/snapshot", uri=uri)
    assert (held and held["text"]) == text
    _close(editor, uri)


@pytest.mark.parametrize(
    "lost",
    [
        pytest.param(_change("none"), id="no version"),
        pytest.param(_change(None), id="version null"),
        pytest.param(_change("2"), id="version a string"),
        pytest.param(_change(2, start=(-1, 0)), id="negative line"),
        pytest.param(_raw("textDocument/didChange", contentChanges=3), id="changes a number"),
        pytest.param(_raw("textDocument/didChange"), id="no changes"),
        pytest.param(_change(2, text=None), id="text null"),  # type: ignore[arg-type]
    ],
)
def test_after_a_change_that_is_lost_nothing_stale_is_shown(editor: Editor, lost: Steps) -> None:
    """Row 61, promise 1: no completion is returned until the text is known again."""
    uri = new_uri()
    editor.open(CODE, uri)
    lost(editor, uri)
    answer = editor.answer(editor.ask_inline(*CODE_END, uri))
    held = editor.call("llmd/snapshot", uri=uri)
    assert answer.get("result") is None or held["text"] == "X" + CODE
    editor.send(
        "textDocument/didChange",
        textDocument={"uri": uri, "version": 3},
        contentChanges=[{"text": CODE}],
    )
    assert editor.inline(*CODE_END, uri)
    _close(editor, uri)
