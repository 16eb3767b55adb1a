"""The rules by name, so that an ablation can leave each out. Pure."""

from __future__ import annotations

# `cut` ends the decoding by the first five, `trim` takes from the finished text by the rest.
PURPOSES = {
    "lines": "one line, few or many, as the place asks for",
    "indent": "a line that leaves the cursor's block ends the text",
    "suffix": "what the file says next is not said again",
    "repeat": "lines, blocks and phrases that come again end the text",
    "brackets": "a closing bracket that closes nothing ends the text",
    "tail": "what stands right of the cursor is not said again",
    "seam": "spaces and indentation before the cursor are not said again",
    "block": "in a language of colons, the text fits the indentation below it",
}
RULES: tuple[str, ...] = tuple(PURPOSES)
