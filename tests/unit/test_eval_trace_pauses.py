"""Pauses of a trace, and what was typed after each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llmd.cli.eval import trace_pauses
from llmd.errors import BadInput

Step = tuple[int, list[list[Any]]]  # seconds, patches


def write(folder: Path, steps: list[Step], start: str = "") -> Path:
    txns = [
        {"time": f"2020-01-01T00:{at // 60:02}:{at % 60:02}.000Z", "patches": patches}
        for at, patches in steps
    ]
    path = folder / "sveltecomponent.json"
    path.write_text(json.dumps({"startContent": start, "endContent": "", "txns": txns}))
    return path


@pytest.mark.parametrize(
    ("steps", "found"),
    [
        ([(0, [[0, 0, "a"]]), (1, [[1, 0, "b"]])], []),
        ([(0, [[0, 0, "a"]]), (2, [[1, 0, "b"]])], [("a", "", "b")]),
        ([(0, [[0, 0, "a"]]), (2, [[1, 0, "b"]]), (3, [[2, 0, "c"]])], [("a", "", "bc")]),
        ([(0, [[0, 0, "ab"]]), (9, [[2, 0, "c"]]), (9, [[1, 0, "x"]])], [("ab", "", "c")]),
        ([(0, [[0, 0, "a"]]), (9, [[1, 0, "b"]]), (9, [[1, 1, ""]])], [("a", "", "b")]),
        ([(0, [[0, 0, "ab"]]), (9, [[0, 0, "x"]])], [("ab", "", "")]),
        ([(0, [[0, 0, "ab"]]), (0, [[1, 1, ""]]), (9, [[1, 0, "x"]])], []),
        ([(0, [[0, 0, "a"], [0, 0, "b"]]), (9, [[2, 0, "x"]])], []),
        ([(0, [[0, 0, "ab"]]), (1, [[1, 1, "z"]]), (9, [[2, 0, "x"]])], []),
        ([(0, [[0, 0, "()"]]), (9, [[1, 0, "x"]])], [("(", ")", "x")]),
        ([(0, [[0, 0, "f"]]), (9, [[1, 0, "()"]]), (9, [[2, 0, "x"]])], [("f", "", "(x")]),
    ],
    ids=[
        "too short", "long enough", "typed on", "a jump ends it", "a deletion ends it",
        "jumped at once", "after a deletion", "many cursors", "after a replacement",
        "in a pair", "a pair typed",
    ],
)  # fmt: skip
def test_pauses_and_what_was_typed(
    tmp_path: Path, steps: list[Step], found: list[tuple[str, str, str]]
) -> None:
    places = trace_pauses.pause_cases(write(tmp_path, steps))
    assert [(place.before, place.after, place.truth) for place in places] == found
    assert all(not place.is_invoked and place.file_name == "App.svelte" for place in places)


def test_the_document_is_that_of_the_moment(tmp_path: Path) -> None:
    steps: list[Step] = [
        (0, [[1, 0, "a"]]),
        (5, [[0, 1, ""]]),
        (6, [[2, 0, "b"]]),
        (9, [[3, 0, "c"]]),
    ]
    places = trace_pauses.pause_cases(write(tmp_path, steps, start="01"))
    assert [place.before + "|" + place.after for place in places] == ["0a|1", "a1b|"]


def test_a_limit_spreads_over_the_whole_trace(tmp_path: Path) -> None:
    steps: list[Step] = [(9 * n, [[n, 0, "x"]]) for n in range(11)]
    path = write(tmp_path, steps)
    assert len(trace_pauses.pause_cases(path)) == 10
    assert [len(place.before) for place in trace_pauses.pause_cases(path, 3)] == [1, 4, 7]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "not an editing trace"),
        ('{"startContent": "", "txns": [{"patches": [[0, 0, "a"]]}]}', "expected a time"),
    ],
)
def test_what_is_no_trace_is_told(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(BadInput, match=said):
        trace_pauses.pause_cases(tmp_path / "a.json")


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        trace_pauses.pause_cases(tmp_path / "a.json")
