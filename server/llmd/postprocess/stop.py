"""When a completion ends: a rule made from the place, and where it cuts a text. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from llmd.context.window import Excerpt

_OPENERS = (":", "{", "(", "[", "=>", "->", " do", " then")


@dataclass(frozen=True, slots=True)
class StopRule:
    """Declarative, so that it can cross to the engine.

    A line ends the completion before itself when it is indented by fewer than `indent_floor`
    characters, or when it says what `next_line` says. `max_lines` counts lines that hold text.
    """

    max_tokens: int
    max_lines: int
    indent_floor: int
    next_line: str
    deadline_ms: int


@dataclass(frozen=True, slots=True)
class Cut:
    n_chars: int  # of the text to keep
    reason: str  # empty: go on


def rule_for(place: Excerpt, max_tokens: int, max_lines: int, deadline_ms: int) -> StopRule:
    """One line inside a line; several where a block is opened or the line is still empty."""
    head = place.head.rstrip()
    opened = head.endswith(_OPENERS)
    many = not place.tail.strip() and (opened or not head)
    indent = len(place.head) - len(place.head.lstrip())
    return StopRule(
        max_tokens=max_tokens,
        max_lines=max_lines if many else 1,
        indent_floor=indent + opened,
        next_line=place.next_line,
        deadline_ms=deadline_ms,
    )


def cut(text: str, rule: StopRule, is_final: bool = False) -> Cut:
    """Where `text` ends by the rule. A line is judged when its own end is there, or at the last.

    The first line continues the cursor's, so neither indent nor `next_line` speak of it.
    """
    start, n_lines = 0, 0
    while (end := text.find("\n", start)) >= 0 or is_final:
        line = text[start:] if end < 0 else text[start:end]
        if start and (reason := _refused(line, rule)):
            return Cut(start - 1, reason)
        n_lines += bool(line.strip()) or rule.max_lines == 1
        if end < 0:
            break
        if n_lines >= rule.max_lines:
            return Cut(end, "lines")
        start = end + 1
    return Cut(len(text), "")


def settled(text: str, rule: StopRule) -> str:
    """The part of an unfinished text that no later token can take back."""
    last_line = text.rfind("\n")
    return text if last_line < 0 or rule.max_lines == 1 else text[:last_line]


def _refused(line: str, rule: StopRule) -> str:
    said = line.strip()
    if not said:
        return ""
    if len(line) - len(line.lstrip()) < rule.indent_floor:
        return "indent"
    return "suffix" if said == rule.next_line else ""
