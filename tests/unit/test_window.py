from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmd.context.window import CHARS_PER_TOKEN, MAX_TYPED, Budget, choose, excerpt
from llmd.document.store import open_document
from llmd.document.text import LineRange, Position, Text

BUDGET = Budget(n_prefix=100, n_suffix=50)  # 300 and 150 characters
LINES = ["123456789\n"] * 200


def test_typing_and_new_lines_move_neither_edge() -> None:
    first = choose(None, LINES, Position(100, 3), BUDGET)
    window = first
    lines = list(LINES)
    for line in range(100, 110):
        lines.insert(line + 1, "x\n")
        window = choose(window.moved(line, 1, 2), lines, Position(line + 1, 1), BUDGET)
    assert window.first == first.first
    assert window.end == first.end + 10


def test_a_side_that_outgrew_its_bound_is_laid_anew() -> None:
    first = choose(None, LINES, Position(100, 0), BUDGET)
    assert (first.first, first.end) == (70, 116)
    far = choose(first, LINES, Position(116, 0), BUDGET)
    assert (far.first, far.end) == (86, 132)


def test_a_whole_small_document_is_the_window() -> None:
    assert choose(None, ["a\n", "b\n", ""], Position(1, 0), BUDGET) == LineRange(0, 3)


@pytest.mark.parametrize("edge", [-1, 500])
def test_an_edge_outside_the_document_is_laid_anew(edge: int) -> None:
    assert choose(LineRange(edge, edge), LINES, Position(100, 0), BUDGET) == LineRange(70, 116)


def test_the_next_line_is_the_first_that_holds_text() -> None:
    place = excerpt(LineRange(0, 4), ["a = (\n", "\n", "  b)\n", ""], Position(0, 4))
    assert (place.head, place.tail, place.next_line) == ("a = ", "(", "b)")


@given(st.lists(st.text(alphabet="ab \n", max_size=9), max_size=30), st.data())
def test_prefix_and_suffix_are_the_text_between_the_edges(
    parts: list[str], data: st.DataObject
) -> None:
    lines = Text("".join(parts)).lines
    line = data.draw(st.integers(0, len(lines) - 1))
    cursor = Position(line, data.draw(st.integers(0, len(lines[line].rstrip("\n")))))
    window = choose(None, lines, cursor, Budget(3, 2))
    place = excerpt(window, lines, cursor)
    assert place.prefix + place.suffix == "".join(lines[window.first : window.end])


PLACES = st.builds(Position, st.integers(0, 12), st.integers(0, 12))
EDITS = st.lists(st.tuples(PLACES, PLACES, st.text("ab \n", max_size=40)), max_size=6)


@given(EDITS)
def test_edits_leave_a_window_of_whole_lines_around_the_cursor(
    edits: list[tuple[Position, Position, str]],
) -> None:
    document = open_document("file:///a.py", "python", 1, "")
    for start, end, text in edits:
        document.edit(start, end, text)
        cursor, lines = document.text.clamp(end), document.text.lines
        document.window = choose(document.window, lines, cursor, Budget(3, 2))
        assert 0 <= document.window.first <= cursor.line < document.window.end <= len(lines)


def test_edits_above_move_both_edges_and_edits_below_move_none() -> None:
    document = open_document("file:///a.py", "python", 1, "".join(LINES))
    document.window = choose(None, LINES, Position(100, 0), BUDGET)
    document.edit(Position(150, 0), Position(160, 0), "")
    document.edit(Position(3, 0), Position(3, 0), "x\n" * 4)
    window = choose(document.window, document.text.lines, Position(104, 0), BUDGET)
    assert window == document.window == LineRange(74, 120)


WINDOW = LineRange(1, 4)
TEXT = ["above\n", "def f():\n", "  a = 1\n", "  ret\n"]


@pytest.mark.parametrize(
    ("anchor", "typed"),
    [
        (None, "  re"),
        (Position(3, 0), "  re"),
        (Position(3, 4), ""),
        (Position(2, 2), "a = 1\n  re"),
        (Position(1, 0), "def f():\n  a = 1\n  re"),
        (Position(0, 0), "  re"),
        (Position(3, 5), "  re"),
    ],
    ids=["none", "line", "cursor", "inside", "window", "outside", "behind"],
)
def test_what_stands_after_the_anchor_is_typed(anchor: Position | None, typed: str) -> None:
    place = excerpt(WINDOW, TEXT, Position(3, 4), anchor)
    assert place.prefix.endswith(typed)
    assert place.n_typed == len(typed)


def test_an_anchor_too_far_away_is_the_line_s_start() -> None:
    lines = ["x" * 99 + "\n"] * 20
    places = [excerpt(LineRange(0, 20), lines, Position(19, 5), Position(n, 0)) for n in range(20)]
    n_max = MAX_TYPED * CHARS_PER_TOKEN
    assert [place.n_typed for place in places[-8:-1]] == [n * 100 + 5 for n in range(7, 0, -1)]
    assert {place.n_typed for place in places[: 20 - n_max // 100 - 1]} == {5}
