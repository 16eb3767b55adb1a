"""Counts brackets in text of an unknown language. Pure.

A part that may be a string or a comment can only permit more closers, never fewer: openers inside
it count, closers inside it are ignored.
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
    opened: Mapping[str, int]  # number of unclosed brackets, by opener
    unopened: tuple[int, ...]  # offsets of closers without an opener


def count_brackets(
    text: str, opened: Mapping[str, int] | None = None, start: int = 0
) -> BracketCount:
    """Counts the brackets of `text` from offset `start` on, with `opened` already open.

    Brackets match by kind, not by nesting: a closer matches any open bracket of its kind.
    """
    n_open = Counter(opened or {})
    unopened: list[int] = []
    for match in _TOKEN.finditer(text):
        token, at = match[0], match.start()
        if at < start:
            continue
        if token not in OPENER_OF:
            for opener in CLOSER_OF:
                n_open[opener] += token.count(opener)
        elif n_open[OPENER_OF[token]]:
            n_open[OPENER_OF[token]] -= 1
        else:
            unopened.append(at)
    return BracketCount(n_open, tuple(unopened))


def is_surplus(text: str, at: int, is_whole: bool) -> bool:
    """Returns whether the closer without an opener at offset `at` is certainly surplus.

    It is if its line also has an opener of its kind, or consists of closers while `is_whole` (every
    open bracket is known). `1) a`, `[0, 1)` and `start)` are not surplus.
    """
    before = text[text.rfind("\n", 0, at) + 1 : at]
    is_closers = is_whole and not before.strip(" \t;,)]}")
    return OPENER_OF[text[at]] in before or is_closers


def is_inside_literal(prefix: str) -> bool:
    """Returns whether the end of `prefix` may be inside a string or comment of several lines."""
    in_string = any(prefix.count(mark) % 2 for mark in (*_TRIPLE, "`"))
    return in_string or prefix.rfind("/*") > prefix.rfind("*/")
