"""What is cut from a finished completion before an editor sees it. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable

from llmd.context.window import Excerpt
from llmd.postprocess import brackets
from llmd.postprocess.indentation import Layout, cached_layout, drop_misindented, leading_whitespace

_QUOTES = "\"'"
_N_TAIL = 3  # characters; shorter rests of a line often stand twice
_INVISIBLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def trim(text: str, excerpt: Excerpt, without: frozenset[str] = frozenset()) -> str:
    """Nothing invisible, no blank end, nothing that stands around the cursor already, nothing
    that can't stand there. `without` names the rules (`rules.RULES`) that are left out."""
    text = _INVISIBLE.sub("", text).replace("\r\n", "\n").rstrip()
    layout = cached_layout(excerpt)
    is_cut = (
        layout.is_whole
        and not excerpt.tail.strip()
        and not brackets.is_inside_literal(excerpt.prefix)
    )
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
    place = layout.excerpt
    tail = place.tail.strip()
    if not tail:
        return text
    kept = text.removesuffix(place.tail.rstrip())
    # `p|s` answered `as` and `/|/` answered `/` say nothing twice.
    is_in_word = kept[-1:].isalnum() and place.tail[0].isalnum()
    if kept != text and len(tail) >= _N_TAIL and not is_in_word and not _is_closing(tail):
        text = kept.rstrip()
    text = _cut_surplus_closer(text, layout, tail)
    return _drop_repeated_closer(text, tail) if _is_closing(tail) else text


def _is_closing(tail: str) -> bool:
    return set(tail) <= {*brackets.OPENER_OF, *_QUOTES, *brackets.SEPARATORS}


def _cut_surplus_closer(text: str, layout: Layout, below: str) -> str:
    """The text up to where it closes what `below`, which follows it, closes already.

    `foo(|)` answered `a)` becomes `a`; answered `a()` or `a) + b(c` it stays.
    """
    head = layout.excerpt.head
    n_head, whole = len(head), head + text
    said = brackets.count_brackets(whole, start=n_head)
    opened = brackets.count_brackets(head, layout.opened).opened
    closing = below[: len(below) - len(below.lstrip(")]} \t"))] or below
    cuts = [len(text)]
    for closer, opener in brackets.OPENER_OF.items():
        n_below = sum(closing[at] == closer for at in brackets.count_brackets(closing).unopened)
        n_free = max(opened.get(opener, 0) - n_below, 0) + said.opened.get(opener, 0)
        places = [at - n_head for at in said.unopened if whole[at] == closer]
        cuts += places[n_free : n_free + 1] if n_below else []
    kept = text[: min(cuts)]
    return kept if kept[kept.rfind("\n") + 1 :].strip() or kept == text else kept.rstrip()


def _drop_repeated_closer(text: str, tail: str) -> str:
    """Quotes and separators: `"a|"` answered `b"` becomes `b`."""
    for n_chars in range(len(tail), 0, -1):
        kept, said = text[:-n_chars], tail[:n_chars]
        is_closer = _n_unpaired(text) > _n_unpaired(kept) or set(said) <= set(brackets.SEPARATORS)
        if text.endswith(said) and is_closer:
            return kept
    return text


def _n_unpaired(text: str) -> int:
    return sum(text.count(quote) % 2 for quote in _QUOTES) + len(
        brackets.count_brackets(text).unopened
    )


_ENDS_WITH_SPACE = re.compile(r"^(?!.*\S {2}).*\S $")  # where nothing is aligned
_BEGINS_WITH_SPACE = re.compile(r" \S")


def strip_repeated_indent(text: str, layout: Layout) -> str:
    """Spaces and indentation that stand before the cursor are not said again.

    The cursor's column is what the user wants, but where the body of a block is still to be
    indented, and between brackets of several lines, where the text may align itself.
    """
    head = layout.excerpt.head
    if head.strip():
        is_doubled = _ENDS_WITH_SPACE.search(head) and _BEGINS_WITH_SPACE.match(text)
        return text[1:] if is_doubled else text
    is_body = layout.opener and layout.depth(head) <= layout.depth(layout.above)
    is_said = (
        leading_whitespace(text) and text.strip() and text[len(leading_whitespace(text))] != "\n"
    )
    return text if not head or is_body or not is_said else text[len(leading_whitespace(text)) :]
