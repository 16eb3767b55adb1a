"""Tests the list of lines against a reference that holds the whole text as one string."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmd.document import (
    Edit,
    Encoding,
    Position,
    Text,
    col_chars,
    col_units,
    split_lines,
    strip_line_end,
)

CHARS = st.sampled_from(
    ["a", "b", " ", "\t", "\n", "\r", "\r\n", "\f", "\u2028", "\x85", "é", "😀"]
)
TEXTS = st.lists(CHARS, max_size=20).map("".join)
NUMBERS = st.integers(0, 12)
EDITS = st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS, TEXTS), max_size=8)
ENCODINGS: tuple[Encoding, ...] = ("utf-8", "utf-16", "utf-32")


def reference_lines(text: str) -> list[tuple[int, int]]:
    """Returns start and end, without the line end, of each line as defined by the LSP."""
    spans, start = [], 0
    for match in re.finditer(r"\r\n|\n|\r", text):
        spans.append((start, match.start()))
        start = match.end()
    return [*spans, (start, len(text))]


def reference_offset(text: str, line: int, col: int) -> int:
    spans = reference_lines(text)
    if line >= len(spans):
        return len(text)
    start, end = spans[line]
    return min(start + col, end)


@given(TEXTS, EDITS)
def test_edits_agree_with_the_joined_string(
    text: str, edits: list[tuple[int, int, int, int, str]]
) -> None:
    ours, expected = Text(text), text
    for line_a, col_a, line_b, col_b, new in edits:
        start, end = sorted(
            (reference_offset(expected, line_a, col_a), reference_offset(expected, line_b, col_b))
        )
        expected = expected[:start] + new + expected[end:]
        ours.replace(Position(line_a, col_a), Position(line_b, col_b), new)
        assert str(ours) == expected
        assert ours.lines == split_lines(expected)
        assert [strip_line_end(line) for line in ours.lines] == [
            expected[a:b] for a, b in reference_lines(expected)
        ]
        assert ours.n_chars == len(expected)


@given(TEXTS, EDITS)
def test_the_minimal_edit_has_the_same_effect_and_its_new_end_is_right(
    text: str, edits: list[tuple[int, int, int, int, str]]
) -> None:
    ours, whole = Text(text), Text(text)
    for line_a, col_a, line_b, col_b, new in edits:
        start, end = Position(line_a, col_a), Position(line_b, col_b)
        edit = ours.minimal_edit(start, end, new)
        n_before = ours.n_chars
        ours.replace(edit.start, edit.end, edit.text)
        whole.replace(start, end, new)
        assert str(ours) == str(whole)
        assert abs(ours.n_chars - n_before) <= max(len(edit.text), n_before)
        if "\r" not in str(ours):
            assert edit.new_end == ours.clamp(edit.new_end)


@pytest.mark.parametrize(
    ("start", "end", "text", "expected"),
    [
        ((0, 0), (0, 2), "axb", Edit(Position(0, 1), Position(0, 1), "x")),
        ((0, 0), (9, 0), "ab\ncd\nx", Edit(Position(2, 0), Position(2, 0), "x")),
        ((0, 0), (9, 0), "ab\n", Edit(Position(1, 0), Position(2, 0), "")),
        ((0, 1), (1, 1), "b\nzc", Edit(Position(1, 0), Position(1, 0), "z")),
        ((0, 1), (0, 1), "a", Edit(Position(0, 1), Position(0, 1), "a")),
    ],
    ids=["a line", "a document", "cut", "over lines", "a key"],
)
def test_unchanged_text_is_not_part_of_the_minimal_edit(
    start: tuple[int, int], end: tuple[int, int], text: str, expected: Edit
) -> None:
    assert Text("ab\ncd\n").minimal_edit(Position(*start), Position(*end), text) == expected


@given(TEXTS, EDITS)
def test_replace_returns_what_changed(
    text: str, edits: list[tuple[int, int, int, int, str]]
) -> None:
    ours = Text(text)
    for line_a, col_a, line_b, col_b, new in edits:
        before = list(ours.lines)
        first, n_old, n_new = ours.replace(Position(line_a, col_a), Position(line_b, col_b), new)
        assert len(ours.lines) == len(before) - n_old + n_new
        assert ours.lines[:first] == before[:first]
        assert ours.lines[first + n_new :] == before[first + n_old :]


@given(TEXTS.map(lambda text: re.sub(r"[\r\n]", "", text)))
def test_columns_round_trip(line: str) -> None:
    for encoding in ENCODINGS:
        units = [col_units(line, col, encoding) for col in range(len(line) + 1)]
        codec = {"utf-8": ("utf-8", 1), "utf-16": ("utf-16-le", 2), "utf-32": ("utf-32-le", 4)}
        name, n_bytes = codec[encoding]
        assert units == [len(line[:col].encode(name)) // n_bytes for col in range(len(line) + 1)]
        assert [col_chars(line, unit, encoding) for unit in units] == list(range(len(line) + 1))
        assert col_chars(line, units[-1] + 9, encoding) == len(line)


def test_inside_an_emoji_is_its_start() -> None:
    assert [col_chars("a😀b", unit, "utf-8") for unit in range(7)] == [0, 1, 1, 1, 1, 2, 3]
    assert [col_chars("a😀b", unit, "utf-16") for unit in range(5)] == [0, 1, 1, 2, 3]


def test_only_lsp_line_ends_end_a_line() -> None:
    assert split_lines("a\fb\u2028c\x85d\x0be\nf\r\ng\rh") == [
        "a\fb\u2028c\x85d\x0be\n",
        "f\r\n",
        "g\r",
        "h",
    ]
    assert split_lines("") == [""]
    assert split_lines("a\n") == ["a\n", ""]


def test_an_edit_can_join_a_line_end() -> None:
    text = Text("a\rb")
    assert text.replace(Position(1, 0), Position(1, 0), "\n")[0] == 0
    assert text.lines == ["a\r\n", "b"]


def test_a_column_past_the_end_is_the_end() -> None:
    text = Text("abc")
    text.replace(Position(0, 9), Position(0, 9), "X")
    assert str(text) == "abcX"
