"""The pipeline and the bare model ask the engine for what their setting says. No model."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from llmd.cli.eval.cases import EvalCase
from llmd.cli.eval.pipeline import BareModel, PipelineCompleter
from llmd.cli.eval.settings_grid import EvalSetting
from llmd.config import Config
from llmd.engine.messages import Cost, Done, Loaded
from llmd.errors import EngineError
from llmd.prompt.build import Piece

PLACE = EvalCase("T", "def f(a):\n    b = a\n    c = ", "\n    return c\n", "b", n_given=15)
MODEL = cast(Loaded, SimpleNamespace(family="qwen-coder", order="psm"))


class Engine:
    """Answers `said`, and remembers what it was asked."""

    def __init__(self, said: str, **done: Any) -> None:
        self._done = Done(1, said, **({"reason": "eog", "cost": Cost(n_decoded=3)} | done))
        self.pieces: tuple[Piece, ...] = ()
        self.rule: Any = None

    def add_request(self, pieces: Any, stop: Any, *_: object, **__: object) -> Any:
        self.pieces, self.rule = pieces(MODEL), stop
        answered = asyncio.get_running_loop().create_future()
        answered.set_result(self._done)
        return SimpleNamespace(answered=answered, finished=answered, cancel=lambda: None)

    def text(self, name: str) -> str:
        return "".join(piece.text for piece in self.pieces if piece.name == name)


def pipeline(engine: Engine, **setting: Any) -> PipelineCompleter:
    config = msgspec.structs.replace(
        Config(), fim=msgspec.structs.replace(Config().fim, typed="after_mid")
    )
    return PipelineCompleter(EvalSetting("a", **setting), config, cast(Any, engine))


async def test_the_text_is_what_an_editor_would_insert() -> None:
    engine = Engine("b  \n\n")
    found = await pipeline(engine).complete(PLACE)
    assert (found.text, found.trace.n_decoded) == ("b", 3)
    assert engine.text("prefix") + engine.text("typed") == PLACE.before
    assert engine.text("suffix") == PLACE.after


@pytest.mark.parametrize(
    ("anchor", "typed"),
    [("", "    c = "), ("line", "    c = "), ("start", "= a\n    c = ")],
)
async def test_the_anchor_says_where_typed_text_begins(anchor: str, typed: str) -> None:
    engine = Engine("b")
    place = EvalCase("T", PLACE.before, PLACE.after, "b", n_given=len("= a\n    c = "))
    await pipeline(engine, anchor=anchor).complete(place)
    assert engine.text("typed") == typed


async def test_a_rule_left_out_does_nothing() -> None:
    kept = await pipeline(Engine(" b"), without=frozenset({"seam"})).complete(PLACE)
    assert kept.text == " b"


async def test_the_bare_model_has_its_prompt_and_no_rule() -> None:
    engine = Engine("b  \nc")
    found = await BareModel(Config(), cast(Any, engine), MODEL).complete(PLACE)
    assert found.text == "b  \nc"
    assert [piece.name for piece in engine.pieces] == ["pre", "prefix", "suf", "suffix", "mid"]
    assert engine.text("prefix") == PLACE.before
    assert (engine.rule.max_lines, engine.rule.next_line) == (1, "")
    several = EvalCase("T", "", "", "a\nb")
    await BareModel(Config(), cast(Any, engine), MODEL).complete(several)
    assert engine.rule.max_lines > 1


@pytest.mark.parametrize("reason", ["failed", "deadline"])
async def test_a_failure_is_no_answer(reason: str) -> None:
    engine = Engine("", reason=reason, error="It is out of memory")
    with pytest.raises(EngineError, match="out of memory"):
        await pipeline(engine).complete(PLACE)


async def test_pauses_are_not_asked_by_hand() -> None:
    place = EvalCase("T", "f(", "a long rest of the line)\n", "", is_invoked=False)
    engine = Engine("x")
    assert (await pipeline(engine).complete(place)).trace.path == "suppressed"
    assert engine.pieces == ()
