"""Completes cases with llmd's own pipeline and engine, in this process and with a separate worker.
Does not use the user's daemon."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Protocol

from llmd.cli.eval.cases import EvalCase, end_of
from llmd.cli.eval.settings_grid import EvalSetting
from llmd.completion.pipeline import CompletionPipeline
from llmd.completion.trace import Trace, TracePath, trace_of
from llmd.config import Config
from llmd.context import window
from llmd.document import Document, Position, Span, open_document
from llmd.engine.client import EngineClient
from llmd.engine.messages import Loaded
from llmd.errors import EngineError
from llmd.postprocess.stop import RULES, rule_for
from llmd.prompt.build import Piece, build_prompt
from llmd.prompt.families import family_by_name

DEADLINE_MS = 600_000
LOAD_POLL_S = 0.05
BARE_MAX_LINES = 64
LANGUAGES = {
    "py": "python", "js": "javascript", "ts": "typescript", "rs": "rust", "go": "go", "c": "c",
    "lua": "lua", "vim": "vim", "md": "markdown", "svelte": "svelte", "tex": "latex",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class EvalCompletion:
    text: str
    trace: Trace


class Completer(Protocol):
    async def complete(self, case: EvalCase) -> EvalCompletion:
        """
        Raises:
            LlmdError: there is no completion, and later cases would have none either.
        """


@asynccontextmanager
async def open_completer(setting: EvalSetting, config: Config) -> AsyncIterator[Completer]:
    """Loads the engine of one setting, and ends it afterwards.

    Raises:
        EngineError: the model cannot be loaded.
    """
    engine = EngineClient(config)
    running = asyncio.create_task(engine.run())
    try:
        while engine.info is None or engine.state != "ready":
            if engine.state == "failed":
                raise EngineError(f"The evaluation has no model: {engine.reason}")
            await asyncio.sleep(LOAD_POLL_S)
        if setting.is_bare:
            yield BareModel(config, engine, engine.info)
        else:
            yield PipelineCompleter(setting, config, engine)
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


class PipelineCompleter:
    """Completes with the whole pipeline: eligibility, window, prompt, healing, stop rules,
    trimming."""

    def __init__(self, setting: EvalSetting, config: Config, engine: EngineClient) -> None:
        self._anchor = setting.anchor
        self._completer = CompletionPipeline(config, engine, lambda *_: "", setting.without)
        self._completer.set_policy(debounce_ms=0, may_prefetch=False)

    async def complete(self, case: EvalCase) -> EvalCompletion:
        document = open_case(case)
        if self._anchor == "line":
            document.typed = Span(Position(case.cursor.line, 0), case.cursor)
        elif self._anchor == "start":
            start = end_of(case.before[: len(case.before) - case.n_given])
            document.typed = Span(start, case.cursor)
        request = self._completer.complete(document, case.cursor, invoked=case.is_invoked)
        answer = await request.result()
        return _raise_if_failed(EvalCompletion(answer.text, answer.trace), answer.trace.reason)


class BareModel:
    """Completes with the model and the prompt of its family alone. A completion ends where the
    model ends, at `max_tokens`, or, if the truth is one line, at the end of the line."""

    def __init__(self, config: Config, engine: EngineClient, model: Loaded) -> None:
        self._config = config
        self._engine = engine
        self._model = model

    async def complete(self, case: EvalCase) -> EvalCompletion:
        lines = open_case(case).text.lines
        budget = window.Budget(self._config.context.n_prefix, self._config.context.n_suffix)
        chosen = window.choose_window(None, lines, case.cursor, budget)
        excerpt = window.build_excerpt(chosen, lines, case.cursor)
        max_lines = BARE_MAX_LINES if "\n" in case.truth else 1
        max_tokens = self._config.completion.max_tokens
        rule = rule_for(excerpt, max_tokens, max_lines, DEADLINE_MS, frozenset(RULES))

        def pieces(model: Loaded) -> tuple[Piece, ...]:
            return build_prompt(family_by_name(model.family), model.order, excerpt, case.file_name)

        done = await self._engine.add_request(pieces, rule, self._config.sampling).finished
        path: TracePath = "failed" if done.reason == "failed" else "cold"
        trace = trace_of(done.cost, path, done.cost.ttft_ms + done.cost.decode_ms, done.reason)
        return _raise_if_failed(EvalCompletion(done.text, trace), done.error)


def open_case(case: EvalCase) -> Document:
    language = LANGUAGES.get(case.file_name.rpartition(".")[2], "text")
    text = case.before + case.after
    return open_document(f"untitled:{case.file_name}", language, 1, text, is_reused=False)


def _raise_if_failed(reply: EvalCompletion, reason: str) -> EvalCompletion:
    if reply.trace.path in ("failed", "late", "superseded"):
        raise EngineError(f"The evaluation stopped at a failure of the engine: {reason}")
    return reply
