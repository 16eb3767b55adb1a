"""Brackets counted in text whose language is not known. Pure.

What may be a string or a comment only ever allows more: brackets opened there count, brackets
closed there are passed over.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

OPENER_OF = {")": "(", "]": "[", "}": "{"}
CLOSER_OF = {opener: closer for closer, opener in OPENER_OF.items()}
SEPARATORS = ";,:"
_TOKEN = re.compile(
    r"""\\. | "(?:\\.|[^"\\\n])*"? | '(?:\\.|[^'\\\n])*'? | `[^`\n]*`?
    | (?:/\*|//|\#|--)[^\n]* | [()\[\]{}]""",
    re.VERBOSE,
)
_TRIPLE = ('"""', "'''")


@dataclass(frozen=True, slots=True)
class BracketCount:
    opened: Mapping[str, int]  # by opener
    unopened: tuple[int, ...]  # where a closer stands that closes nothing


def count_brackets(
    text: str, opened: Mapping[str, int] | None = None, start: int = 0
) -> BracketCount:
    """By kind, not by nesting: a closer takes any opener of its kind, from `start` on."""
    left = Counter(opened or {})
    unopened: list[int] = []
    for token in _TOKEN.finditer(text):
        said, at = token[0], token.start()
        if at < start:
            continue
        if said not in OPENER_OF:
            for opener in CLOSER_OF:
                left[opener] += said.count(opener)
        elif left[OPENER_OF[said]]:
            left[OPENER_OF[said]] -= 1
        else:
            unopened.append(at)
    return BracketCount(left, tuple(unopened))


def is_surplus(text: str, at: int, is_whole: bool) -> bool:
    """Whether the unopened closer at `at` can be nothing else: its line opens one too, or, where
    nothing is open unseen, is made of closers. `1) a`, `[0, 1)` and `start)` stay."""
    before = text[text.rfind("\n", 0, at) + 1 : at]
    is_closers = is_whole and not before.strip(" \t;,)]}")
    return OPENER_OF[text[at]] in before or is_closers


def is_inside_literal(prefix: str) -> bool:
    """Whether the cursor may stand in a string or comment of several lines."""
    in_string = any(prefix.count(mark) % 2 for mark in (*_TRIPLE, "`"))
    return in_string or prefix.rfind("/*") > prefix.rfind("*/")
