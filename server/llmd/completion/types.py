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
