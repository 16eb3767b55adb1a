"""Defines what a completion request yields and what editors report about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec

from llmd.completion.trace import Trace
from llmd.engine.report import describe

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
    n: Annotated[int, describe("number of suggestions")] = 0
    n_chars: Annotated[int, describe("number of their characters")] = 0


class OutcomeRow(msgspec.Struct, frozen=True):
    """Counts the outcomes of one filetype with one model."""

    filetype: Annotated[str, describe("the editor's name of the language")]
    model: Annotated[str, describe("name of the model")]
    shown: Annotated[OutcomeCount, describe("suggestions that came on screen")] = OutcomeCount()
    accepted: Annotated[
        OutcomeCount, describe("insertions by a key; several for one suggestion taken by word")
    ] = OutcomeCount()
    typed_through: Annotated[
        OutcomeCount, describe("suggestions that the user typed to the end")
    ] = OutcomeCount()
    rejected: Annotated[OutcomeCount, describe("suggestions that the user typed past or left")] = (
        OutcomeCount()
    )
    dismissed: Annotated[OutcomeCount, describe("suggestions dismissed by a key")] = OutcomeCount()
    kept: Annotated[
        OutcomeCount, describe("accepted texts, with the characters still there after 30 s")
    ] = OutcomeCount()
