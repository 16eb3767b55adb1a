"""Cutting text so that no special spelling in it is matched. Pure."""

from __future__ import annotations

import re
from functools import lru_cache

Attributes = tuple[str, ...]


@lru_cache(4)
def _pattern(spellings: Attributes) -> re.Pattern[str] | None:
    longest_first = sorted(spellings, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first))) if spellings else None


def split_spellings(text: str, spellings: Attributes) -> list[str]:
    """`text` in parts none of which holds a whole spelling: cut after its first character.

    llama.cpp matches USER_DEFINED tokens in plain text, whatever `parse_special` says.
    """
    pattern = _pattern(spellings)
    parts, start = [], 0
    while pattern and (match := pattern.search(text, start)):
        parts.append(text[start : match.start() + 1])
        start = match.start() + 1
    return [part for part in (*parts, text[start:]) if part]
