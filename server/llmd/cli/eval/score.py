"""Scores one suggestion, which is the text that an editor would insert. Empty is wrong. Pure."""

from __future__ import annotations

import ast
import warnings
from dataclasses import dataclass

from llmd.cli.eval.cases import EvalCase


@dataclass(frozen=True, slots=True)
class Score:
    """Holds the scores. `similarity`: 1 minus the edit distance divided by the longer length.
    `n_kept`: correct characters from the start. `repeats`: the suggestion repeats the next line of
    the suffix, and the truth does not. `breaks`: a line of Python with which the file no longer
    parses, though it parses with the truth; None if that cannot be decided."""

    first_line: bool
    whole: bool
    similarity: float
    is_empty: bool
    n_shown: int
    n_kept: int
    repeats: bool
    breaks: bool | None


def score(case: EvalCase, text: str) -> Score:
    is_empty = not text.strip()
    return Score(
        first_line=not is_empty and _first(text) == _first(case.truth),
        whole=not is_empty and text.strip() == case.truth.strip(),
        similarity=0.0 if is_empty else similarity(text.strip(), case.truth.strip()),
        is_empty=is_empty,
        n_shown=len(text),
        n_kept=n_kept(text, case.truth),
        repeats=_repeats(case, text) and not _repeats(case, case.truth),
        breaks=_breaks(case, text),
    )


def _first(text: str) -> str:
    return text.split("\n", 1)[0].strip()


def similarity(one: str, other: str) -> float:
    return 1 - distance(one, other) / max(len(one), len(other), 1)


def distance(one: str, other: str) -> int:
    """Returns the Levenshtein distance: insertions, deletions and replacements of characters."""
    row = list(range(len(other) + 1))
    for n_done, char in enumerate(one, 1):
        diagonal, row[0] = row[0], n_done
        for index, expected in enumerate(other, 1):
            replaced = diagonal + (char != expected)
            diagonal = row[index]
            row[index] = min(replaced, diagonal + 1, row[index - 1] + 1)
    return row[-1]


def n_kept(text: str, truth: str) -> int:
    pairs = enumerate(zip(text, truth, strict=False))
    return next((n for n, (one, other) in pairs if one != other), min(len(text), len(truth)))


def _repeats(case: EvalCase, text: str) -> bool:
    if not case.next_line:
        return False
    first, *rest = text.split("\n")
    lines = {line.strip() for line in (case.head + first, *rest)}
    return bool(text.strip()) and case.next_line in lines


def _breaks(case: EvalCase, text: str) -> bool | None:
    is_python = case.file_name.endswith(".py")
    if not is_python or not text.strip() or "\n" in text.rstrip("\n"):
        return None
    if not parses(case.before + case.truth + case.after):
        return None
    return not parses(case.before + text + case.after)


def parses(source: str) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an invalid escape is allowed
        try:
            ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return False
    return True
