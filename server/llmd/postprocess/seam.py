"""Where the text meets the cursor's line: spaces and indentation. Pure."""

from __future__ import annotations

import re

from llmd.postprocess.indentation import Layout, lead

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
