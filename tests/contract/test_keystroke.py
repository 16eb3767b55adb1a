"""What a key costs, in tokens that the real engine evaluates."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.daemon import GREEDY, RunningDaemon, wait_until
from tests.support.editor import Editor

ABOVE = "".join(f"def area_{n}(radius):\n    return {n} * radius * radius\n\n\n" for n in range(12))
BELOW = "".join(f"\n\ndef side_{n}(area):\n    return area / {n}\n" for n in range(1, 12))
TYPED = "def total(circles):\n    found = []\n    for c in circles:\n"
N_LINES = ABOVE.count("\n")


@pytest.fixture(params=["psm", "spm"])
def editor(request: pytest.FixtureRequest, tmp_path: Path, models_dir: Path) -> Iterator[Editor]:
    config = f'{GREEDY}[fim]\norder = "{request.param}"\n[completion]\ndeadline_ms = 60000\n'
    with RunningDaemon(models_dir, tmp_path, config) as daemon:
        one = Editor(daemon)
        yield one
        one.close()


def spent(editor: Editor, name: str = "counts") -> int:
    counts: dict[str, Any] = editor.call("llmd/status")[name]
    return int(counts["n_prefill"] + counts["n_healed"])


def idle(editor: Editor) -> None:
    """What was begun ahead of the key is done."""
    counts: list[int] = []

    def is_still() -> bool:
        counts.append(spent(editor, "background"))
        return len(counts) > 20 and counts[-1] == counts[-20]

    wait_until(is_still, "the engine rests")


def test_keys_and_new_lines_cost_what_was_typed(editor: Editor) -> None:
    editor.open(ABOVE + "\n" + BELOW)
    editor.inline(N_LINES, 0)
    line, col, costs = N_LINES, 0, []
    for char in TYPED:
        before = spent(editor)
        editor.insert(line, col, char)
        line, col = (line + 1, 0) if char == "\n" else (line, col + 1)
        editor.inline(line, col)
        costs.append(spent(editor) - before)
    asked = sorted(cost for cost in costs if cost)
    assert asked[len(asked) // 2] <= 5
    assert max(asked) <= 16


def test_a_resting_cursor_pays_before_the_first_key(editor: Editor) -> None:
    editor.open(ABOVE + "\n" + BELOW)
    place = {"line": N_LINES, "character": 0}
    editor.send("llmd/cursor", uri="file:///t/editor.py", position=place)
    wait_until(lambda: spent(editor, "background") > 300, "the prompt is evaluated")
    idle(editor)
    editor.insert(N_LINES, 0, "d")
    editor.inline(N_LINES, 1)
    assert 0 < spent(editor) <= 8


def test_typing_what_is_shown_asks_no_model(editor: Editor) -> None:
    editor.open(ABOVE + "def total(circles):\n    retu" + BELOW)
    line, shown = N_LINES + 1, editor.inline(N_LINES + 1, 8)
    before = spent(editor)
    assert shown.startswith("rn")
    editor.insert(line, 8, "r")
    assert editor.inline(line, 9, invoked=False) == shown[1:]
    editor.replace((line, 8), (line, 9), "")
    assert editor.inline(line, 8, invoked=False) == shown
    counts = editor.call("llmd/status")["counts"]
    assert (counts["by_path"].get("reused"), spent(editor)) == (2, before)
    editor.inline(line, 8)  # by hand
    assert spent(editor) > before


def test_five_files_in_turn_keep_their_cells(editor: Editor) -> None:
    uris = [f"file:///t/five_{n}.py" for n in range(5)]
    for n, uri in enumerate(uris):
        editor.open(f"# file {n}\n{ABOVE}\n{BELOW}", uri)
        editor.inline(N_LINES + 1, 0, uri)
    for col, char in enumerate("de"):
        for uri in uris:
            idle(editor)
            before = spent(editor)
            editor.insert(N_LINES + 1, col, char, uri)
            editor.inline(N_LINES + 1, col + 1, uri)
            assert spent(editor) - before <= 6
