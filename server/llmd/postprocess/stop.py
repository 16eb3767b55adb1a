"""When a completion ends: a rule made from the place, and where it cuts a text. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from llmd.context.window import Excerpt
from llmd.postprocess import brackets, repeats
from llmd.postprocess.indentation import (
    Layout,
    cached_layout,
    indent_columns,
    is_indentation_language,
    strip_comment,
)

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


N_GAP_LINES = 3  # lines of text in a hole of existing code
# Lines that often stand twice, one block within another.
_COMMON = re.compile(r"\W*|(?:end\w*|fi|done|esac|else|try|break|continue|pass|return)\W*")
_CLOSING = re.compile(r"[)\]}a-z]")
_N_PART = 8  # characters of the next line that tell it from another
_CLOSER = re.compile(r"\s*(?:[)\]}]+|\w+)[;,)]*")


@dataclass(frozen=True, slots=True)
class StopRule:
    """Declarative, so that it can cross to the engine.

    A line ends the completion before itself when it is indented by fewer than `indent_floor`
    columns, or when it says what `next_line` says. `max_lines` counts lines that hold text.
    An `indent_floor` of -1 is the first line's own indentation.
    """

    max_tokens: int
    max_lines: int
    indent_floor: int
    next_line: str
    deadline_ms: int
    tab_columns: int = 1
    next_indent: int = -1  # columns; -1: not known
    second_line: str = ""  # the one after `next_line`
    head: str = ""  # the cursor's line before it
    above: str = ""  # what the line above a blank one says; it is not said again
    closers: tuple[str, ...] = ()  # what the line begins with that ends the opened block
    closer_indent: int = 0
    stops_repeats: bool = False
    stops_closers: bool = False
    is_whole: bool = False  # whether every bracket that is open is in `opened`
    opened: str = ""  # brackets open at the start of the cursor's line
    wants_text: bool = False  # the cursor's line opens a block that has no body yet
    wants_bodies: bool = False  # the text does not end with the first line of a block


@dataclass(frozen=True, slots=True)
class StopPoint:
    n_chars: int  # of the text to keep
    reason: str  # empty: go on


def rule_for(
    excerpt: Excerpt,
    max_tokens: int,
    max_lines: int,
    deadline_ms: int,
    without: frozenset[str] = frozenset(),
) -> StopRule:
    """`without` names the rules (`rules.RULES`) that are left out."""
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
        stops_closers="brackets" not in without and not brackets.is_inside_literal(excerpt.prefix),
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
    """`whole` is the line as it will stand in the file, up to the cut's end."""

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
    """Where `text` ends by the rule. A line is judged when its own end is there, or at the last."""
    found = _cut_lines(text, rule, is_final)
    at = _surplus_closer_at(text[: found.n_chars], rule) if rule.stops_closers else -1
    return found if at < 0 else StopPoint(at, "brackets")


def is_missing_body(text: str, rule: StopRule) -> bool:
    """Whether it would end with a line that opens a block, above a line that is no body of it."""
    if not text.strip():
        return rule.wants_text
    last = strip_comment((rule.head + text.rstrip()).rpartition("\n")[2])
    is_deeper = rule.next_indent > indent_columns(last, rule.tab_columns)
    return rule.wants_bodies and last.endswith(":") and not is_deeper


def stable_prefix(text: str, rule: StopRule) -> str:
    """The part of an unfinished text that no later token can take back."""
    last = text.rfind("\n")
    if last < 0:
        said = (rule.head + text).strip()
        is_echo = any(line and line.startswith(said) for line in (rule.next_line, rule.above))
        if is_echo or not text.strip():  # a surplus closer takes the blanks before it along
            return ""
        return text[: len(text) - repeats.n_echoed(text)] if rule.stops_repeats else text
    lines = [line for line in _lines(text, rule.head, False) if line.text]
    n_copied = repeats.n_copied([line.whole.rstrip() for line in lines[-repeats.N_LINES :]])
    n_held = max(n_copied * rule.stops_repeats, int(bool(lines) and _is_open(lines[-1], rule)))
    return text[: lines[-n_held].previous_end] if n_held else text[:last]


def _lines(text: str, head: str, is_final: bool) -> Iterator[_Line]:
    start = 0
    while (end := text.find("\n", start)) >= 0:
        yield _Line(start, end, ("" if start else head) + text[start:end], is_done=True)
        start = end + 1
    if is_final:
        yield _Line(start, len(text), ("" if start else head) + text[start:], is_done=False)


def _cut_lines(text: str, rule: StopRule, is_final: bool) -> StopPoint:
    n_lines, said = 0, list[_Line]()
    for line in _lines(text, rule.head, is_final):
        if line.text:
            said.append(line)
            if found := _rejection(said, rule):
                return found
        n_lines += bool(text[line.start : line.end].strip()) or rule.max_lines == 1
        if line.is_done and n_lines >= rule.max_lines:
            return StopPoint(line.end, "lines")
    if is_final and said and _is_open(said[-1], rule):
        return StopPoint(said[-1].previous_end, "suffix")
    return _stop_at_loop(text, rule) or StopPoint(len(text), "")


def _rejection(lines: list[_Line], rule: StopRule) -> StopPoint | None:
    """Whether the last of the lines that hold text, and what follows it, is not kept."""
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
    """Where the closer ends, in a line that closes the block opened at the cursor; else 0."""
    is_beside = indent_columns(line.whole, rule.tab_columns) == rule.closer_indent
    found = _CLOSER.match(line.whole)
    is_closer = line.text.startswith(rule.closers) and is_beside and found
    return line.start + found.end() if is_closer and found else 0


def _first_repeated(lines: list[_Line], rule: StopRule) -> _Line | None:
    """The line that says the next one again. What opens a bracket (`add_argument(`) often stands
    twice, so there the line after it decides."""
    if len(lines) > 1 and _is_open(lines[-2], rule) and lines[-1].text == rule.second_line:
        return lines[-2]
    return lines[-1] if _is_next(lines[-1], rule) and not _is_open(lines[-1], rule) else None


def _is_open(line: _Line, rule: StopRule) -> bool:
    return bool(rule.second_line) and line.text == rule.next_line and line.text[-1] in "([{"


def _is_next(line: _Line, rule: StopRule) -> bool:
    """Whether a line is the file's next one, or its beginning, cut off inside a word."""
    n_said = len(line.text)
    if line.text != rule.next_line:
        is_part = line.start and not line.is_done and rule.next_line.startswith(line.text)
        is_in_word = rule.next_line[n_said - 1 : n_said + 1].isalnum()
        return bool(is_part and is_in_word and n_said >= _N_PART)
    is_there = rule.next_indent in (-1, indent_columns(line.whole, rule.tab_columns))
    return _is_distinctive(line.text) or (is_there and bool(_CLOSING.search(line.text)))


def _is_distinctive(text: str) -> bool:
    """Whether a line is one that is not said twice by chance: no bracket, rule or row of digits."""
    return repeats.has_letter(text) and not _COMMON.fullmatch(text)


def _stop_at_loop(text: str, rule: StopRule) -> StopPoint | None:
    """A phrase that comes again and again takes its line with it; the first line stays, so far
    as it may have been shown."""
    start = text.rfind("\n") + 1
    n_looped = repeats.n_looped(text[start:]) if rule.stops_repeats else 0
    return StopPoint(start - 1 if start else len(text) - n_looped, "repeat") if n_looped else None


def _surplus_closer_at(text: str, rule: StopRule) -> int:
    """Where a bracket closes nothing that is open in the text or before it; -1: nowhere."""
    whole, n_head = rule.head + text, len(rule.head)
    for at in brackets.count_brackets(whole, Counter(rule.opened)).unopened:
        if at >= n_head and brackets.is_surplus(whole, at, rule.is_whole):
            kept = text[: at - n_head]
            return len(kept.rstrip() if kept[kept.rfind("\n") + 1 :].isspace() else kept)
    return -1
