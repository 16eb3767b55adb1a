"""Defines what a completion request yields and what editors report about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

from llmd.completion.trace import Trace

OutcomeKind = Literal["shown", "accepted", "typed_through", "rejected", "dismissed", "kept"]


@dataclass(frozen=True, slots=True)
class Answer:
    """Holds the text to show, empty for none, and the trace of the request."""

    text: str
    trace: Trace


@dataclass(frozen=True, slots=True)
class Outcome:
    """Reports what happened to a suggestion, or to `n_chars` characters of it.

    `shown`: the suggestion came on screen, counted once. `accepted`: a key inserted the characters;
    several outcomes for one suggestion taken by word or line. `typed_through`: the user typed the
    suggestion to its end. `rejected`: the user typed something else, or the cursor left.
    `dismissed`: the user pressed the dismiss key. `kept`: so many characters of an accepted text
    are still there after 30 s.
    """

    kind: OutcomeKind
    n_chars: int


class OutcomeCount(msgspec.Struct, frozen=True):
    """Counts one kind of outcome.

    n: number of suggestions
    n_chars: number of their characters
    """

    n: int = 0
    n_chars: int = 0


class OutcomeRow(msgspec.Struct, frozen=True):
    """Counts the outcomes of one filetype with one model.

    filetype: the editor's name of the language
    model: name of the model
    shown: suggestions that came on screen
    accepted: insertions by a key; several for one suggestion taken by word
    typed_through: suggestions that the user typed to the end
    rejected: suggestions that the user typed past or left
    dismissed: suggestions dismissed by a key
    kept: accepted texts, with the characters still there after 30 s
    """

    filetype: str
    model: str
    shown: OutcomeCount = OutcomeCount()
    accepted: OutcomeCount = OutcomeCount()
    typed_through: OutcomeCount = OutcomeCount()
    rejected: OutcomeCount = OutcomeCount()
    dismissed: OutcomeCount = OutcomeCount()
    kept: OutcomeCount = OutcomeCount()
