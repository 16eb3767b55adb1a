"""How good one suggestion is, as the text that an editor would insert. Empty is wrong. Pure."""

from __future__ import annotations

import ast
import warnings
from dataclasses import dataclass

from llmd.cli.eval.cases import EvalCase


@dataclass(frozen=True, slots=True)
class Score:
    """`similarity`: 1 less the edit distance over the longer length. `n_kept`: characters from the
    start that are right. `repeats`: says the next line of the suffix where the truth does not.
    `breaks`: one line of Python after which a file no longer parses that would with the truth;
    None where that cannot be said."""

    first_line: bool
    whole: bool
    similarity: float
    is_empty: bool
    n_shown: int
    n_kept: int
    repeats: bool
    breaks: bool | None


def score(place: EvalCase, text: str) -> Score:
    is_empty = not text.strip()
    return Score(
        first_line=not is_empty and _first(text) == _first(place.truth),
        whole=not is_empty and text.strip() == place.truth.strip(),
        similarity=0.0 if is_empty else similarity(text.strip(), place.truth.strip()),
        is_empty=is_empty,
        n_shown=len(text),
        n_kept=n_kept(text, place.truth),
        repeats=_repeats(place, text) and not _repeats(place, place.truth),
        breaks=_breaks(place, text),
    )


def _first(text: str) -> str:
    return text.split("\n", 1)[0].strip()


def similarity(one: str, other: str) -> float:
    return 1 - distance(one, other) / max(len(one), len(other), 1)


def distance(one: str, other: str) -> int:
    """Levenshtein's: insertions, deletions and replacements of characters."""
    row = list(range(len(other) + 1))
    for n_done, char in enumerate(one, 1):
        diagonal, row[0] = row[0], n_done
        for index, wanted in enumerate(other, 1):
            replaced = diagonal + (char != wanted)
            diagonal = row[index]
            row[index] = min(replaced, diagonal + 1, row[index - 1] + 1)
    return row[-1]


def n_kept(text: str, truth: str) -> int:
    pairs = enumerate(zip(text, truth, strict=False))
    return next((n for n, (one, other) in pairs if one != other), min(len(text), len(truth)))


def _repeats(place: EvalCase, text: str) -> bool:
    if not place.next_line:
        return False
    first, *rest = text.split("\n")
    lines = {line.strip() for line in (place.head + first, *rest)}
    return bool(text.strip()) and place.next_line in lines


def _breaks(place: EvalCase, text: str) -> bool | None:
    is_python = place.file_name.endswith(".py")
    if not is_python or not text.strip() or "\n" in text.rstrip("\n"):
        return None
    if not parses(place.before + place.truth + place.after):
        return None
    return not parses(place.before + text + place.after)


def parses(source: str) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an invalid escape is none of our business
        try:
            ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return False
    return True
