"""What is cut from a finished completion before an editor sees it. Pure."""

from __future__ import annotations

import re

from llmd.context.window import Excerpt

_CLOSERS = {")": "(", "]": "[", "}": "{"}
_QUOTES = "\"'"
_SEPARATORS = ";,:"
_INVISIBLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def trim(text: str, place: Excerpt) -> str:
    """Nothing invisible, no blank tail, nothing that stands right of the cursor already."""
    text = _INVISIBLE.sub("", text.replace("\r\n", "\n")).rstrip()
    if tail := place.tail.strip():
        text = _without_tail(text, tail)
    return text if text.strip() else ""


def _without_tail(text: str, tail: str) -> str:
    if set(tail) <= {*_CLOSERS, *_QUOTES, *_SEPARATORS}:
        return _without_unopened(text, tail)
    return text.removesuffix(tail).rstrip() if text.endswith(tail) else text


def _without_unopened(text: str, tail: str) -> str:
    """`foo(|)` answered `a)` becomes `a`; answered `a()` it stays."""
    for n_chars in range(len(tail), 0, -1):
        kept, said = text[:-n_chars], tail[:n_chars]
        is_closer = _n_unopened(text) > _n_unopened(kept) or set(said) <= set(_SEPARATORS)
        if text.endswith(said) and is_closer:
            return kept
    return text


def _n_unopened(text: str) -> int:
    """Closing brackets without their opening one, and quotes without a second of their kind."""
    open_brackets: list[str] = []
    n_unopened = sum(text.count(quote) % 2 for quote in _QUOTES)
    for char in text:
        if char in _CLOSERS.values():
            open_brackets.append(char)
        elif char in _CLOSERS:
            if open_brackets and open_brackets[-1] == _CLOSERS[char]:
                open_brackets.pop()
            else:
                n_unopened += 1
    return n_unopened
