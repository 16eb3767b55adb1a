"""Tests each rule alone: what it changes, that it is optional, that it works while streaming."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import get_args

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.unit.test_postprocess_languages import JAVASCRIPT, OTHERS, PYTHON, at, shown

from llmd.engine.messages import StopReason
from llmd.postprocess.bracket_count import count_brackets
from llmd.postprocess.repeats import n_looped, n_repeated
from llmd.postprocess.stop import (
    RULES,
    StopPoint,
    StopRule,
    rule_for,
    stable_prefix,
    stop_at,
)
from llmd.postprocess.trim import trim

# The file, the model's output, the text shown with the rule, the text shown without it.
WORTH = {
    "lines": ("x = ‸\n", "f(1)\ny = 2\n", "f(1)", "f(1)\ny = 2"),
    "indent": ("def f():\n    ‸\n", "a\nb\n", "a", "a\nb"),
    "suffix": ("a = 1\n‸\nb = 2\n", "c = 3\nb = 2\n", "c = 3", "c = 3\nb = 2"),
    "repeat": ("def f():\n    ‸\n", "a\n    a\n    a\n", "a", "a\n    a\n    a"),
    "brackets": ("x = f(‸\n", "a))\n", "a)", "a))"),
    "tail": ("f(‸)\n", "a)\n", "a", "a)"),
    "seam": ("x = ‸\n", " a\n", "a", " a"),
    "block": ("def f():\n    a = 1\n‸\n    b = 2\n", "    if a:\n", "", "    if a:"),
}


def test_every_rule_has_an_example() -> None:
    assert set(WORTH) == set(RULES)


@pytest.mark.parametrize(("rule", "row"), WORTH.items(), ids=WORTH)
def test_a_rule_changes_its_row_and_can_be_left_out(
    rule: str, row: tuple[str, str, str, str]
) -> None:
    file, output, with_it, without_it = row
    assert shown(file, output) == with_it
    assert shown(file, output, frozenset({rule})) == without_it


def test_without_rules_a_text_stays() -> None:
    output = "a)  \nb\nb\nb"
    assert shown("f(‸)\nb\n", output, frozenset(RULES)) == output


REPEATS = {
    "a line three times": (["a", "b", "b", "b"], 2),
    "a line twice": (["a", "b", "b"], 0),
    "at other depths": (["  a", " a", "a"], 0),
    "a block twice": (["a", "b", "a", "b"], 2),
    "a block not yet twice": (["a", "b", "a"], 0),
    "a block of four twice": ([*"abcdabcd"], 4),
    "a block of five twice": ([*"abcdeabcde"], 0),
    "rows without a letter": (["1, 1,", "1, 1,", "1, 1,"], 0),
    "nothing": ([], 0),
}


@pytest.mark.parametrize(("lines", "expected"), REPEATS.values(), ids=REPEATS)
def test_repeated_lines_are_counted(lines: list[str], expected: int) -> None:
    assert n_repeated(lines) == expected


LOOPS = {
    "a short phrase six times": ("x=" + "abc " * 6, 16),
    "a short phrase five times": ("x=" + "abc " * 5, 0),
    "a long phrase four times": ("and the others " * 4, 30),
    "a long phrase three times": ("and the others " * 3, 0),
    "a row of numbers": ("0, " * 40, 0),
    "a line of dashes": ("-" * 120, 0),
    "dashes without end": ("-" * 200, 194),
}


@pytest.mark.parametrize(("line", "expected"), LOOPS.values(), ids=LOOPS)
def test_repeated_phrases_are_counted(line: str, expected: int) -> None:
    assert n_looped(line) == expected


def test_a_loop_drops_its_line_but_a_first_line_stays_as_streamed() -> None:
    rule = StopRule(64, 3, 0, "", 1000, stops_repeats=True)
    looped = "ab(c), " * 6
    assert stop_at("x\n" + looped, rule) == StopPoint(1, "repeat")
    assert stop_at(looped, rule).n_chars == len("ab(c), " * 2)


BRACKETS = {
    "closed": ("f(a[0])", "", ()),
    "open": ("f(a[", "([", ()),
    "a closer of nothing": ("a)", "", (1,)),
    "crossed": ("(a[b)", "[", ()),
    "strings close nothing": ("f(')'", "(", ()),
    "strings may open": ('"("', "(", ()),
    "comments close nothing": ("f( # )", "(", ()),
    "an escaped quote": (r'"\")"', "", ()),
    "a string without end": ('"a)', "", ()),
    "the next line is code": ('"a\n)', "", (3,)),
}


@pytest.mark.parametrize(("text", "opened", "unopened"), BRACKETS.values(), ids=BRACKETS)
def test_brackets_are_counted(text: str, opened: str, unopened: tuple[int, ...]) -> None:
    counted = count_brackets(text)
    assert "".join(x * n for x, n in counted.opened.items()) == opened
    assert counted.unopened == unopened


def test_closers_of_blocks_above_the_window_stay() -> None:
    assert shown("    x();\n    ‸\n", "y();\n  }\n}\n", frozenset({"indent"})) == "y();\n  }\n}"


ALL = {**PYTHON, **JAVASCRIPT, **OTHERS}


@pytest.mark.parametrize(("file", "output"), [row[:2] for row in ALL.values()], ids=ALL)
def test_no_later_character_removes_stable_text(file: str, output: str) -> None:
    rule, text = rule_for(at(file), 64, 8, 1500), output.replace("»", "\t")
    kept = text[: stop_at(text, rule, is_final=True).n_chars]
    for n_chars in range(len(text) + 1):
        if stop_at(text[:n_chars], rule).reason:
            break
        assert kept.startswith(stable_prefix(text[:n_chars], rule))


def test_a_rule_crosses_to_the_engine() -> None:
    rule = rule_for(at(JAVASCRIPT["a body with its closer"][0]), 64, 8, 1500)
    assert rule.closers == ("}",)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(rule), type=StopRule) == rule


def test_every_stop_reason_can_be_encoded() -> None:
    rules = [(rule_for(at(row[0]), 64, 8, 1500), row[1]) for row in ALL.values()]
    reasons = {stop_at(output, rule, is_final=True).reason for rule, output in rules} - {""}
    loop = stop_at("ab(c), " * 6, StopRule(64, 3, 0, "", 1000, stops_repeats=True)).reason
    assert reasons | {loop} == {"lines", "indent", "suffix", "repeat", "brackets"}
    assert reasons | {loop} <= set(get_args(StopReason))


FILES = st.text("ab :{}()[]\"'\n\t#", max_size=30)


@given(FILES, FILES, FILES)
def test_any_place_and_text_are_borne(before: str, after: str, text: str) -> None:
    place = at(f"{before}‸{after}")
    rule = rule_for(place, 64, 8, 1500)
    stop_point = stop_at(text, rule, is_final=True)
    assert 0 <= stop_point.n_chars <= len(text)
    assert stop_point.n_chars == stop_at(text[: stop_point.n_chars], rule, is_final=True).n_chars
    assert len(trim(text, place).split("\n")) <= len(text.split("\n"))


@given(FILES, st.text("ab :{}()[]\"'\n", max_size=30))
@example("}", " )")
@example("", " \n }")
@example("", "a\n \n }")
@example("", "a \n }")
def test_stable_text_stays_at_any_cursor(before: str, text: str) -> None:
    rule = rule_for(at(f"{before}‸\nb a\na"), 64, 3, 1500)
    kept = text[: stop_at(text, rule, is_final=True).n_chars]
    for n_chars in range(len(text) + 1):
        if stop_at(text[:n_chars], rule).reason:
            break
        assert kept.startswith(stable_prefix(text[:n_chars], rule))


def n_calls(text: str) -> int:
    """Returns the number of Python calls of one check: its cost, without a clock."""
    rule, calls = rule_for(at("def f():\n    ‸\n    z = 1\n"), 512, 64, 1500), 0

    def tick(_frame: object, event: str, _arg: object) -> None:
        nonlocal calls
        calls += event == "call"

    before = sys.getprofile()
    sys.setprofile(tick)
    try:
        assert stop_at(text, replace(rule, max_lines=64)).reason == ""
    finally:
        sys.setprofile(before)
    return calls


def test_a_judgement_costs_no_more_for_a_line_further_down() -> None:
    lines = [f"a{n} = f({n})\n    " for n in range(40)]
    costs = [n_calls("".join(lines[:n])) for n in (10, 20, 40)]
    assert costs[2] - costs[1] == 2 * (costs[1] - costs[0])
