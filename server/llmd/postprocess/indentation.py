"""What the lines around the cursor say: indentation, opened blocks, nearest neighbours. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import gcd

from llmd.context.window import Excerpt
from llmd.postprocess import brackets

_COMMENT = re.compile(r"(?<=\S)\s+(?:#|//|--)\s.*$")
_OPENED = re.compile(r"(?:[:{(\[]|=>|->|\b(?:do|then)|\bfunction\b[^{}]*\)|\babort)$")
# Vim script, Lua and Ruby say it without a sign at the end; in Python such a line is unfinished.
_OPENED_BARE = re.compile(r"\s*(?:(?:if|elseif|for|while|def|class)\s[^:{;]*|else|try|repeat)$")
_CLOSERS: dict[str, tuple[str, ...]] = {"{": ("}",), "(": (")",), "[": ("]",), ":": (), ">": ()}
_CLOSING_WORDS = ("end", "fi", "done")
_INDENTED = re.compile(r"^([ \t]+)\S", re.MULTILINE)
_WIDTHS = (2, 4, 8)
TAB_COLUMNS = 4  # of a file that is indented with tabs; only ratios matter


def leading_whitespace(line: str) -> str:
    return line[: len(line) - len(line.lstrip(" \t"))]


def indent_columns(line: str, tab_columns: int) -> int:
    """How deep a line is indented."""
    blank = leading_whitespace(line)
    return len(blank) + blank.count("\t") * (tab_columns - 1)


def strip_comment(line: str) -> str:
    """A line without its comment and its blank end."""
    return _COMMENT.sub("", line).rstrip()


def opens_block(line: str) -> bool:
    return bool(_OPENED.search(strip_comment(line)))


def block_closers(line: str) -> tuple[str, ...]:
    """What the line that ends the block opened by `line` may begin with."""
    said = strip_comment(line)
    return _CLOSERS.get(said[-1:], _CLOSING_WORDS) if opens_block(line) else ()


@dataclass(frozen=True)
class Layout:
    """`above` and `below` are the nearest lines that are not blank, whole; empty: none."""

    excerpt: Excerpt

    @cached_property
    def opened(self) -> Mapping[str, int]:
        """The brackets open at the start of the cursor's line."""
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
        """The line after `below` that is not blank."""
        found = [line for line in self.lines_below if line.strip()]
        return found[1] if len(found) > 1 else ""

    @cached_property
    def lines_above(self) -> list[str]:
        return self.excerpt.prefix.split("\n")[:-1]

    @cached_property
    def lines_below(self) -> list[str]:
        return self.excerpt.suffix.split("\n")[1:]

    @cached_property
    def indents(self) -> frozenset[str]:
        own = (
            self.excerpt.head
            if self.excerpt.head.isspace()
            else leading_whitespace(self.excerpt.head)
        )
        around = _indents(self._whole_above) | _indents(self.excerpt.suffix)
        return around | {own} if own else around

    @cached_property
    def has_spaces(self) -> bool:
        """Whether nothing here is indented with a tab."""
        return bool(self.indents) and not any("\t" in x for x in self.indents)

    @cached_property
    def tab_columns(self) -> int:
        """As wide as one step of the file's own indentation."""
        if not self.has_spaces:
            return TAB_COLUMNS
        step = gcd(*map(len, self.indents))
        return max((w for w in _WIDTHS if step % w == 0), default=TAB_COLUMNS)

    def depth(self, line: str) -> int:
        return indent_columns(line, self.tab_columns)

    @cached_property
    def opener(self) -> str:
        """The line that opened the block whose body begins at the cursor; empty: none."""
        if self.excerpt.head.strip():
            return self.excerpt.head if opens_block(self.excerpt.head) else ""
        is_opened = opens_block(self.above) or bool(_OPENED_BARE.match(strip_comment(self.above)))
        return self.above if is_opened else ""

    @cached_property
    def closers(self) -> tuple[str, ...]:
        """What may end the opened block, unless the line below does that already."""
        found = block_closers(self.opener)
        is_beside = self.depth(self.below) == self.depth(self.opener)
        return () if is_beside and self.below.strip().startswith(found) else found

    @cached_property
    def is_gap(self) -> bool:
        """The cursor's blank line stands right before a line of the block it belongs to."""
        if not (self.lines_below and self.lines_below[0].strip()):
            return False
        wanted = self.depth(self.excerpt.head) if self.excerpt.head else self.depth(self.above)
        return self.depth(self.below) >= wanted + bool(self.opener and not self.excerpt.head)

    @cached_property
    def is_whole(self) -> bool:
        """Whether the window begins outside of every block."""
        lines = (*self.lines_above, self.excerpt.head)
        return not leading_whitespace(next((x for x in lines if x.strip()), ""))

    def n_lines(self, max_lines: int, n_gap: int) -> int:
        """One line inside a line, few in a hole, many where a block or a file goes on."""
        if self.excerpt.tail.strip():
            return 1
        if self.excerpt.head.strip():
            return max_lines if self.opener else 1
        return min(n_gap, max_lines) if self.is_gap else max_lines


# The text around a line stands still while one types there, and takes most of the time.
@lru_cache(maxsize=16)
def _opened(text: str) -> Mapping[str, int]:
    return brackets.count_brackets(text).opened


@lru_cache(maxsize=16)
def _indents(text: str) -> frozenset[str]:
    return frozenset(_INDENTED.findall(text))


@lru_cache(maxsize=1)
def cached_layout(place: Excerpt) -> Layout:
    """One layout for all the parts of an answer."""
    return Layout(place)


_BLOCK = re.compile(
    r"^\s*(?:async|class|def|elif|else|except|finally|for|if|try|while|with)\b[^;{]*:$",
    re.MULTILINE,
)
_OTHER_LANGUAGE = re.compile(r"[;{]$|^\s*(?:(?:end\w*|fi|done)[,;)]*$|\* |\d+\. )", re.MULTILINE)
# Strings and comments of these languages; brackets and lists in them are none of the code's.
_LITERAL = re.compile(
    r"""\"{3}[\s\S]*?\"{3}|'{3}[\s\S]*?'{3}|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|\#[^\n]*"""
)
_CONTINUES = re.compile(r"[,\\(\[{=+\-*/|&.]$|\b(?:and|or|not|in|is)$")


def drop_misindented(text: str, layout: Layout) -> str:
    """A block's first line is not kept without a body, and in a hole of existing code nothing is
    where the line below is deeper and the text does not open its block."""
    if not text.strip() or layout.excerpt.tail.strip() or not is_indentation_language(layout):
        return text
    lines = text.rstrip().split("\n")
    last = strip_comment(layout.excerpt.head + lines[0] if len(lines) == 1 else lines[-1])
    if brackets.count_brackets(last).unopened or brackets.is_inside_literal(text):
        return text
    is_deeper = layout.depth(layout.below) > layout.depth(last)
    if last.endswith(":"):
        return text if is_deeper else "\n".join(lines[:-1])
    is_open = any(brackets.count_brackets(text).opened.values()) or _CONTINUES.search(last)
    return "" if layout.is_gap and is_deeper and not is_open else text


def is_indentation_language(layout: Layout) -> bool:
    """Whether the cursor's blank line is one where colons open blocks."""
    place = layout.excerpt
    if place.head.strip() or brackets.is_inside_literal(place.prefix) or "```" in place.prefix:
        return False
    before, after = (_LITERAL.sub("''", side) for side in (place.prefix, place.suffix))
    window = f"{before}\n{after}"
    is_closed = not any(brackets.count_brackets(before).opened.values())
    return is_closed and bool(_BLOCK.search(window)) and not _OTHER_LANGUAGE.search(window)
