"""Builds a request's prompt as named pieces of text and sentinels. The worker turns the pieces into
token ids. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from llmd.context.window import Excerpt
from llmd.prompt.families import Family, Order, Typed

PieceName = Literal["pre", "suf", "mid", "token", "frame", "prefix", "suffix", "typed", "heal"]

_TOKEN = re.compile(r"<[^>]+>")


@dataclass(frozen=True, slots=True)
class Piece:
    """Represents one part of a prompt.

    `pre`, `suf`, `mid`: a sentinel. `token`: the token spelled `text`. `heal`: the worker applies
    token healing to the end of the text before the cursor. Other names: plain text.

    If the prompt does not fit, `prefix` loses tokens at its start and `suffix` at its end. `typed`
    continues the text of `prefix`; the worker moves their border to one between pre-tokens.
    """

    name: PieceName
    text: str = ""


def build_prompt(
    family: Family,
    order: Order,
    excerpt: Excerpt,
    file_name: str,
    typed: Typed = "prefix",
    heal: bool = False,
) -> tuple[Piece, ...]:
    """Builds the pieces of a prompt in the family's order.

    With `typed="after_mid"` the text typed since the anchor follows the middle sentinel, as a part
    of the middle that is already written (EFIM, arXiv 2505.21889). A key then only appends tokens.
    """
    healed = (Piece("heal"),) if heal else ()
    if family.name == "plain":
        return (Piece("prefix", excerpt.prefix), *healed)
    has_typed = typed == "after_mid" and order != "spm2"
    border = len(excerpt.prefix) - (excerpt.n_typed if has_typed else 0)
    prefix = Piece("prefix", excerpt.prefix[:border])
    suffix = Piece("suffix", excerpt.prompt_suffix)
    before, after = (Piece("pre"), prefix), (Piece("suf"), suffix)
    bodies = {"psm": before + after, "spm": after + before, "spm2": (Piece("pre"), *after)}
    middle = (Piece("mid"),) if family.mid or not family.spellings else ()
    return (
        *_frame(family.opening, file_name),
        *bodies[order],
        *middle,
        *_frame(family.closing, file_name),
        *((Piece("typed", excerpt.prefix[border:]),) if has_typed else ()),
        *((prefix,) if order == "spm2" else ()),
        *healed,
    )


def _frame(parts: tuple[str, ...], file_name: str) -> tuple[Piece, ...]:
    return tuple(
        Piece("token", part)
        if _TOKEN.fullmatch(part)
        else Piece("frame", part.replace("{path}", file_name))
        for part in parts
    )
