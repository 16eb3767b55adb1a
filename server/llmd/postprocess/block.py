"""Whether a text fits the indentation below it, where colons open blocks (Python). Pure."""

from __future__ import annotations

import re

from llmd.postprocess import brackets
from llmd.postprocess.layout import Layout, code

_BLOCK = re.compile(
    r"^\s*(?:async|class|def|elif|else|except|finally|for|if|try|while|with)\b[^;{]*:$",
    re.MULTILINE,
)
_OTHER = re.compile(r"[;{]$|^\s*(?:(?:end\w*|fi|done)[,;)]*$|\* |\d+\. )", re.MULTILINE)
_GOES_ON = re.compile(r"[,\\(\[{=+\-*/|&.]$|\b(?:and|or|not|in|is)$")


def without_misfit(text: str, layout: Layout) -> str:
    """In a hole of existing code: a block's first line is not kept without a body, and nothing is
    where the line below is deeper and the text does not open its block."""
    if not text.strip() or layout.place.tail.strip() or not _is_judged(layout):
        return text
    lines = text.rstrip().split("\n")
    last = code(layout.place.head + lines[0] if len(lines) == 1 else lines[-1])
    if brackets.count(last).unopened or brackets.is_literal(text):
        return text
    is_opener = last.endswith(":")
    if is_opener and layout.depth(layout.below) <= layout.depth(last):
        return "\n".join(lines[:-1])
    is_open = any(brackets.count(text).opened.values()) or _GOES_ON.search(last)
    if not is_opener and not is_open and layout.depth(layout.below) > layout.depth(last):
        return ""
    return text


def _is_judged(layout: Layout) -> bool:
    place = layout.place
    window = f"{place.prefix}\n{place.suffix}"
    is_closed = not any(layout.opened.values())
    is_code = not brackets.is_literal(place.prefix) and "```" not in window
    return not place.head.strip() and is_closed and is_code and _is_colons(window, layout)


def _is_colons(window: str, layout: Layout) -> bool:
    has_blocks = bool(_BLOCK.search(window))
    return has_blocks and layout.is_hole and not _OTHER.search(window)
