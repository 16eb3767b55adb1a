"""Reads indentation and open blocks from the lines around the cursor, and drops text that does not
fit the indentation. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import gcd

from llmd.context.window import Excerpt
from llmd.postprocess import bracket_count

_COMMENT = re.compile(r"(?<=\S)\s+(?:#|//|--)\s.*$")
_OPENED = re.compile(r"(?:[:{(\[]|=>|->|\b(?:do|then)|\bfunction\b[^{}]*\)|\babort)$")
# Vim script, Lua and Ruby open blocks without a final character. In Python such a line would be
# unfinished.
_OPENED_BARE = re.compile(r"\s*(?:(?:if|elseif|for|while|def|class)\s[^:{;]*|else|try|repeat)$")
_CLOSERS: dict[str, tuple[str, ...]] = {"{": ("}",), "(": (")",), "[": ("]",), ":": (), ">": ()}
_CLOSING_WORDS = ("end", "fi", "done")
_INDENTED = re.compile(r"^([ \t]+)\S", re.MULTILINE)
_WIDTHS = (2, 4, 8)
TAB_COLUMNS = 4  # columns per tab in a file that is indented with tabs; only ratios matter
_BLOCK = re.compile(
    r"^\s*(?:async|class|def|elif|else|except|finally|for|if|try|while|with)\b[^;{]*:$",
    re.MULTILINE,
)
_OTHER_LANGUAGE = re.compile(r"[;{]$|^\s*(?:(?:end\w*|fi|done)[,;)]*$|\* |\d+\. )", re.MULTILINE)
# Strings and comments of Python and similar languages, whose brackets and lists are not code.
_LITERAL = re.compile(
    r"""\"{3}[\s\S]*?\"{3}|'{3}[\s\S]*?'{3}|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|\#[^\n]*"""
)
_CONTINUES = re.compile(r"[,\\(\[{=+\-*/|&.]$|\b(?:and|or|not|in|is)$")


def leading_whitespace(line: str) -> str:
    return line[: len(line) - len(line.lstrip(" \t"))]


def indent_columns(line: str, tab_columns: int) -> int:
    """Returns the width of a line's indentation in columns."""
    blank = leading_whitespace(line)
    return len(blank) + blank.count("\t") * (tab_columns - 1)


def strip_comment(line: str) -> str:
    """Returns a line without its final comment and whitespace."""
    return _COMMENT.sub("", line).rstrip()


def opens_block(line: str) -> bool:
    return bool(_OPENED.search(strip_comment(line)))


def block_closers(line: str) -> tuple[str, ...]:
    """Returns the possible beginnings of the line that ends the block opened by `line`."""
    last_char = strip_comment(line)[-1:]
    return _CLOSERS.get(last_char, _CLOSING_WORDS) if opens_block(line) else ()


@dataclass(frozen=True)
class Layout:
    """Describes the lines around the cursor. `above`, `below`: the nearest lines that are not
    blank; empty: there are none."""

    excerpt: Excerpt

    @cached_property
    def opened(self) -> Mapping[str, int]:
        """Returns the brackets that are open at the start of the cursor's line."""
        return _opened(self._whole_above)

    @cached_property
    def _whole_above(self) -> str:
        return self.excerpt.prefix[: len(self.excerpt.prefix) - len(self.excerpt.head)]

    @cached_property
    def above(self) -> str:
        return next((x for x in reversed(self.lines_above) if x.strip()), "")

    @cached_property
    def below(self) -> str:
        return next((x for x in self.lines_below if x.strip()), "")

    @cached_property
    def second_below(self) -> str:
        """Returns the next line after `below` that is not blank."""
        lines = [line for line in self.lines_below if line.strip()]
        return lines[1] if len(lines) > 1 else ""

    @cached_property
    def lines_above(self) -> list[str]:
        return self.excerpt.prefix.split("\n")[:-1]

    @cached_property
    def lines_below(self) -> list[str]:
        return self.excerpt.suffix.split("\n")[1:]

    @cached_property
    def indents(self) -> frozenset[str]:
        head = self.excerpt.head
        own = head if head.isspace() else leading_whitespace(head)
        around = _indents(self._whole_above) | _indents(self.excerpt.suffix)
        return around | {own} if own else around

    @cached_property
    def has_spaces(self) -> bool:
        """Returns whether all indentation around the cursor is made of spaces."""
        return bool(self.indents) and not any("\t" in x for x in self.indents)

    @cached_property
    def tab_columns(self) -> int:
        """Returns the width of one indentation step of the file in columns."""
        if not self.has_spaces:
            return TAB_COLUMNS
        step = gcd(*map(len, self.indents))
        return max((w for w in _WIDTHS if step % w == 0), default=TAB_COLUMNS)

    def depth(self, line: str) -> int:
        return indent_columns(line, self.tab_columns)

    @cached_property
    def opener(self) -> str:
        """Returns the line that opens the block whose body begins at the cursor; empty: none."""
        if self.excerpt.head.strip():
            return self.excerpt.head if opens_block(self.excerpt.head) else ""
        is_opened = opens_block(self.above) or bool(_OPENED_BARE.match(strip_comment(self.above)))
        return self.above if is_opened else ""

    @cached_property
    def closers(self) -> tuple[str, ...]:
        """Returns the possible beginnings of the line that ends the opened block.

        Empty if the line below ends the block already.
        """
        starts = block_closers(self.opener)
        is_aligned = self.depth(self.below) == self.depth(self.opener)
        return () if is_aligned and self.below.strip().startswith(starts) else starts

    @cached_property
    def is_gap(self) -> bool:
        """Returns whether the cursor's blank line is right above a line of the cursor's block."""
        if not (self.lines_below and self.lines_below[0].strip()):
            return False
        min_depth = self.depth(self.excerpt.head) if self.excerpt.head else self.depth(self.above)
        return self.depth(self.below) >= min_depth + bool(self.opener and not self.excerpt.head)

    @cached_property
    def is_whole(self) -> bool:
        """Returns whether the window begins outside of every block and so shows all openers."""
        lines = (*self.lines_above, self.excerpt.head)
        return not leading_whitespace(next((x for x in lines if x.strip()), ""))

    def n_lines(self, max_lines: int, n_gap: int) -> int:
        """Returns the most lines to suggest: one within a line, `n_gap` in a gap of existing code,
        `max_lines` where a block or a file continues."""
        if self.excerpt.tail.strip():
            return 1
        if self.excerpt.head.strip():
            return max_lines if self.opener else 1
        return min(n_gap, max_lines) if self.is_gap else max_lines


# The text around a line stays the same while the user types in that line, and is slow to scan.
@lru_cache(maxsize=16)
def _opened(text: str) -> Mapping[str, int]:
    return bracket_count.count_brackets(text).opened


@lru_cache(maxsize=16)
def _indents(text: str) -> frozenset[str]:
    return frozenset(_INDENTED.findall(text))


@lru_cache(maxsize=1)
def cached_layout(excerpt: Excerpt) -> Layout:
    """Returns the layout of an excerpt. All steps of one completion share the same layout."""
    return Layout(excerpt)


def drop_misindented(text: str, layout: Layout) -> str:
    """Drops text that does not fit the indentation of the line below, in a language of colons.

    Drops the last line if it opens a block without a body. In a gap of existing code, drops
    everything if the line below is deeper and the text does not open the block of that line.
    """
    if not text.strip() or layout.excerpt.tail.strip() or not is_indentation_language(layout):
        return text
    lines = text.rstrip().split("\n")
    last = strip_comment(layout.excerpt.head + lines[0] if len(lines) == 1 else lines[-1])
    if bracket_count.count_brackets(last).unopened or bracket_count.is_inside_literal(text):
        return text
    is_deeper = layout.depth(layout.below) > layout.depth(last)
    if last.endswith(":"):
        return text if is_deeper else "\n".join(lines[:-1])
    is_open = any(bracket_count.count_brackets(text).opened.values()) or _CONTINUES.search(last)
    return "" if layout.is_gap and is_deeper and not is_open else text


def is_indentation_language(layout: Layout) -> bool:
    """Returns whether the cursor is on a blank line of code in which colons open blocks."""
    excerpt = layout.excerpt
    is_code = not excerpt.head.strip() and "```" not in excerpt.prefix
    if not is_code or bracket_count.is_inside_literal(excerpt.prefix):
        return False
    before, after = (_LITERAL.sub("''", side) for side in (excerpt.prefix, excerpt.suffix))
    window = f"{before}\n{after}"
    is_closed = not any(bracket_count.count_brackets(before).opened.values())
    return is_closed and bool(_BLOCK.search(window)) and not _OTHER_LANGUAGE.search(window)
