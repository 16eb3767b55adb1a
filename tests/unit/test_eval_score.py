"""One suggestion against the truth."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmd.cli.eval.cases import EvalCase
from llmd.cli.eval.score import distance, n_kept, score, similarity

WORDS = st.text("ab \n", max_size=12)


def place(
    truth: str = "    x = 1", after: str = "\n    return x\n", before: str = "def f():\n"
) -> EvalCase:
    return EvalCase("T", before, after, truth)


@pytest.mark.parametrize(
    ("text", "first_line", "whole", "is_empty"),
    [
        ("    x = 1", True, True, False),
        ("x = 1  ", True, True, False),
        ("    x = 1\n    y = 2", True, False, False),
        ("    x = 2", False, False, False),
        ("", False, False, True),
        (" \n", False, False, True),
    ],
)
def test_exact(text: str, first_line: bool, whole: bool, is_empty: bool) -> None:
    found = score(place(), text)
    assert (found.first_line, found.whole, found.is_empty) == (first_line, whole, is_empty)


def test_empty_is_wrong_even_where_nothing_was_to_be_said() -> None:
    found = score(place(truth=""), "")
    assert (found.first_line, found.whole, found.similarity) == (False, False, 0.0)


@pytest.mark.parametrize(
    ("one", "other", "n"),
    [("", "", 0), ("", "abc", 3), ("kitten", "sitting", 3), ("ab", "ba", 2), ("abc", "abc", 0)],
)
def test_edit_distance(one: str, other: str, n: int) -> None:
    assert distance(one, other) == distance(other, one) == n


@given(WORDS, WORDS, WORDS)
def test_distance_is_a_metric(one: str, two: str, three: str) -> None:
    assert distance(one, three) <= distance(one, two) + distance(two, three)
    assert (distance(one, two) == 0) == (one == two)
    assert 0 <= similarity(one, two) <= 1


@pytest.mark.parametrize(
    ("text", "truth", "n"),
    [
        ("", "abc", 0),
        ("abd", "abc", 2),
        ("abc", "abcdef", 3),
        ("abcdef", "abc", 3),
        ("xbc", "abc", 0),
        ("abc", "abd", 2),
        ("", "a", 0),
        ("ab", "abc", 2),
        ("x", "y", 0),
    ],
)
def test_kept_is_the_common_start(text: str, truth: str, n: int) -> None:
    assert n_kept(text, truth) == n


@pytest.mark.parametrize(
    ("text", "truth", "repeats"),
    [
        ("    x = 1\n    return x", "    x = 1", True),
        ("    return x", "    x = 1", True),
        ("    x = 1", "    x = 1", False),
        ("    return x", "    return x", False),
        ("    return xy", "    x = 1", False),
        ("", "    x = 1", False),
    ],
    ids=["below", "alone", "not", "so does the truth", "longer", "empty"],
)
def test_repeating_the_next_line(text: str, truth: str, repeats: bool) -> None:
    assert score(place(truth), text).repeats is repeats


def test_the_cursors_line_counts_as_a_whole() -> None:
    assert score(place("x = 1", before="def f():\n    "), "return x").repeats
    assert not score(place("= 1", before="def f():\n    y "), "return x").repeats


@pytest.mark.parametrize(
    ("text", "breaks"),
    [
        ("    x = 2", False),
        ("    x = (", True),
        ("", None),
        ("    x = (\n    2)", None),
    ],
    ids=["parses", "does not", "empty", "several lines"],
)
def test_breaking_a_file(text: str, breaks: bool | None) -> None:
    assert score(place(), text).breaks is breaks


def test_a_file_that_did_not_parse_is_not_broken() -> None:
    assert score(place(after="\n)\n"), "    x = (").breaks is None
    assert score(EvalCase("T", "a", "b", "+", file_name="a.js"), "(").breaks is None
