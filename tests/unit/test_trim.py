"""Tests finished completions before and after trimming."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmd.context.window import Excerpt
from llmd.postprocess.trim import trim


def trimmed(text: str, tail: str = "") -> str:
    return trim(text, Excerpt("", tail, "", tail, ""))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a + b", "a + b"),
        ("  a", "  a"),
        ("a  \n\n", "a"),
        ("a\r\n\tb", "a\n\tb"),
        ("a\r\x00\nb", "a\nb"),
        (" \n ", ""),
        ("", ""),
        ("a\x00b\x1b[31m\x7f", "ab[31m"),
        ("a\u202eb\u2066c\u200f", "abc"),
        ("é😀", "é😀"),
    ],
)
def test_nothing_invisible_and_no_blank_tail_is_left(text: str, expected: str) -> None:
    assert trimmed(text) == expected


@pytest.mark.parametrize(
    ("text", "tail", "expected"),
    [
        ("a)", ")", "a"),
        ("a()", ")", "a()"),
        ("f(a))", ")", "f(a)"),
        ("x):", "):", "x"),
        ("x)", "):", "x"),
        ("a[0]]", "]", "a[0]"),
        ("a }", "}", "a "),
        ('name"', '"', "name"),
        ('name")', '")', "name"),
        ('"a"', '"', '"a"'),
        ('"a")', ")", '"a"'),
        ("f();", ";", "f()"),
        ("f(a);", ");", "f(a);"),
        ("a);", ");", "a"),
        ("a);", ")", "a"),
        ("a) {", ")", "a"),
        ("a), b", ")", "a"),
        ("a) + f(b", ")", "a) + f(b"),
    ],
)
def test_an_existing_closer_is_not_repeated(text: str, tail: str, expected: str) -> None:
    assert trimmed(text, tail) == expected


@pytest.mark.parametrize(
    ("text", "tail", "expected"),
    [
        ("width, height)", " height)", "width,"),
        ("width", " height)", "width"),
        ("height)", "height)", ""),
        ("a", "  ", "a"),
        ("paths", "s", "paths"),
        ("--", "-", "--"),
        ("rplString", "String", "rplString"),
    ],
)
def test_the_rest_of_the_line_is_not_repeated(text: str, tail: str, expected: str) -> None:
    assert trimmed(text, tail) == expected


TEXTS = st.text("a()[]\"';, \n\r\x00", max_size=12)


@given(TEXTS, TEXTS)
def test_trimming_never_adds(text: str, tail: str) -> None:
    trimmed_text = trimmed(text, tail)
    assert text.replace("\x00", "").replace("\r\n", "\n").startswith(trimmed_text)
    assert trimmed_text == trimmed_text.rstrip() or tail.strip()
