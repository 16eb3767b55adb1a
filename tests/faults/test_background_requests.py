"""Work that nobody asked for: when it is refused, and what ends it. The worker is one that stays
at such a request until a flag of it is set."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from llmd.config import SamplingConfig
from llmd.engine import client, messages
from llmd.engine.client import EngineClient
from llmd.engine.requests import EngineRequest
from llmd.postprocess.stop import StopRule
from llmd.prompt.build import Piece
from tests.support.fault_engine import LONG_MS, PATIENCE_S, Asked, ready, running, until
from tests.support.fault_worker import GENTLE, HARD, TEXT

pytestmark = pytest.mark.usefixtures("fault_worker")

N_REQUESTS = 2000


def ask(
    engine: EngineClient, slot: int, *, background: bool = False, deadline_ms: int = LONG_MS
) -> EngineRequest:
    rule = StopRule(8, 1, 0, "", deadline_ms)
    made = (Piece("prefix", "x"),)
    return engine.add_request(
        lambda _: made, rule, SamplingConfig(), slot=slot, background=background
    )


async def text_of(request: EngineRequest) -> str:
    done = await asyncio.wait_for(asyncio.shield(request.finished), PATIENCE_S)
    return done.text


def is_refused(request: EngineRequest) -> bool:
    return request.finished.done() and request.finished.result() == messages.empty_done(
        request.id, "cancelled"
    )


@pytest.mark.parametrize(("slot", "flag"), [(1, GENTLE), (2, HARD), (0, HARD)])
async def test_a_request_goes_before_what_nobody_asked_for(
    tmp_path: Path, slot: int, flag: str
) -> None:
    """Gently where it is of the same document, which may go on from what is evaluated."""
    async with running("ok", tmp_path) as engine:
        await ready(engine)
        behind = ask(engine, 1, background=True)
        assert not is_refused(behind)
        first = ask(engine, slot)
        assert behind.state == "cancelled"
        assert await text_of(first) == TEXT
        assert await text_of(behind) == flag


@pytest.mark.parametrize(("slot", "flag"), [(1, GENTLE), (2, HARD)])
async def test_newer_work_takes_the_place_of_older(tmp_path: Path, slot: int, flag: str) -> None:
    async with running("ok", tmp_path) as engine:
        await ready(engine)
        older, newer = ask(engine, 1, background=True), ask(engine, slot, background=True)
        assert await text_of(older) == flag
        assert not newer.finished.done()
        await text_of(ask(engine, 3))
        assert await text_of(newer) == HARD


async def test_it_never_waits_behind_a_request(tmp_path: Path) -> None:
    async with running("ok", tmp_path) as engine:
        await ready(engine)
        first = ask(engine, 1)
        assert is_refused(ask(engine, 1, background=True))
        first.cancel(after_batch=True)
        assert is_refused(ask(engine, 1, background=True)), "the worker may still be at it"
        await text_of(first)
        assert not is_refused(ask(engine, 1, background=True)), "in the same turn of the loop"


async def test_it_neither_wakes_a_model_nor_keeps_it_awake(tmp_path: Path) -> None:
    async with running("slow_load", tmp_path) as engine:
        assert is_refused(ask(engine, 1, background=True)), "while loading"
        await ready(engine)
        used_s = engine._active.used_s
        assert not is_refused(ask(engine, 1, background=True))
        assert engine._active.used_s == used_s
        engine._active.unload()
        await until(lambda: engine.worker_pid is None, "it is unloaded")
        assert is_refused(ask(engine, 1, background=True))
        assert engine.state == "unloaded"


async def test_no_timer_answers_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "GRACE_MS", 0)
    async with running("ok", tmp_path) as engine:
        await ready(engine)
        behind = ask(engine, 1, background=True, deadline_ms=1)
        await asyncio.sleep(0.05)
        assert behind.state == "running"


async def test_a_closed_document_ends_the_work_for_it(tmp_path: Path) -> None:
    async with running("ok", tmp_path) as engine:
        engine.forget(1)  # while there is no worker yet
        await ready(engine)
        behind = ask(engine, 1, background=True)
        engine.forget(2)
        assert behind.state == "running"
        engine.forget(1)
        assert await text_of(behind) == HARD
        assert await text_of(ask(engine, 3)) == TEXT


async def test_nothing_grows_with_the_number_of_requests(tmp_path: Path) -> None:
    async with running("ok", tmp_path) as engine:
        await ready(engine)
        n_flag_bytes = len(engine._flags._bytes)
        for n in range(N_REQUESTS):
            if n % 3 == 0:
                ask(engine, n % 7, background=True)
            request = ask(engine, n % 7)
            if n % 2:
                request.cancel(after_batch=n % 4 == 1)
            else:
                await text_of(request)
        await Asked(engine).answer()
        assert not engine._requests
        assert engine._requests.queued() == []
        assert len(engine._flags._bytes) == n_flag_bytes
        assert len(engine.slots()) == 1
