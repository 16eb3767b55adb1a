"""Builds the stop rule for a cursor, and finds where the rule ends a completion. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from llmd.context.window import Excerpt
from llmd.postprocess import bracket_count, repeats
from llmd.postprocess.indentation import (
    Layout,
    cached_layout,
    indent_columns,
    is_indentation_language,
    strip_comment,
)

# `stop_at` ends the decoding by the first five; `trim` shortens the finished text by the others.
RULES = (
    "lines",  # the cursor's position decides whether one, few or many lines are suggested
    "indent",  # a line that leaves the cursor's block ends the text
    "suffix",  # the text does not repeat the next lines of the file
    "repeat",  # repeated lines, blocks and phrases end the text
    "brackets",  # a closing bracket without an opening bracket ends the text
    "tail",  # the text does not repeat the characters after the cursor
    "seam",  # the text does not repeat the spaces and indentation before the cursor
    "block",  # in a language of colons, the text fits the indentation of the next line
)

N_GAP_LINES = 3  # most lines of text in a gap of existing code
# Lines that often occur twice in a row, one block within another.
_COMMON = re.compile(r"\W*|(?:end\w*|fi|done|esac|else|try|break|continue|pass|return)\W*")
_CLOSING = re.compile(r"[)\]}a-z]")
_N_PART = 8  # characters of the next line that identify it
_CLOSER = re.compile(r"\s*(?:[)\]}]+|\w+)[;,)]*")


@dataclass(frozen=True, slots=True)
class StopRule:
    """Describes when a completion ends, as plain values that can be sent to the worker.

    The completion ends before a line that is indented by less than `indent_floor` columns or that
    equals `next_line`. An `indent_floor` of -1 means the first line's own indentation. `max_lines`
    counts lines that hold text.
    """

    max_tokens: int
    max_lines: int
    indent_floor: int
    next_line: str
    deadline_ms: int
    tab_columns: int = 1
    next_indent: int = -1  # indentation of `next_line` in columns; -1: unknown
    second_line: str = ""  # the next line after `next_line` that is not blank
    head: str = ""  # the cursor's line up to the cursor
    above: str = ""  # the line above a blank cursor line, which the text must not repeat
    closers: tuple[str, ...] = ()  # beginnings of a line that ends the opened block
    closer_indent: int = 0  # columns
    stops_repeats: bool = False
    stops_closers: bool = False
    is_whole: bool = False  # `opened` holds every open bracket of the file
    opened: str = ""  # brackets that are open at the start of the cursor's line
    wants_text: bool = False  # the cursor's line opens a block that has no body yet
    wants_bodies: bool = False  # the text must not end with a line that opens a block


@dataclass(frozen=True, slots=True)
class StopPoint:
    n_chars: int  # length of the text to keep
    reason: str  # empty: the text may continue


def rule_for(
    excerpt: Excerpt,
    max_tokens: int,
    max_lines: int,
    deadline_ms: int,
    without: frozenset[str] = frozenset(),
) -> StopRule:
    """Builds the stop rule for a cursor. `without`: names from RULES to leave out."""
    layout, is_blank = cached_layout(excerpt), not excerpt.head.strip()
    n_lines = max_lines if "lines" in without else layout.n_lines(max_lines, N_GAP_LINES)
    has_next = not excerpt.tail.strip() and "suffix" not in without
    return StopRule(
        max_tokens=max_tokens,
        max_lines=n_lines,
        indent_floor=0 if "indent" in without else _indent_floor(layout, is_blank),
        next_line=excerpt.next_line if has_next else "",
        deadline_ms=deadline_ms,
        tab_columns=layout.tab_columns,
        next_indent=layout.depth(layout.below),
        second_line=layout.second_below.strip(),
        head=excerpt.head,
        above=layout.above.strip() if is_blank and "repeat" not in without else "",
        closers=layout.closers,
        closer_indent=layout.depth(layout.opener),
        stops_repeats="repeat" not in without,
        stops_closers="brackets" not in without
        and not bracket_count.is_inside_literal(excerpt.prefix),
        is_whole=layout.is_whole,
        opened="".join(Counter(layout.opened).elements()),
        wants_text="block" not in without and _is_bodiless(layout),
        wants_bodies="block" not in without and is_indentation_language(layout),
    )


def _is_bodiless(layout: Layout) -> bool:
    head = layout.excerpt.head
    is_opener = bool(head.strip() and layout.opener and not layout.excerpt.tail.strip())
    return is_opener and layout.depth(layout.below) <= layout.depth(head)


def _indent_floor(layout: Layout, is_blank: bool) -> int:
    if is_blank and not layout.excerpt.head:
        return -1
    return layout.depth(layout.excerpt.head) + bool(layout.opener and not is_blank)


@dataclass(frozen=True, slots=True)
class _Line:
    """Describes a line of the completion. `start`, `end`: offsets in the completion. `whole`: the
    line as it will be in the file. `is_done`: its line end is generated."""

    start: int
    end: int
    whole: str
    is_done: bool

    @property
    def text(self) -> str:
        return self.whole.strip()

    @property
    def previous_end(self) -> int:
        return max(self.start - 1, 0)


def stop_at(text: str, rule: StopRule, is_final: bool = False) -> StopPoint:
    """Returns where the rule ends `text`.

    A line is checked once its line end is generated; `is_final` also checks the unfinished line.
    """
    stop_point = _cut_lines(text, rule, is_final)
    at = _surplus_closer_at(text[: stop_point.n_chars], rule) if rule.stops_closers else -1
    return stop_point if at < 0 else StopPoint(at, "brackets")


def is_missing_body(text: str, rule: StopRule) -> bool:
    """Returns whether `text` ends with a line that opens a block, and the file has no body for that
    block."""
    if not text.strip():
        return rule.wants_text
    last = strip_comment((rule.head + text.rstrip()).rpartition("\n")[2])
    is_deeper = rule.next_indent > indent_columns(last, rule.tab_columns)
    return rule.wants_bodies and last.endswith(":") and not is_deeper


def stable_prefix(text: str, rule: StopRule) -> str:
    """Returns the part of an unfinished text that no later token can remove."""
    last = text.rfind("\n")
    if last < 0:
        start = (rule.head + text).strip()
        is_echo = any(line and line.startswith(start) for line in (rule.next_line, rule.above))
        if is_echo:
            return ""
        end = len(text) - repeats.n_echoed(text) * rule.stops_repeats
        return text[:end].rstrip()  # removing a surplus closer also removes blanks before it
    lines = [line for line in _lines(text, rule.head, False) if line.text]
    n_copied = repeats.n_copied([line.whole.rstrip() for line in lines[-repeats.N_LINES :]])
    n_unstable = max(n_copied * rule.stops_repeats, int(bool(lines) and _is_open(lines[-1], rule)))
    end = lines[-n_unstable].previous_end if n_unstable else last
    return text[:end].rstrip()


def _lines(text: str, head: str, is_final: bool) -> Iterator[_Line]:
    start = 0
    while (end := text.find("\n", start)) >= 0:
        yield _Line(start, end, ("" if start else head) + text[start:end], is_done=True)
        start = end + 1
    if is_final:
        yield _Line(start, len(text), ("" if start else head) + text[start:], is_done=False)


def _cut_lines(text: str, rule: StopRule, is_final: bool) -> StopPoint:
    n_lines, lines = 0, list[_Line]()  # lines: those that hold text
    for line in _lines(text, rule.head, is_final):
        if line.text:
            lines.append(line)
            if stop_point := _rejection(lines, rule):
                return stop_point
        n_lines += bool(text[line.start : line.end].strip()) or rule.max_lines == 1
        if line.is_done and n_lines >= rule.max_lines:
            return StopPoint(line.end, "lines")
    if is_final and lines and _is_open(lines[-1], rule):
        return StopPoint(lines[-1].previous_end, "suffix")
    return _stop_at_loop(text, rule) or StopPoint(len(text), "")


def _rejection(lines: list[_Line], rule: StopRule) -> StopPoint | None:
    """Returns where to end the text if its last line must not be kept, else None.

    `lines`: the lines that hold text.
    """
    line = lines[-1]
    floor = rule.indent_floor
    floor = indent_columns(lines[0].whole, rule.tab_columns) if floor < 0 else floor
    if line.start and indent_columns(line.whole, rule.tab_columns) < floor:
        return StopPoint(_closer_end(line, rule) or line.previous_end, "indent")
    if first := _first_repeated(lines, rule):
        return StopPoint(first.previous_end, "suffix")
    if not line.start and rule.above == line.text and _is_distinctive(line.text):
        return StopPoint(0, "repeat")
    last = [line.whole.rstrip() for line in lines[-repeats.N_LINES :]]
    n_repeated = repeats.n_repeated(last) if rule.stops_repeats else 0
    return StopPoint(lines[-n_repeated].previous_end, "repeat") if n_repeated else None


def _closer_end(line: _Line, rule: StopRule) -> int:
    """Returns where the closer ends if the line closes the block opened at the cursor, else 0."""
    is_aligned = indent_columns(line.whole, rule.tab_columns) == rule.closer_indent
    closer = _CLOSER.match(line.whole)
    is_closer = line.text.startswith(rule.closers) and is_aligned
    return line.start + closer.end() if is_closer and closer else 0


def _first_repeated(lines: list[_Line], rule: StopRule) -> _Line | None:
    """Returns the first line that repeats the file's next lines, else None.

    A line that ends with an opening bracket (`add_argument(`) often occurs twice, so the line after
    that line decides.
    """
    if len(lines) > 1 and _is_open(lines[-2], rule) and lines[-1].text == rule.second_line:
        return lines[-2]
    return lines[-1] if _is_next(lines[-1], rule) and not _is_open(lines[-1], rule) else None


def _is_open(line: _Line, rule: StopRule) -> bool:
    return bool(rule.second_line) and line.text == rule.next_line and line.text[-1] in "([{"


def _is_next(line: _Line, rule: StopRule) -> bool:
    """Returns whether a line is the file's next line, or that line cut off inside a word."""
    n_chars = len(line.text)
    if line.text != rule.next_line:
        is_part = line.start and not line.is_done and rule.next_line.startswith(line.text)
        is_in_word = rule.next_line[n_chars - 1 : n_chars + 1].isalnum()
        return bool(is_part and is_in_word and n_chars >= _N_PART)
    is_aligned = rule.next_indent in (-1, indent_columns(line.whole, rule.tab_columns))
    return _is_distinctive(line.text) or (is_aligned and bool(_CLOSING.search(line.text)))


def _is_distinctive(text: str) -> bool:
    """Returns whether a line does not occur twice by chance, unlike brackets or rows of digits."""
    return repeats.has_letter(text) and not _COMMON.fullmatch(text)


def _stop_at_loop(text: str, rule: StopRule) -> StopPoint | None:
    """Returns where to end a text whose last line repeats a phrase too often, else None.

    Drops that whole line, but only the repetitions if it is the first line, which may already be
    displayed.
    """
    start = text.rfind("\n") + 1
    n_looped = repeats.n_looped(text[start:]) if rule.stops_repeats else 0
    return StopPoint(start - 1 if start else len(text) - n_looped, "repeat") if n_looped else None


def _surplus_closer_at(text: str, rule: StopRule) -> int:
    """Returns the offset of the first closer that matches no open bracket; -1: there is none."""
    whole, n_head = rule.head + text, len(rule.head)
    for at in bracket_count.count_brackets(whole, Counter(rule.opened)).unopened:
        if at >= n_head and bracket_count.is_surplus(whole, at, rule.is_whole):
            before = text[: at - n_head]
            return len(before.rstrip() if before[before.rfind("\n") + 1 :].isspace() else before)
    return -1
