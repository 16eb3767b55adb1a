from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmd.context.window import (
    MAX_TYPED_CHARS,
    Budget,
    Excerpt,
    build_excerpt,
    choose_window,
    update_anchor,
)
from llmd.document import Document, LineRange, Position, Span, Text, open_document

BUDGET = Budget(n_prefix=100, n_suffix=50)  # 300 and 150 characters
LINES = ["123456789\n"] * 200


def test_typing_and_new_lines_move_neither_edge() -> None:
    first = choose_window(None, LINES, Position(100, 3), BUDGET)
    window = first
    lines = list(LINES)
    for line in range(100, 110):
        lines.insert(line + 1, "x\n")
        window = choose_window(window.after_edit(line, 1, 2), lines, Position(line + 1, 1), BUDGET)
    assert window.first == first.first
    assert window.end == first.end + 10


def test_a_side_outside_its_bounds_gets_a_new_edge() -> None:
    first = choose_window(None, LINES, Position(100, 0), BUDGET)
    assert (first.first, first.end) == (70, 116)
    far = choose_window(first, LINES, Position(116, 0), BUDGET)
    assert (far.first, far.end) == (86, 132)


def test_a_whole_small_document_is_the_window() -> None:
    assert choose_window(None, ["a\n", "b\n", ""], Position(1, 0), BUDGET) == LineRange(0, 3)


@pytest.mark.parametrize("edge", [-1, 500])
def test_an_edge_outside_the_document_is_chosen_again(edge: int) -> None:
    assert choose_window(LineRange(edge, edge), LINES, Position(100, 0), BUDGET) == LineRange(
        70, 116
    )


def test_the_next_line_is_the_first_that_holds_text() -> None:
    place = build_excerpt(LineRange(0, 4), ["a = (\n", "\n", "  b)\n", ""], Position(0, 4))
    assert (place.head, place.tail, place.next_line) == ("a = ", "(", "b)")


@given(st.lists(st.text(alphabet="ab \n", max_size=9), max_size=30), st.data())
def test_prefix_and_suffix_are_the_text_between_the_edges(
    parts: list[str], data: st.DataObject
) -> None:
    lines = Text("".join(parts)).lines
    line = data.draw(st.integers(0, len(lines) - 1))
    cursor = Position(line, data.draw(st.integers(0, len(lines[line].rstrip("\n")))))
    window = choose_window(None, lines, cursor, Budget(3, 2))
    place = build_excerpt(window, lines, cursor)
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
        document.window = choose_window(document.window, lines, cursor, Budget(3, 2))
        assert 0 <= document.window.first <= cursor.line < document.window.end <= len(lines)


def test_edits_above_move_both_edges_and_edits_below_move_none() -> None:
    document = open_document("file:///a.py", "python", 1, "".join(LINES))
    document.window = choose_window(None, LINES, Position(100, 0), BUDGET)
    document.edit(Position(150, 0), Position(160, 0), "")
    document.edit(Position(3, 0), Position(3, 0), "x\n" * 4)
    window = choose_window(document.window, document.text.lines, Position(104, 0), BUDGET)
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
def test_text_after_the_anchor_is_typed_text(anchor: Position | None, typed: str) -> None:
    cursor = Position(3, 4)
    previous = Span(anchor, max(anchor, cursor)) if anchor else None
    span = update_anchor(previous, WINDOW, TEXT, cursor)
    place = build_excerpt(WINDOW, TEXT, cursor, span)
    assert place.prefix.endswith(typed)
    assert place.n_typed == len(typed)


def test_an_anchor_too_far_away_is_the_line_s_start() -> None:
    lines, cursor = ["x" * 99 + "\n"] * 20, Position(19, 5)
    edges = [
        update_anchor(Span(Position(n, 0), cursor), LineRange(0, 20), lines, cursor).start.line
        for n in range(20)
    ]
    n_near = MAX_TYPED_CHARS // 100
    assert edges == [*[19] * (19 - n_near), *range(19 - n_near, 20)]


def typed_in(document: Document, cursor: Position) -> Excerpt:
    lines = document.text.lines
    document.window = choose_window(document.window, lines, cursor, BUDGET)
    document.typed = update_anchor(document.typed, document.window, lines, cursor)
    return build_excerpt(document.window, lines, cursor, document.typed)


def test_closers_that_an_editor_adds_leave_the_model_s_suffix_as_it_was() -> None:
    document = open_document("file:///a.c", "c", 1, "int a;\n\nint b;\n")
    before = typed_in(document, Position(1, 0))
    document.edit(Position(1, 0), Position(1, 0), "f(")
    document.edit(Position(1, 2), Position(1, 2), ")")
    inside = typed_in(document, Position(1, 2))
    document.edit(Position(1, 2), Position(1, 2), "x")
    document.edit(Position(1, 4), Position(1, 4), " {}")
    document.edit(Position(1, 6), Position(1, 6), "\n  \n")
    deep = typed_in(document, Position(2, 2))
    assert (inside.suffix, inside.prompt_suffix) == (")\nint b;\n", "\nint b;\n")
    assert deep.prefix.endswith("f(x) {\n  ")
    assert (deep.n_typed, deep.suffix[: deep.n_closers]) == (9, "\n}")
    assert {before.prompt_suffix, deep.prompt_suffix} == {"\nint b;\n"}


def test_text_other_than_closers_sets_a_new_anchor() -> None:
    document = open_document("file:///a.c", "c", 1, "int a;\n\nint b;\n")
    typed_in(document, Position(1, 0))
    document.edit(Position(1, 0), Position(1, 0), "f(x")
    place = typed_in(document, Position(1, 2))
    assert (place.n_typed, place.n_closers, place.prompt_suffix) == (2, 0, "x\nint b;\n")


def test_an_edit_in_the_window_sets_a_new_anchor_and_one_outside_moves_it() -> None:
    document = open_document("file:///a.py", "python", 1, "".join(LINES))
    typed_in(document, Position(100, 0))
    document.edit(Position(100, 0), Position(100, 0), "a\nb")
    document.edit(Position(3, 0), Position(3, 0), "above\n")
    document.edit(Position(190, 0), Position(191, 0), "")
    assert typed_in(document, Position(102, 1)).n_typed == 3
    document.edit(Position(104, 0), Position(104, 1), "")
    assert typed_in(document, Position(102, 1)).n_typed == 1


def test_a_whole_text_sent_for_one_key_becomes_that_key() -> None:
    document = open_document("file:///a.py", "python", 1, "".join(LINES))
    typed_in(document, Position(100, 0))
    document.set_text("".join([*LINES[:100], "a\nb", *LINES[100:]]))
    assert typed_in(document, Position(101, 1)).n_typed == 3


@given(EDITS, st.text(")]\n ab", max_size=6))
def test_the_anchor_parts_the_text_and_loses_none_of_it(
    edits: list[tuple[Position, Position, str]], typed: str
) -> None:
    document = open_document("file:///a.py", "python", 1, "a\nb\nc\n")
    for start, end, text in edits:
        document.edit(start, end, text)
        place = typed_in(document, document.text.clamp(end))
        assert 0 <= place.n_typed <= len(place.prefix)
        assert place.suffix.endswith(place.prompt_suffix)
    document.edit(Position(0, 0), Position(0, 0), typed)
    assert str(document.text).startswith(typed)
