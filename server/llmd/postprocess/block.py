"""Whether a text fits the indentation below it, where colons open blocks (Python). Pure."""

from __future__ import annotations

import re

from llmd.postprocess import brackets
from llmd.postprocess.indentation import Layout, code

_BLOCK = re.compile(
    r"^\s*(?:async|class|def|elif|else|except|finally|for|if|try|while|with)\b[^;{]*:$",
    re.MULTILINE,
)
_OTHER = re.compile(r"[;{]$|^\s*(?:(?:end\w*|fi|done)[,;)]*$|\* |\d+\. )", re.MULTILINE)
# Strings and comments of these languages; brackets and lists in them are none of the code's.
_LITERAL = re.compile(
    r"""\"{3}[\s\S]*?\"{3}|'{3}[\s\S]*?'{3}|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|\#[^\n]*"""
)
_GOES_ON = re.compile(r"[,\\(\[{=+\-*/|&.]$|\b(?:and|or|not|in|is)$")


def without_misfit(text: str, layout: Layout) -> str:
    """A block's first line is not kept without a body, and in a hole of existing code nothing is
    where the line below is deeper and the text does not open its block."""
    if not text.strip() or layout.place.tail.strip() or not is_judged(layout):
        return text
    lines = text.rstrip().split("\n")
    last = code(layout.place.head + lines[0] if len(lines) == 1 else lines[-1])
    if brackets.count(last).unopened or brackets.is_literal(text):
        return text
    is_deeper = layout.depth(layout.below) > layout.depth(last)
    if last.endswith(":"):
        return text if is_deeper else "\n".join(lines[:-1])
    is_open = any(brackets.count(text).opened.values()) or _GOES_ON.search(last)
    return "" if layout.is_hole and is_deeper and not is_open else text


def is_judged(layout: Layout) -> bool:
    """Whether the cursor's blank line is one where colons open blocks."""
    place = layout.place
    if place.head.strip() or brackets.is_literal(place.prefix) or "```" in place.prefix:
        return False
    before, after = (_LITERAL.sub("''", side) for side in (place.prefix, place.suffix))
    window = f"{before}\n{after}"
    is_closed = not any(brackets.count(before).opened.values())
    return is_closed and bool(_BLOCK.search(window)) and not _OTHER.search(window)
