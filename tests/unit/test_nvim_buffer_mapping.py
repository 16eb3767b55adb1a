"""Checks that a document follows its Neovim buffer through any edit, byte by byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmd.document import Document, open_document
from llmd.transport.nvim.buffer_mapping import apply, buffer_text
from llmd.transport.nvim.msgpack_rpc import replace_invalid_bytes
from llmd.transport.nvim.protocol_types import Change

BYTES = st.binary(max_size=6) | st.sampled_from(["ä".encode(), "😋".encode(), b"ab", b"\r", b"\n"])
LINE = st.lists(BYTES, max_size=4).map(b"".join)


def make_document(lines: list[bytes]) -> Document:
    return open_document(
        "file:///t/a.py", "python", 1, buffer_text([decoded(line) for line in lines])
    )


def decoded(line: bytes) -> str:
    return line.decode("utf-8", "surrogateescape")


def line_lengths(document: Document) -> list[int]:
    return [len(line.encode()) for line in document.text.lines]


@given(st.lists(LINE, min_size=1, max_size=5), st.data())
def test_every_line_keeps_its_length_in_bytes(lines: list[bytes], data: st.DataObject) -> None:
    document = make_document(lines)
    for version in range(2, 6):
        first, last = sorted((data.draw(place(lines)), data.draw(place(lines))))
        new = data.draw(st.lists(LINE, min_size=1, max_size=3))
        apply(document, Change(1, version, first, last, [decoded(line) for line in new]))
        lines = spliced(lines, first, last, new)
        assert line_lengths(document) == [len(line) + 1 for line in lines] + [0]
        assert document.version == version


def place(lines: list[bytes]) -> st.SearchStrategy[tuple[int, int]]:
    return st.integers(0, len(lines) - 1).flatmap(
        lambda row: st.tuples(st.just(row), st.integers(0, len(lines[row])))
    )


def spliced(
    lines: list[bytes], first: tuple[int, int], last: tuple[int, int], new: list[bytes]
) -> list[bytes]:
    """Returns the lines after the change, as Neovim applies it."""
    head, tail = lines[first[0]][: first[1]], lines[last[0]][last[1] :]
    middle = b"\0EOL\0".join(new)
    changed = (head + middle + tail).split(b"\0EOL\0")
    return [*lines[: first[0]], *changed, *lines[last[0] + 1 :]]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (((1, 0), (2, 0), [""]), "a\nc\n"),  # a line
        (((2, 0), (3, 0), [""]), "a\nb\n"),  # the last line
        (((3, 0), (3, 0), ["d", ""]), "a\nb\nc\nd\n"),  # one behind the last
        (((0, 0), (3, 0), ["", ""]), "\n"),  # all of them
        (((0, 1), (2, 0), ["-"]), "a-c\n"),
        (((9, 9), (9, 9), ["x"]), "a\nb\nc\nx"),  # beyond the end
    ],
)
def test_whole_lines(change: tuple[tuple[int, int], tuple[int, int], list[str]], text: str) -> None:
    document = make_document([b"a", b"b", b"c"])
    apply(document, Change(1, 2, *change))
    assert str(document.text) == text


def test_half_a_character_is_a_byte_that_is_no_text() -> None:
    document = make_document(["aäb".encode()])
    apply(document, Change(1, 2, (0, 2), (0, 3), [""]))
    assert str(document.text) == "a?b\n"


def test_a_byte_that_is_no_utf8_is_one_character() -> None:
    assert replace_invalid_bytes(b"\xe4\xf6x".decode("utf-8", "surrogateescape")) == "??x"
