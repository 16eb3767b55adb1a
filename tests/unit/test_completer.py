"""What the path of a request hands to the engine, and what it shows of the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from llmd.completion.pipeline import CompletionPipeline
from llmd.completion.types import Answer
from llmd.config import CompletionConfig, Config, FimConfig
from llmd.document import Edit, Position, Span, open_document
from llmd.engine.client import EngineClient
from llmd.engine.messages import Cost, Done

COST = Cost(n_prefill=5, logprob_line=-1.5)
TEXT = "def f():\n    a = 1\n    retur\n"
CURSOR = Position(2, 9)


class FakeJob:
    """Finished by the test."""

    def __init__(self, pieces: Any, stop: Any, hear: Callable[[str], None] | None) -> None:
        loop = asyncio.get_running_loop()
        self.pieces, self.stop, self.hear = pieces, stop, hear
        self.answered: asyncio.Future[Done] = loop.create_future()
        self.finished: asyncio.Future[Done] = loop.create_future()
        self.cancelled: list[bool] = []  # gently or not

    def cancel(self, reason: str = "cancelled", *, gently: bool = False) -> None:
        self.cancelled.append(gently)
        self.finish("", "cancelled")

    def finish(self, text: str, reason: Any = "eog", cost: Cost = COST) -> None:
        for future in (self.answered, self.finished):
            if not future.done():
                future.set_result(Done(1, text, reason, cost))

    def text(self, *names: str) -> str:
        return "".join(piece.text for piece in self.pieces if piece.name in names)


class Engine:
    """Keeps what it was asked. With `answers` it answers at once, a part of it first."""

    def __init__(self, order: str = "psm", answers: bool = False) -> None:
        self.jobs: list[FakeJob] = []
        self.asked: list[dict[str, Any]] = []
        self.forgotten: list[int] = []
        self.info = SimpleNamespace(family="starcoder", order=order)
        self._answers = answers

    def add_request(
        self, pieces: Any, stop: Any, _sampling: Any, hear: Any = None, **options: Any
    ) -> FakeJob:
        job = FakeJob(pieces(self.info), stop, hear)
        self.jobs.append(job)
        self.asked.append(options)
        if self._answers:
            if hear:
                hear("n a")
            job.finish("n a + b")
        return job

    def forget(self, slot: int) -> None:
        self.forgotten.append(slot)


class Editor:
    """A document, and a completer with that engine."""

    def __init__(self, engine: Engine, config: Config | None = None) -> None:
        self.engine = engine
        self.completer = CompletionPipeline(
            config or Config(), cast(EngineClient, engine), lambda *_: ""
        )
        self.document = open_document("file:///a.py", "python", 1, TEXT)
        self.cursor = CURSOR

    def type(self, text: str) -> None:
        self.document.edit(self.cursor, self.cursor, text)
        self.document.version += 1
        self.cursor = Edit(self.cursor, self.cursor, text).new_end

    def ask(self, **options: Any) -> asyncio.Task[Answer]:
        work = self.completer.complete(self.document, self.cursor, **({"invoked": False} | options))
        return asyncio.ensure_future(work)


def ask(
    config: Config,
    *,
    order: str = "psm",
    shown: list[str] | None = None,
    anchor: Position | None = None,
) -> tuple[Answer, Engine, CompletionPipeline]:
    async def run() -> tuple[Answer, Engine, CompletionPipeline]:
        editor = Editor(Engine(order, answers=True), config)
        if anchor:
            editor.document.typed = Span(anchor, CURSOR)
        on_partial = None if shown is None else shown.append
        answer = await editor.ask(on_partial=on_partial)
        return answer, editor.engine, editor.completer

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("floor", "text", "path"),
    [("off", "n a + b", "cold"), (-2.0, "n a + b", "cold"), (-1.0, "", "suppressed")],
)
def test_a_text_below_the_floor_is_not_shown(floor: Any, text: str, path: str) -> None:
    answer, _, completer = ask(Config(completion=CompletionConfig(min_logprob=floor)))
    assert (answer.text, answer.trace.path) == (text, path)
    assert answer.trace.logprob_line == -1.5
    assert completer.results.totals.suppressed() == ({} if text else {"confidence": 1})
    told = completer.results.history.last()
    assert told
    assert (told["stop"], told["n_chars_generated"]) == ("eog", 7)
    assert told["n_chars_shown"] == len(text)


@pytest.mark.parametrize(("floor", "n_shown"), [("off", 1), (-2.0, 0)])
def test_nothing_is_shown_early_that_may_be_suppressed(floor: Any, n_shown: int) -> None:
    shown: list[str] = []
    ask(Config(completion=CompletionConfig(min_logprob=floor)), shown=shown)
    assert len(shown) == n_shown


@pytest.mark.parametrize(
    ("order", "fim", "anchor", "end"),
    [
        ("psm", FimConfig(), None, [("mid", ""), ("typed", "    retur"), ("heal", "")]),
        ("psm", FimConfig(heal=False), None, [("mid", ""), ("typed", "    retur")]),
        ("psm", FimConfig(typed="prefix"), None, [("mid", ""), ("heal", "")]),
        ("spm", FimConfig(), None, [("mid", ""), ("heal", "")]),
        ("spm", FimConfig(typed="after_mid"), Position(2, 4), [("typed", "retur"), ("heal", "")]),
        ("psm", FimConfig(), Position(1, 4), [("typed", "a = 1\n    retur"), ("heal", "")]),
        ("spm2", FimConfig(), None, [("prefix", TEXT[:-1]), ("heal", "")]),
    ],
)
def test_the_prompt_has_the_form_of_the_settings(
    order: str, fim: FimConfig, anchor: Position | None, end: list[tuple[str, str]]
) -> None:
    _, engine, _ = ask(Config(fim=fim), order=order, anchor=anchor)
    pieces = [(piece.name, piece.text) for piece in engine.jobs[0].pieces]
    assert pieces[-len(end) :] == end
    assert "".join(text for name, text in pieces if name in ("prefix", "typed")) == TEXT[:-1]


async def said(editor: Editor, text: str) -> None:
    """The engine's answer at the cursor."""
    task = editor.ask()
    await asyncio.sleep(0)
    editor.engine.jobs[-1].finish(text)
    assert (await task).text == text


async def test_typing_what_is_shown_and_going_back_ask_no_model() -> None:
    editor = Editor(Engine())
    await said(editor, "n a + b")
    editor.type("n a")
    answer = await editor.ask()
    assert (answer.text, answer.trace.path, answer.trace.n_prefill) == (" + b", "reused", 0)
    editor.document.edit(CURSOR, editor.cursor, "")
    editor.cursor = CURSOR
    answer = await editor.ask()
    assert (answer.text, answer.trace.path, len(editor.engine.jobs)) == ("n a + b", "reused", 1)
    assert editor.completer.results.totals.counts()["by_path"] == {"cold": 1, "reused": 2}


async def test_a_closer_that_the_editor_added_is_not_shown_again() -> None:
    editor = Editor(Engine())
    await said(editor, "n f(a)")
    editor.type("n f(")
    editor.document.edit(editor.cursor, editor.cursor, ")")
    answer = await editor.ask()
    assert (answer.text, answer.trace.path) == ("a", "reused")


async def test_recall_can_be_switched_off() -> None:
    editor = Editor(Engine(), Config(completion=CompletionConfig(recall=False)))
    await said(editor, "n a + b")
    editor.type("n")
    await said(editor, " a")
    assert editor.completer.results.totals.counts()["by_path"] == {"cold": 2}


@pytest.mark.parametrize("change", ["config", "close"])
async def test_what_was_said_is_forgotten(change: str) -> None:
    editor = Editor(Engine())
    await said(editor, "n a")
    if change == "config":
        editor.completer.configure(Config())
    else:
        editor.completer.document_closed(editor.document)
        assert editor.engine.forgotten == [editor.document.slot]
    task = editor.ask()
    await asyncio.sleep(0)
    assert len(editor.engine.jobs) == 2
    editor.engine.jobs[-1].finish("")
    await task


async def test_a_running_generation_that_says_what_is_typed_answers_it() -> None:
    editor, shown = Editor(Engine()), list[str]()
    first = editor.ask()
    await asyncio.sleep(0)
    (job,) = editor.engine.jobs
    assert job.hear
    job.hear("n a")
    editor.type("n")
    second = editor.ask(on_partial=shown.append)
    assert (await first).trace.path == "superseded"
    job.hear("n a + ")
    job.finish("n a + b")
    answer = await second
    assert (answer.text, answer.trace.path, shown) == (" a + b", "reused", [" a", " a +"])
    assert (len(editor.engine.jobs), job.cancelled) == (1, [])
    counts = editor.completer.results.totals.counts()
    assert counts["by_path"] == {"superseded": 1, "reused": 1}
    assert counts["n_prefill"] == 5


async def test_with_a_floor_no_running_generation_is_shared() -> None:
    editor = Editor(Engine(), Config(completion=CompletionConfig(min_logprob=-1.0)))
    shown: list[str] = []
    first = editor.ask()
    await asyncio.sleep(0)
    editor.engine.jobs[0].hear("n a")  # type: ignore[misc]
    editor.type("n")
    second = editor.ask(on_partial=shown.append)
    await asyncio.sleep(0)
    editor.engine.jobs[-1].finish(" a + b")
    assert ((await first).text, (await second).text, shown) == ("", "", [])
    assert len(editor.engine.jobs) == 2


@pytest.mark.parametrize(("typed", "said"), [("x", ""), ("n\n", ""), ("x", "n a")])
async def test_another_key_lets_a_prefill_go_on_to_its_batch_s_end(typed: str, said: str) -> None:
    editor = Editor(Engine())
    first = editor.ask()
    await asyncio.sleep(0)
    if said:
        editor.engine.jobs[0].hear(said)  # type: ignore[misc]
    editor.type(typed)
    second = editor.ask()
    assert (await first).trace.path == "superseded"
    old, new = editor.engine.jobs
    assert old.cancelled == [not said]
    new.finish("y")
    assert (await second).text == "y"


async def test_a_jump_ends_the_older_request_at_once() -> None:
    editor = Editor(Engine())
    first = editor.ask()
    await asyncio.sleep(0)
    editor.cursor = Position(1, 9)
    second = editor.ask()
    await first
    assert editor.engine.jobs[0].cancelled == [False]
    editor.engine.jobs[1].finish("")
    await second


async def test_a_cancel_waits_for_the_request_that_follows_it() -> None:
    editor = Editor(Engine())
    first = editor.ask()
    await asyncio.sleep(0)
    (job,) = editor.engine.jobs
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert job.cancelled == []
    await job.finished
    assert job.cancelled == [False]
    assert editor.completer.results.totals.counts()["by_path"] == {"superseded": 1}


async def other(editor: Editor, text: str, **options: Any) -> Answer:
    """The engine's answer to somebody who wants another text."""
    task = editor.ask(invoked=True, alternative=2, **options)
    await asyncio.sleep(0)
    editor.engine.jobs[-1].finish(text)
    return await task


async def test_an_alternative_is_asked_of_the_model_and_not_said_for_the_best() -> None:
    editor = Editor(Engine())
    await said(editor, "n a + b")
    for _ in range(2):
        answer = await other(editor, "n x + y")
        assert (answer.text, answer.trace.path) == ("n x + y", "cold")
    assert [how["alternative"] for how in editor.engine.asked] == [0, 2, 2]
    assert (await editor.ask()).text == "n a + b"
    editor.type("n x")
    answer = await editor.ask()
    assert (answer.text, answer.trace.path) == (" + y", "reused")


async def test_what_follows_an_alternative_is_no_alternative() -> None:
    editor = Editor(Engine())
    await other(editor, "n x")
    await until(lambda: of_background(editor.engine))
    assert [how["alternative"] for how in editor.engine.asked] == [2, 0]


@pytest.mark.parametrize(("first", "second"), [(0, 1), (1, 0), (1, 2)])
async def test_an_alternative_and_another_text_share_no_generation(first: int, second: int) -> None:
    editor = Editor(Engine())
    tasks = []
    for alternative in (first, second):
        tasks.append(editor.ask(alternative=alternative))
        await asyncio.sleep(0)
    assert [how["alternative"] for how in editor.engine.asked] == [first, second]
    assert editor.engine.jobs[0].cancelled == [True]
    editor.engine.jobs[1].finish("n x")
    assert [answer.text for answer in await asyncio.gather(*tasks)] == ["", "n x"]


async def test_a_floor_is_not_for_an_alternative() -> None:
    editor = Editor(Engine(), Config(completion=CompletionConfig(min_logprob=-1.0)))
    assert (await other(editor, "n x")).text == "n x"


def of_background(engine: Engine) -> list[FakeJob]:
    return [job for job, how in zip(engine.jobs, engine.asked, strict=True) if how["background"]]


async def until(found: Callable[[], object]) -> None:
    while not found():  # noqa: ASYNC110
        await asyncio.sleep(0.005)


async def test_what_follows_an_acceptance_is_there_before_it() -> None:
    editor = Editor(Engine())
    await said(editor, "n a")
    await until(lambda: of_background(editor.engine))
    (ahead,) = of_background(editor.engine)
    assert ahead.text("prefix", "typed") == TEXT[:-1] + "n a"
    ahead.finish(" + b")
    editor.type("n a")
    answer = await editor.ask()
    assert (answer.text, answer.trace.path) == (" + b", "prefetched")
    assert editor.completer.prefetcher.totals.counts()["n_prefill"] == 5
    assert editor.completer.results.totals.counts()["n_prefill"] == 5


async def test_a_resting_cursor_prefills_and_says_nothing() -> None:
    editor = Editor(Engine())
    editor.completer.cursor_idle(editor.document, editor.cursor)
    (asked,) = editor.engine.asked
    assert (asked["background"], asked["is_prefill"]) == (True, True)
    editor.completer.prefetcher.is_allowed = False
    editor.completer.cursor_idle(editor.document, editor.cursor)
    assert len(editor.engine.asked) == 1


async def test_a_late_answer_s_prefill_goes_on() -> None:
    editor = Editor(Engine())
    task = editor.ask()
    await asyncio.sleep(0)
    editor.engine.jobs[0].finish("", "deadline")
    assert (await task).trace.path == "late"
    assert [how["is_prefill"] for how in editor.engine.asked] == [False, True]


async def test_an_anchor_lines_away_is_set_anew_when_nobody_asks() -> None:
    """The family is one that nobody measured."""
    editor = Editor(Engine())
    await said(editor, "")
    editor.type("n a\n    ")
    await said(editor, "")
    assert editor.engine.jobs[-1].text("typed") == "    return a\n    "
    await until(lambda: of_background(editor.engine))
    (ahead,) = of_background(editor.engine)
    assert ahead.text("typed") == "    "
