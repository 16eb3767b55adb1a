"""Where the text meets the cursor's line: spaces, indentation, tabs. Pure."""

from __future__ import annotations

import re

from llmd.postprocess.layout import TAB_COLUMNS, Layout, columns, lead

_ENDS_IN_ONE = re.compile(r"^(?!.*\S {2}).*\S $")  # where nothing is aligned
_BEGINS_WITH_ONE = re.compile(r" \S")


def without_seam(text: str, layout: Layout) -> str:
    """Spaces and indentation that stand before the cursor are not said again.

    The cursor's column is what the user wants, but where the body of a block is still to be
    indented, and between brackets of several lines, where the text may align itself.
    """
    head = layout.place.head
    if head.strip():
        is_doubled = _ENDS_IN_ONE.search(head) and _BEGINS_WITH_ONE.match(text)
        return text[1:] if is_doubled else text
    is_body = layout.opener and layout.depth(head) <= layout.depth(layout.above)
    is_said = lead(text) and text.strip() and text[len(lead(text))] != "\n"
    return text if not head or is_body or not is_said else text[len(lead(text)) :]


def in_own_indentation(text: str, layout: Layout) -> str:
    """Indentation in tabs where the file has tabs, in spaces where it has nothing else."""
    n_first = 1 if layout.place.head.strip() else 0
    first, *others = text.split("\n")
    step = _step([first, *others][n_first:])
    lines = [_indented(line, layout, step) for line in others]
    return "\n".join([first if n_first else _indented(first, layout, step), *lines])


def _step(lines: list[str]) -> int:
    """How many spaces the text takes for one step; 0: it can't be told."""
    widths = [len(lead(line)) for line in lines if line.startswith(" ") and line.strip()]
    return next((n for n in (TAB_COLUMNS, 2) if all(width % n == 0 for width in widths)), 0)


def _indented(line: str, layout: Layout, step: int) -> str:
    blank = lead(line)
    if layout.has_tabs and step and blank and not blank.strip(" "):
        return "\t" * (len(blank) // step) + line[len(blank) :]
    if layout.has_spaces and "\t" in blank:
        return " " * columns(blank, layout.tab_columns) + line[len(blank) :]
    return line
