"""What the path of a request hands to the engine, and what it shows of the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from llmd.completer import Completer
from llmd.config import Completion, Config, Fim
from llmd.document.store import open_document
from llmd.document.text import Position
from llmd.engine.frames import Done
from llmd.engine.service import EngineService
from llmd.trace import Cost
from llmd.transport.service import Answer

TEXT = "def f():\n    a = 1\n    retur\n"
CURSOR = Position(2, 9)


class Engine:
    """Answers at once, shows a part of it first, and keeps what it was asked."""

    def __init__(self, order: str, cost: Cost) -> None:
        self.asked: list[Any] = []
        self._model = SimpleNamespace(family="starcoder", order=order)
        self._cost = cost

    def infer(
        self, pieces: Callable[[Any], Any], *rest: Any
    ) -> Any:  # stop rule, sampling, on_partial
        self.asked = [pieces(self._model), *rest]
        if show := rest[2]:
            show("n a")
        answered = asyncio.get_running_loop().create_future()
        answered.set_result(Done(1, "n a + b", "eog", self._cost))
        return SimpleNamespace(answered=answered, finished=answered, cancel=lambda: None)


def ask(
    config: Config,
    *,
    order: str = "psm",
    shown: list[str] | None = None,
    anchor: Position | None = None,
) -> tuple[Answer, Engine, Completer]:
    async def run() -> tuple[Answer, Engine, Completer]:
        engine = Engine(order, Cost(logprob_line=-1.5))
        completer = Completer(config, cast(EngineService, engine), lambda *_: "")
        document = open_document("file:///a.py", "python", 1, TEXT)
        on_partial = None if shown is None else shown.append
        answer = await completer.complete(
            document, CURSOR, invoked=False, on_partial=on_partial, anchor=anchor
        )
        return answer, engine, completer

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("floor", "text", "path"),
    [("off", "n a + b", "cold"), (-2.0, "n a + b", "cold"), (-1.0, "", "suppressed")],
)
def test_a_text_below_the_floor_is_not_shown(floor: Any, text: str, path: str) -> None:
    answer, _, completer = ask(Config(completion=Completion(min_logprob=floor)))
    assert (answer.text, answer.trace.path) == (text, path)
    assert answer.trace.logprob_line == -1.5
    assert completer.totals.suppressed() == ({} if text else {"confidence": 1})
    told = completer.journal.last()
    assert told
    assert (told["stop"], told["n_chars_generated"]) == ("eog", 7)
    assert told["n_chars_shown"] == len(text)


@pytest.mark.parametrize(("floor", "n_shown"), [("off", 1), (-2.0, 0)])
def test_nothing_is_shown_early_that_may_be_suppressed(floor: Any, n_shown: int) -> None:
    shown: list[str] = []
    ask(Config(completion=Completion(min_logprob=floor)), shown=shown)
    assert len(shown) == n_shown


@pytest.mark.parametrize(
    ("order", "fim", "anchor", "end"),
    [
        ("psm", Fim(), None, [("mid", ""), ("typed", "    retur"), ("heal", "")]),
        ("psm", Fim(heal=False), None, [("mid", ""), ("typed", "    retur")]),
        ("psm", Fim(typed="prefix"), None, [("mid", ""), ("heal", "")]),
        ("spm", Fim(), None, [("mid", ""), ("heal", "")]),
        ("spm", Fim(typed="after_mid"), Position(2, 4), [("typed", "retur"), ("heal", "")]),
        ("psm", Fim(), Position(1, 4), [("typed", "a = 1\n    retur"), ("heal", "")]),
        ("spm2", Fim(), None, [("prefix", TEXT[:-1]), ("heal", "")]),
    ],
)
def test_the_prompt_has_the_form_of_the_settings(
    order: str, fim: Fim, anchor: Position | None, end: list[tuple[str, str]]
) -> None:
    _, engine, _ = ask(Config(fim=fim), order=order, anchor=anchor)
    pieces = [(piece.name, piece.text) for piece in engine.asked[0]]
    assert pieces[-len(end) :] == end
    assert "".join(text for name, text in pieces if name in ("prefix", "typed")) == TEXT[:-1]
