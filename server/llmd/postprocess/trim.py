"""Trims a finished completion before an editor receives it. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable

from llmd.context.window import Excerpt
from llmd.postprocess import bracket_count
from llmd.postprocess.indentation import Layout, cached_layout, drop_misindented, leading_whitespace

_QUOTES = "\"'"
_N_TAIL = 3  # characters; a shorter rest of a line often occurs twice
_INVISIBLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
# A line that ends with one space and has no run of spaces, so nothing in it is aligned.
_ENDS_WITH_SPACE = re.compile(r"^(?!.*\S {2}).*\S $")
_BEGINS_WITH_SPACE = re.compile(r" \S")


def trim(text: str, excerpt: Excerpt, without: frozenset[str] = frozenset()) -> str:
    """Removes invisible characters, trailing whitespace, repetitions of the text around the cursor,
    and text that does not fit there. `without`: names from `stop.RULES` to leave out."""
    text = _INVISIBLE.sub("", text).replace("\r\n", "\n").rstrip()
    layout = cached_layout(excerpt)
    is_cut = layout.is_whole and not excerpt.tail.strip()
    is_cut = is_cut and not bracket_count.is_inside_literal(excerpt.prefix)
    steps: dict[str, Callable[[str], str]] = {
        "seam": lambda text: strip_repeated_indent(text, layout),
        "tail": lambda text: _drop_repeated_tail(text, layout),
        "brackets": lambda text: (
            _cut_surplus_closer(text, layout, excerpt.next_line) if is_cut else text
        ),
        "block": lambda text: drop_misindented(text, layout),
    }
    for name, step in steps.items():
        text = text if name in without else step(text)
    return text if text.strip() else ""


def _drop_repeated_tail(text: str, layout: Layout) -> str:
    excerpt = layout.excerpt
    tail = excerpt.tail.strip()
    if not tail:
        return text
    shortened = text.removesuffix(excerpt.tail.rstrip())
    # `as` at `p|s` and `/` at `/|/` do not repeat the tail.
    is_in_word = shortened[-1:].isalnum() and excerpt.tail[0].isalnum()
    if shortened != text and len(tail) >= _N_TAIL and not is_in_word and not _is_closing(tail):
        text = shortened.rstrip()
    text = _cut_surplus_closer(text, layout, tail)
    return _drop_repeated_closer(text, tail) if _is_closing(tail) else text


def _is_closing(tail: str) -> bool:
    return set(tail) <= {*bracket_count.OPENER_OF, *_QUOTES, *bracket_count.SEPARATORS}


def _cut_surplus_closer(text: str, layout: Layout, below: str) -> str:
    """Cuts the text before a closer that `below`, the text after the cursor, already has.

    At `foo(|)` the text `a)` becomes `a`; `a()` and `a) + b(c` stay the same.
    """
    head = layout.excerpt.head
    n_head, whole = len(head), head + text
    counted = bracket_count.count_brackets(whole, start=n_head)
    opened = bracket_count.count_brackets(head, layout.opened).opened
    closing = below[: len(below) - len(below.lstrip(")]} \t"))] or below
    cuts = [len(text)]
    for closer, opener in bracket_count.OPENER_OF.items():
        n_below = sum(
            closing[at] == closer for at in bracket_count.count_brackets(closing).unopened
        )
        n_free = max(opened.get(opener, 0) - n_below, 0) + counted.opened.get(opener, 0)
        offsets = [at - n_head for at in counted.unopened if whole[at] == closer]
        cuts += offsets[n_free : n_free + 1] if n_below else []
    shortened = text[: min(cuts)]
    is_done = shortened == text or shortened[shortened.rfind("\n") + 1 :].strip()
    return shortened if is_done else shortened.rstrip()


def _drop_repeated_closer(text: str, tail: str) -> str:
    """Drops quotes and separators that `tail` already has: at `"a|"` the text `b"` becomes `b`."""
    for n_chars in range(len(tail), 0, -1):
        start, end = text[:-n_chars], tail[:n_chars]
        is_closer = _n_unpaired(text) > _n_unpaired(start) or set(end) <= set(
            bracket_count.SEPARATORS
        )
        if text.endswith(end) and is_closer:
            return start
    return text


def _n_unpaired(text: str) -> int:
    n_quotes = sum(text.count(quote) % 2 for quote in _QUOTES)
    return n_quotes + len(bracket_count.count_brackets(text).unopened)


def strip_repeated_indent(text: str, layout: Layout) -> str:
    """Drops spaces and indentation at the start of `text` that are already before the cursor.

    The cursor's column is the intended indentation, except at the start of a block's body, which
    the text still has to indent.
    """
    head = layout.excerpt.head
    if head.strip():
        is_doubled = _ENDS_WITH_SPACE.search(head) and _BEGINS_WITH_SPACE.match(text)
        return text[1:] if is_doubled else text
    is_body = layout.opener and layout.depth(head) <= layout.depth(layout.above)
    blank = leading_whitespace(text)
    is_repeated = blank and text.strip() and text[len(blank)] != "\n"
    return text if not head or is_body or not is_repeated else text[len(blank) :]
