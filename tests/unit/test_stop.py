from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmd.context.window import Excerpt
from llmd.postprocess.stop import StopRule, is_missing_body, rule_for, stable_prefix, stop_at
from llmd.postprocess.trim import trim

ONE_LINE = StopRule(64, 1, 0, "", 1000)
BLOCK = StopRule(64, 3, 4, "print(x)", 1000)


@pytest.mark.parametrize(
    ("text", "rule", "kept", "reason"),
    [
        ("a + b", ONE_LINE, "a + b", ""),
        ("a + b\n    c", ONE_LINE, "a + b", "lines"),
        ("\nx", ONE_LINE, "", "lines"),
        ("x = 1\n    y = 2\ndef f", BLOCK, "x = 1\n    y = 2\ndef f", ""),
        ("x = 1\n    y = 2\ndef f():\n", BLOCK, "x = 1\n    y = 2", "indent"),
        ("x = 1\n    print(x)\n", BLOCK, "x = 1", "suffix"),
        ("\n    print(x)\n", BLOCK, "", "suffix"),
        ("\ndef f():\n", BLOCK, "", "indent"),
        ("print(x)\n", BLOCK, "", "suffix"),
        ("print(x)\n", replace(BLOCK, head="y = "), "print(x)\n", ""),
        ("t(x)\n", replace(BLOCK, head="    prin"), "", "suffix"),
        ("x = 1\n        print(x)\n", replace(BLOCK, next_indent=4), "x = 1", "suffix"),
        ("x = 1\n        }\n", replace(BLOCK, next_line="}", next_indent=4), None, ""),
        ("x = 1\n    }\n", replace(BLOCK, next_line="}", next_indent=4), "x = 1", "suffix"),
        ("  x\n  y\nz\n", replace(BLOCK, indent_floor=-1), "  x\n  y", "indent"),
        ("x\n\ty\n", replace(BLOCK, tab_columns=4), None, ""),
        ("x\n\ty\n", replace(BLOCK, tab_columns=2), "x", "indent"),
        ("x\n}\nz", replace(BLOCK, closers=("}",)), "x\n}", "indent"),
        ("x\n} else {\nz", replace(BLOCK, closers=("}",)), "x\n}", "indent"),
        ("x\n  }\nz", replace(BLOCK, closers=("}",)), "x", "indent"),
        ("x\n    y\n\n    z\n    w", BLOCK, "x\n    y\n\n    z", "lines"),
    ],
)
def test_a_text_is_cut(text: str, rule: StopRule, kept: str | None, reason: str) -> None:
    """`kept`: None for the whole text."""
    stop_point = stop_at(text, rule)
    assert (text[: stop_point.n_chars], stop_point.reason) == (
        text if kept is None else kept,
        reason,
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x = 1\ndef f", "indent"),
        ("x = 1\n    result = f", "suffix"),  # cut off inside a word of the next line
        ("x = 1\n    result = ", ""),
        ("x = 1\n    resu", ""),  # too short to identify the next line
    ],
)
def test_the_last_line_is_judged_at_the_end(text: str, reason: str) -> None:
    assert (
        stop_at(text, replace(BLOCK, next_line="result = foo(x)"), is_final=True).reason == reason
    )


def test_only_whole_lines_are_stable_in_a_block() -> None:
    assert stable_prefix("x = 1\n    y", BLOCK) == "x = 1"
    assert stable_prefix("x = 1", ONE_LINE) == "x = 1"


HOLES = {
    "nothing below": ("def f():\n    x\n", "", 8),
    "a line below": ("def f():\n    x\n", "    y\n", 3),
    "a blank line below": ("def f():\n    x\n", "\n    y\n", 8),
    "an empty body": ("def f():\n", "x\n", 8),
    "a body below": ("def f():\n", "    x\n", 3),
    "the end of a block": ("def f():\n    x\n", "y\n", 8),
}


@pytest.mark.parametrize(("above", "below", "max_lines"), HOLES.values(), ids=HOLES)
def test_a_gap_in_existing_code_gets_few_lines(above: str, below: str, max_lines: int) -> None:
    excerpt = Excerpt(above, "\n" + below, "", "", below.strip())
    assert rule_for(excerpt, 64, 8, 1500).max_lines == max_lines


@given(st.text("xy \n", max_size=20), st.integers(1, 3), st.integers(0, 2), st.sampled_from("xy"))
def test_no_later_token_removes_stable_text(
    text: str, max_lines: int, floor: int, next_line: str
) -> None:
    rule = StopRule(64, max_lines, floor, next_line, 1000)
    final = text[: stop_at(text, rule, is_final=True).n_chars]
    parts = [text[:n_chars] for n_chars in range(len(text) + 1)]
    assert all(
        final.startswith(stable_prefix(p, rule)) for p in parts if not stop_at(p, rule).reason
    )


def place(head: str, tail: str = "", next_line: str = "") -> Excerpt:
    return Excerpt(head, tail, head, tail, next_line)


@pytest.mark.parametrize(
    ("head", "tail", "max_lines", "floor"),
    [
        ("    return ", "", 1, 4),
        ("    ", "", 8, 4),
        ("    if x:", "", 8, 5),
        ("    f(", ")", 1, 5),
        ("    f(  # why", "", 8, 5),
        ("", "", 8, -1),
        ("    x = 1", "", 1, 4),
    ],
)
def test_the_place_decides_between_one_line_and_more(
    head: str, tail: str, max_lines: int, floor: int
) -> None:
    rule = rule_for(place(head, tail), 64, 8, 1500)
    assert (rule.max_lines, rule.indent_floor) == (max_lines, floor)


@pytest.mark.parametrize(
    ("text", "tail", "kept"),
    [
        ("a, b)", ")", "a, b"),
        ("a()", ")", "a()"),
        ("a())", ")", "a()"),
        ("a[0])]", ")]", "a[0]"),
        ("x  \n\n", "", "x"),
        (" \n ", "", ""),
        ("total = 0", "= 0", "total"),
        ("a\u202eb\x07", "", "ab"),
        ("a\r\nb", "", "a\nb"),
    ],
)
def test_a_finished_text_is_trimmed(text: str, tail: str, kept: str) -> None:
    assert trim(text, place("", tail)) == kept


@pytest.mark.parametrize(
    ("before", "after", "text", "expected"),
    [
        ("def f(a):\n    b = 1\n", "\n    c = 2\n", "    if a:", True),
        ("def f(a):\n    b = 1\n", "\n    c = 2\n", "    if a:\n", True),
        ("def f(a):\n    b = 1\n", "\n    c = 2\n", "    if a:\n        b = 2", False),
        ("def f(a):\n    b = 1\n    ", "\n    c = 2\n", "if a:", True),
        ("def f(a):\n    b = 1\n", "\n        c = 2\n", "    if a:", False),
        ("def f(a):\n    b = 1\n", "\n", "    if a:", True),
        ("def f(a):\n    b = 1\n", "\n", "    b += 1", False),
        ("A list:\n\n", "\n", "These:", False),
        ("def f(a):", "\n", "", True),
        ("def f(a):", "\n    return a\n", "\n", False),
        ("if (a) {", "\nb();\n", "", True),
        ("f(a, {", "})\n", "", False),
        ("    a = 1", "\n", "", False),
        ('def f(a):\n    """Says\n', '\n    """\n', "    this:", False),
    ],
    ids=[
        "opener",
        "newline",
        "body",
        "indented",
        "below",
        "end",
        "line",
        "prose",
        "opened",
        "has body",
        "brace",
        "closed",
        "no opener",
        "docstring",
    ],
)
def test_a_block_s_first_line_does_not_end_the_text(
    before: str, after: str, text: str, expected: bool
) -> None:
    head = before.rpartition("\n")[2]
    tail, _, below = after.partition("\n")
    place = Excerpt(before, after, head, tail, below.strip().split("\n")[0])
    rule = rule_for(place, 64, 8, 1000)
    assert is_missing_body(text, rule) is expected
    assert not is_missing_body(text, rule_for(place, 64, 8, 1000, frozenset({"block"})))
