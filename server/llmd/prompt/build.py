"""A request's prompt as named pieces of text and marks. Token ids are the engine's affair. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from llmd.context.window import Excerpt
from llmd.prompt.families import Family, Order

Name = Literal["pre", "suf", "mid", "token", "frame", "prefix", "suffix"]

_TOKEN = re.compile(r"<[^>]+>")


@dataclass(frozen=True, slots=True)
class Piece:
    """`pre`, `suf`, `mid`: that sentinel. `token`: the token spelled `text`. Else plain text.

    `prefix` may lose lines at its start, `suffix` at its end, when the prompt does not fit.
    """

    name: Name
    text: str = ""


def build(family: Family, order: Order, excerpt: Excerpt, file_name: str) -> tuple[Piece, ...]:
    """The pieces, most stable first within what the family's order allows."""
    prefix, suffix = Piece("prefix", excerpt.prefix), Piece("suffix", excerpt.suffix)
    if family.name == "plain":
        return (prefix,)
    before = (Piece("pre"), prefix)
    after = (Piece("suf"), suffix)
    body = before + after if order == "psm" else after + before
    middle = (Piece("mid"),) if family.mid or not family.spellings else ()
    return (
        *_frame(family.opening, file_name),
        *body,
        *middle,
        *_frame(family.closing, file_name),
    )


def _frame(parts: tuple[str, ...], file_name: str) -> tuple[Piece, ...]:
    return tuple(
        Piece("token", part)
        if _TOKEN.fullmatch(part)
        else Piece("frame", part.replace("{path}", file_name))
        for part in parts
    )
