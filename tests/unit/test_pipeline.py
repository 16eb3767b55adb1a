"""What the path of a request hands to the engine, and what it shows of the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from llmd.completion.handle import CompletionHandle
from llmd.completion.pipeline import CompletionPipeline
from llmd.completion.types import Answer
from llmd.config import CompletionConfig, Config, FimConfig
from llmd.document import Edit, Position, Span, open_document
from llmd.engine.cancel_flags import CancelFlags
from llmd.engine.client import EngineClient
from llmd.engine.messages import Cost, Done, Partial
from llmd.engine.requests import EngineRequest

COST = Cost(n_prefill=5, logprob_line=-1.5)
TEXT = "def f():\n    a = 1\n    retur\n"
CURSOR = Position(2, 9)


class Flags:
    """Records how a request was cancelled, and ends it as the worker would."""

    def __init__(self) -> None:
        self.cancelled: list[bool] = []  # after the batch, or at once
        self.request: FakeRequest

    def clear(self, _id: int) -> None:
        pass

    def set(self, _id: int, after_batch: bool) -> None:
        self.cancelled.append(after_batch)
        asyncio.get_running_loop().call_soon(self.request.end, "", "cancelled")


class FakeRequest(EngineRequest):
    """A request that the test ends."""

    def __init__(self, pieces: Any, stop: Any, slot: int, background: bool) -> None:
        self.flags = Flags()
        build_message, on_cancel = cast(Any, None), int
        flags = cast(CancelFlags, self.flags)
        super().__init__(1, flags, build_message, on_cancel, slot, background)
        self.flags.request = self
        self.state = "running"
        self.pieces, self.stop = pieces, stop

    @property
    def cancelled(self) -> list[bool]:
        return self.flags.cancelled

    def stream(self, text: str) -> None:
        self.receive(Partial(1, text))

    def end(self, text: str, reason: Any = "eog", cost: Cost = COST) -> None:
        self.finish(Done(1, text, reason, cost))

    def prompt(self, *names: str) -> str:
        return "".join(piece.text for piece in self.pieces if piece.name in names)


class Engine:
    """Keeps what it was asked. With `answers` it answers soon, a part of it first."""

    def __init__(self, order: str = "psm", answers: bool = False) -> None:
        self.requests: list[FakeRequest] = []
        self.options: list[dict[str, Any]] = []
        self.forgotten: list[int] = []
        self.info = SimpleNamespace(family="starcoder", order=order)
        self._answers = answers

    def add_request(self, pieces: Any, stop: Any, _sampling: Any, **options: Any) -> FakeRequest:
        request = FakeRequest(pieces(self.info), stop, options["slot"], options["background"])
        self.requests.append(request)
        self.options.append(options)
        if self._answers:
            loop = asyncio.get_running_loop()
            loop.call_soon(request.stream, "n a")
            loop.call_soon(request.end, "n a + b")
        return request

    def forget(self, slot: int) -> None:
        self.forgotten.append(slot)


class Editor:
    """A document, and a pipeline with that engine."""

    def __init__(self, engine: Engine, config: Config | None = None) -> None:
        self.engine = engine
        self.pipeline = CompletionPipeline(
            config or Config(), cast(EngineClient, engine), lambda *_: ""
        )
        self.document = open_document("file:///a.py", "python", 1, TEXT)
        self.cursor = CURSOR

    def type(self, text: str) -> None:
        self.document.edit(self.cursor, self.cursor, text)
        self.document.version += 1
        self.cursor = Edit(self.cursor, self.cursor, text).new_end

    def request(self, **options: Any) -> CompletionHandle:
        options = {"invoked": False} | options
        return self.pipeline.complete(self.document, self.cursor, **options)

    async def ask(self, **options: Any) -> Answer:
        return await self.request(**options).result()


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
        return answer, editor.engine, editor.pipeline

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("floor", "text", "path"),
    [("off", "n a + b", "cold"), (-2.0, "n a + b", "cold"), (-1.0, "", "suppressed")],
)
def test_a_text_below_the_floor_is_not_shown(floor: Any, text: str, path: str) -> None:
    answer, _, pipeline = ask(Config(completion=CompletionConfig(min_logprob=floor)))
    assert (answer.text, answer.trace.path) == (text, path)
    assert answer.trace.logprob_line == -1.5
    assert pipeline.totals.suppressed() == ({} if text else {"confidence": 1})
    told = pipeline.history.last()
    assert told
    assert (told.stop, told.n_chars_generated) == ("eog", 7)
    assert told.n_chars_shown == len(text)


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
    pieces = [(piece.name, piece.text) for piece in engine.requests[0].pieces]
    assert pieces[-len(end) :] == end
    assert "".join(text for name, text in pieces if name in ("prefix", "typed")) == TEXT[:-1]


async def said(editor: Editor, text: str) -> None:
    """The engine's answer at the cursor."""
    request = editor.request()
    editor.engine.requests[-1].end(text)
    assert (await request.result()).text == text


async def test_typing_what_is_shown_and_going_back_ask_no_model() -> None:
    editor = Editor(Engine())
    await said(editor, "n a + b")
    editor.type("n a")
    answer = await editor.ask()
    assert (answer.text, answer.trace.path, answer.trace.n_prefill) == (" + b", "reused", 0)
    editor.document.edit(CURSOR, editor.cursor, "")
    editor.cursor = CURSOR
    answer = await editor.ask()
    assert (answer.text, answer.trace.path, len(editor.engine.requests)) == ("n a + b", "reused", 1)
    assert editor.pipeline.totals.counts().by_path == {"cold": 1, "reused": 2}


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
    assert editor.pipeline.totals.counts().by_path == {"cold": 2}


@pytest.mark.parametrize("change", ["config", "close"])
async def test_what_was_said_is_forgotten(change: str) -> None:
    editor = Editor(Engine())
    await said(editor, "n a")
    if change == "config":
        editor.pipeline.configure(Config())
    else:
        editor.pipeline.document_closed(editor.document)
        assert editor.engine.forgotten == [editor.document.slot]
    request = editor.request()
    assert len(editor.engine.requests) == 2
    editor.engine.requests[-1].end("")
    await request.result()


async def test_a_running_generation_that_says_what_is_typed_answers_it() -> None:
    editor, shown = Editor(Engine()), list[str]()
    first = editor.request()
    (running,) = editor.engine.requests
    running.stream("n a")
    editor.type("n")
    second = editor.request(on_partial=shown.append)
    assert (await first.result()).trace.path == "superseded"
    running.stream("n a + ")
    running.end("n a + b")
    answer = await second.result()
    assert (answer.text, answer.trace.path, shown) == (" a + b", "reused", [" a", " a +"])
    assert (len(editor.engine.requests), running.cancelled) == (1, [])
    counts = editor.pipeline.totals.counts()
    assert counts.by_path == {"superseded": 1, "reused": 1}
    assert counts.n_prefill == 5


async def test_with_a_floor_no_running_generation_is_shared() -> None:
    editor = Editor(Engine(), Config(completion=CompletionConfig(min_logprob=-1.0)))
    shown: list[str] = []
    first = editor.request()
    editor.engine.requests[0].stream("n a")
    editor.type("n")
    second = editor.request(on_partial=shown.append)
    editor.engine.requests[-1].end(" a + b")
    texts = [(await request.result()).text for request in (first, second)]
    assert (texts, shown) == (["", ""], [])
    assert len(editor.engine.requests) == 2


@pytest.mark.parametrize(("typed", "said"), [("x", ""), ("n\n", ""), ("x", "n a")])
async def test_another_key_lets_a_prefill_go_on_to_its_batch_s_end(typed: str, said: str) -> None:
    editor = Editor(Engine())
    first = editor.request()
    if said:
        editor.engine.requests[0].stream(said)
    editor.type(typed)
    second = editor.request()
    assert (await first.result()).trace.path == "superseded"
    old, new = editor.engine.requests
    assert old.cancelled == [not said]
    new.end("y")
    assert (await second.result()).text == "y"


async def test_a_jump_ends_the_older_request_at_once() -> None:
    editor = Editor(Engine())
    first = editor.request()
    editor.cursor = Position(1, 9)
    second = editor.request()
    await first.result()
    assert editor.engine.requests[0].cancelled == [False]
    editor.engine.requests[1].end("")
    await second.result()


async def test_a_cancel_waits_for_the_request_that_follows_it() -> None:
    editor = Editor(Engine())
    first = editor.request()
    (running,) = editor.engine.requests
    first.cancel()
    first.cancel()
    assert (await first.result()).trace.path == "superseded"
    assert running.cancelled == []
    await running.finished
    assert running.cancelled == [False]
    await asyncio.sleep(0)
    assert editor.pipeline.totals.counts().by_path == {"superseded": 1}


async def other(editor: Editor, text: str, **options: Any) -> Answer:
    """The engine's answer to somebody who wants another text."""
    request = editor.request(invoked=True, alternative=2, **options)
    editor.engine.requests[-1].end(text)
    return await request.result()


async def test_an_alternative_is_asked_of_the_model_and_not_said_for_the_best() -> None:
    editor = Editor(Engine())
    await said(editor, "n a + b")
    for _ in range(2):
        answer = await other(editor, "n x + y")
        assert (answer.text, answer.trace.path) == ("n x + y", "cold")
    assert [how["alternative"] for how in editor.engine.options] == [0, 2, 2]
    assert (await editor.ask()).text == "n a + b"
    editor.type("n x")
    answer = await editor.ask()
    assert (answer.text, answer.trace.path) == (" + y", "reused")


async def test_what_follows_an_alternative_is_no_alternative() -> None:
    editor = Editor(Engine())
    await other(editor, "n x")
    await until(lambda: of_background(editor.engine))
    assert [how["alternative"] for how in editor.engine.options] == [2, 0]


@pytest.mark.parametrize(("first", "second"), [(0, 1), (1, 0), (1, 2)])
async def test_an_alternative_and_another_text_share_no_generation(first: int, second: int) -> None:
    editor = Editor(Engine())
    requests = [editor.request(alternative=alternative) for alternative in (first, second)]
    assert [how["alternative"] for how in editor.engine.options] == [first, second]
    assert editor.engine.requests[0].cancelled == [True]
    editor.engine.requests[1].end("n x")
    assert [(await request.result()).text for request in requests] == ["", "n x"]


async def test_a_floor_is_not_for_an_alternative() -> None:
    editor = Editor(Engine(), Config(completion=CompletionConfig(min_logprob=-1.0)))
    assert (await other(editor, "n x")).text == "n x"


def of_background(engine: Engine) -> list[FakeRequest]:
    return [request for request in engine.requests if request.background]


async def until(found: Callable[[], object]) -> None:
    while not found():  # noqa: ASYNC110
        await asyncio.sleep(0.005)


async def test_what_follows_an_acceptance_is_there_before_it() -> None:
    editor = Editor(Engine())
    await said(editor, "n a")
    await until(lambda: of_background(editor.engine))
    (ahead,) = of_background(editor.engine)
    assert ahead.prompt("prefix", "typed") == TEXT[:-1] + "n a"
    ahead.end(" + b")
    await asyncio.sleep(0)
    editor.type("n a")
    answer = await editor.ask()
    assert (answer.text, answer.trace.path) == (" + b", "prefetched")
    assert editor.pipeline.background_totals.counts().n_prefill == 5
    assert editor.pipeline.totals.counts().n_prefill == 5


async def test_a_resting_cursor_prefills_and_says_nothing() -> None:
    editor = Editor(Engine())
    editor.pipeline.cursor_idle(editor.document, editor.cursor)
    (asked,) = editor.engine.options
    assert (asked["background"], asked["is_prefill"]) == (True, True)
    editor.pipeline.set_policy(debounce_ms=0, may_prefetch=False)
    editor.pipeline.cursor_idle(editor.document, editor.cursor)
    assert len(editor.engine.options) == 1


LATE = Config(completion=CompletionConfig(deadline_ms=10))


async def test_a_request_outlives_its_late_answer_and_serves_the_next_key() -> None:
    editor = Editor(Engine(), LATE)
    late = editor.request()
    (running,) = editor.engine.requests
    running.stream("n a")
    answer = await late.result()
    assert (answer.text, answer.trace.path, answer.trace.reason) == ("n a", "late", "deadline")
    assert running.cancelled == []
    assert editor.pipeline.totals.counts().requests == 0, "its cost is not known yet"
    editor.type("n")
    second = editor.request()
    running.end("n a + b")
    assert (await second.result()).text == " a + b"
    counts = editor.pipeline.totals.counts()
    assert (counts.by_path, counts.n_prefill) == ({"late": 1, "reused": 1}, 5)


async def test_the_text_of_a_late_answer_s_request_is_in_the_cache() -> None:
    editor = Editor(Engine(), LATE)
    assert (await editor.ask()).trace.path == "late"
    (running,) = editor.engine.requests
    running.end("n a + b")
    await asyncio.sleep(0)
    answer = await editor.ask()
    assert (answer.text, answer.trace.path) == ("n a + b", "reused")


async def test_below_a_floor_nothing_is_shown_late() -> None:
    limits = CompletionConfig(deadline_ms=10, min_logprob=-1.0)
    editor = Editor(Engine(), Config(completion=limits))
    late = editor.request()
    (running,) = editor.engine.requests
    running.stream("n a")
    answer = await late.result()
    assert (answer.text, answer.trace.path) == ("", "late")
    running.end("n a + b")
    await asyncio.sleep(0)
    editor.request()
    assert len(editor.engine.requests) == 2, "nor kept"


async def test_another_request_ends_one_that_outlived_its_answer() -> None:
    editor = Editor(Engine(), LATE)
    await editor.ask()
    editor.type("x")
    editor.request()
    assert editor.engine.requests[0].cancelled == [True]


async def test_requests_of_two_documents_do_not_supersede_each_other() -> None:
    editor, other = Editor(Engine()), open_document("file:///b.py", "python", 1, TEXT)
    first = editor.request()
    editor.pipeline.complete(other, CURSOR, invoked=False)
    assert not first.is_answered
    assert [request.cancelled for request in editor.engine.requests] == [[], []]


@pytest.mark.parametrize("ends", ["cancel", "another"])
async def test_a_request_that_ends_in_its_debounce_never_reaches_the_engine(ends: str) -> None:
    editor = Editor(Engine())
    editor.pipeline.set_policy(debounce_ms=10_000, may_prefetch=True)
    first = editor.request()
    if ends == "cancel":
        first.cancel()
    else:
        editor.pipeline.set_policy(debounce_ms=0, may_prefetch=True)
        editor.request()
    assert (await first.result()).trace.path == "superseded"
    assert len(editor.engine.requests) == (ends == "another")
    assert editor.pipeline.totals.counts().by_path == {"superseded": 1}


async def test_an_anchor_lines_away_is_set_anew_when_nobody_asks() -> None:
    """The family is one that nobody measured."""
    editor = Editor(Engine())
    await said(editor, "")
    editor.type("n a\n    ")
    await said(editor, "")
    assert editor.engine.requests[-1].prompt("typed") == "    return a\n    "
    await until(lambda: of_background(editor.engine))
    (ahead,) = of_background(editor.engine)
    assert ahead.prompt("typed") == "    "
