"""Defines what a completion request yields and what editors report about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from llmd.completion.trace import Trace

OutcomeKind = Literal["shown", "accepted", "typed_through", "rejected", "dismissed", "kept"]


@dataclass(frozen=True, slots=True)
class Answer:
    text: str
    trace: Trace


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a suggestion; `n_chars` of it, in characters.

    `shown`: it came on screen, once a suggestion. `accepted`: a key inserted so much; several per
    suggestion where by word or line. `typed_through`: typed to its end by hand. `rejected`:
    something else was typed, or the cursor left. `dismissed`: by its key. `kept`: so much of an
    accepted text stands after 30 s.
    """

    kind: OutcomeKind
    n_chars: int
