"""Each rule by itself: what it changes, that it can be left out, that it can be streamed."""

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
from llmd.postprocess.brackets import count_brackets
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

# The file, what the model says, shown with the rule, shown without it.
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


def test_every_rule_says_what_it_is_for() -> None:
    assert set(WORTH) == set(RULES)


@pytest.mark.parametrize(("rule", "row"), WORTH.items(), ids=WORTH)
def test_a_rule_changes_its_row_and_can_be_left_out(
    rule: str, row: tuple[str, str, str, str]
) -> None:
    file, said, with_it, without_it = row
    assert shown(file, said) == with_it
    assert shown(file, said, frozenset({rule})) == without_it


def test_without_rules_a_text_stays() -> None:
    said = "a)  \nb\nb\nb"
    assert shown("f(‸)\nb\n", said, frozenset(RULES)) == said


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
def test_phrases_said_again_are_counted(line: str, expected: int) -> None:
    assert n_looped(line) == expected


def test_a_loop_takes_its_line_but_the_first_stays_as_it_was_streamed() -> None:
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
    found = count_brackets(text)
    assert "".join(x * n for x, n in found.opened.items()) == opened
    assert found.unopened == unopened


def test_closers_of_blocks_above_the_window_stay() -> None:
    assert shown("    x();\n    ‸\n", "y();\n  }\n}\n", frozenset({"indent"})) == "y();\n  }\n}"


ALL = {**PYTHON, **JAVASCRIPT, **OTHERS}


@pytest.mark.parametrize(("file", "said"), [row[:2] for row in ALL.values()], ids=ALL)
def test_no_later_character_takes_back_what_was_settled(file: str, said: str) -> None:
    rule, text = rule_for(at(file), 64, 8, 1500), said.replace("»", "\t")
    kept = text[: stop_at(text, rule, is_final=True).n_chars]
    for n_chars in range(len(text) + 1):
        if stop_at(text[:n_chars], rule).reason:
            break
        assert kept.startswith(stable_prefix(text[:n_chars], rule))


def test_a_rule_crosses_to_the_engine() -> None:
    rule = rule_for(at(JAVASCRIPT["a body with its closer"][0]), 64, 8, 1500)
    assert rule.closers == ("}",)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(rule), type=StopRule) == rule


def test_every_reason_crosses_back() -> None:
    rules = [(rule_for(at(row[0]), 64, 8, 1500), row[1]) for row in ALL.values()]
    reasons = {stop_at(said, rule, is_final=True).reason for rule, said in rules} - {""}
    loop = stop_at("ab(c), " * 6, StopRule(64, 3, 0, "", 1000, stops_repeats=True)).reason
    assert reasons | {loop} == {"lines", "indent", "suffix", "repeat", "brackets"}
    assert reasons | {loop} <= set(get_args(StopReason))


FILES = st.text("ab :{}()[]\"'\n\t#", max_size=30)


@given(FILES, FILES, FILES)
def test_any_place_and_text_are_borne(before: str, after: str, text: str) -> None:
    place = at(f"{before}‸{after}")
    rule = rule_for(place, 64, 8, 1500)
    found = stop_at(text, rule, is_final=True)
    assert 0 <= found.n_chars <= len(text)
    assert found.n_chars == stop_at(text[: found.n_chars], rule, is_final=True).n_chars
    assert len(trim(text, place).split("\n")) <= len(text.split("\n"))


@given(FILES, st.text("ab :{}()[]\"'\n", max_size=30))
@example("}", " )")
def test_what_was_settled_stays_anywhere(before: str, text: str) -> None:
    rule = rule_for(at(f"{before}‸\nb a\na"), 64, 3, 1500)
    kept = text[: stop_at(text, rule, is_final=True).n_chars]
    for n_chars in range(len(text) + 1):
        if stop_at(text[:n_chars], rule).reason:
            break
        assert kept.startswith(stable_prefix(text[:n_chars], rule))


def n_calls(text: str) -> int:
    """Python calls that one judgement takes: its cost, without a clock."""
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
