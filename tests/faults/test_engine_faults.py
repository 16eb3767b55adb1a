"""A worker that dies, hangs or never loads: each request is answered once, and the worker is
replaced, but not for ever (reliability rows 1 to 4)."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from llmd.engine import client, supervisor, watchdog
from llmd.engine.client import EngineClient
from llmd.engine.messages import Cost, Done
from llmd.engine.process import WorkerProcess
from llmd.engine.supervisor import MAX_DEATHS
from tests.support.fault_engine import Asked, ready, running, starts, until
from tests.support.fault_worker import LAST_WORDS, LOAD_FAILED, TEXT

pytestmark = pytest.mark.usefixtures("fault_worker")

N_KILLED_LOADS = max(6, int(os.environ.get("LLMD_N_FAULTS", "500")) // 200)


async def test_a_worker_without_a_fault_answers(tmp_path: Path) -> None:
    """The other rows mean something only if this one passes."""
    async with running("ok", tmp_path) as engine:
        asked = [Asked(engine) for _ in range(20)]  # before it has loaded
        assert [(await one.answer()).text for one in asked] == [TEXT] * 20
        assert (await Asked(engine).answer()).reason == "eog"
        assert len(starts()) == 1


async def test_a_crash_costs_the_requests_it_was_at(tmp_path: Path) -> None:
    """Row 1."""
    async with running("crash_at_infer", tmp_path) as engine:
        pid = await ready(engine)
        asked = [Asked(engine) for _ in range(3)]
        for one in asked:
            done = await one.answer()
            assert (done.reason, done.text) == ("failed", "")
            assert LAST_WORDS in done.error
            assert "SIGKILL" in done.error
        await ready(engine, than=pid)
        assert len(starts()) == 2
        assert [one.n_answers for one in asked] == [1] * 3


async def test_a_killed_worker_is_replaced_and_the_next_request_served(tmp_path: Path) -> None:
    """Row 1: killed from outside, between requests and in one."""
    async with running("ok", tmp_path) as engine:
        pid = await ready(engine)
        os.kill(pid, signal.SIGKILL)
        pid = await ready(engine, than=pid)
        os.kill(pid, signal.SIGSTOP)  # so that the requests are surely in flight
        asked = [Asked(engine) for _ in range(5)]
        os.kill(pid, signal.SIGKILL)
        assert [(await one.answer()).reason for one in asked] == ["failed"] * 5
        await ready(engine, than=pid)
        assert (await Asked(engine).answer()).text == TEXT


async def test_requests_are_answered_when_the_worker_dies_in_its_load(tmp_path: Path) -> None:
    """Row 2: killed at random places of the load, which is tried again."""
    places = random.Random(2)
    async with running("slow_load", tmp_path) as engine:
        for n in range(N_KILLED_LOADS):
            engine.restart()  # forgets the deaths before
            await until(partial(_has_begun, engine, n), "a load has begun")
            asked = Asked(engine)
            await asyncio.sleep(places.random() / 2)
            if engine.state == "loading" and engine.worker_pid:
                os.kill(engine.worker_pid, signal.SIGKILL)
            assert (await asked.answer()).reason in ("failed", "eog")
        await ready(engine)
        assert (await Asked(engine).answer()).text == TEXT


def _has_begun(engine: EngineClient, n_before: int) -> bool:
    return len(starts()) > n_before and engine.worker_pid is not None


@pytest.mark.parametrize(
    ("mode", "how"),
    [
        ("crash_at_start", "exit code 3"),
        ("exit_at_start", "exit code 3"),
        ("die_in_load", "SIGKILL"),
    ],
    ids=["row 3: at start", "row 3: with Python's own end", "row 2: in its load"],
)
async def test_five_deaths_in_a_minute_are_the_end_until_restart(
    tmp_path: Path, mode: str, how: str
) -> None:
    async with running(mode, tmp_path) as engine:
        waiting = Asked(engine)
        await until(lambda: engine.state == "failed", "it gives up")
        assert len(starts()) == MAX_DEATHS == 5
        assert LAST_WORDS in engine.reason
        assert how in engine.reason
        assert "llmd restart" in engine.reason
        assert (await waiting.answer()).reason == "failed"
        assert LAST_WORDS in (await Asked(engine).answer()).error  # at once
        await _assert_idle()
        assert len(starts()) == 5
        engine.restart()
        await until(lambda: len(starts()) == 10 and engine.state == "failed", "it tried again")
        await _assert_idle()
        assert len(starts()) == 10


async def _assert_idle() -> None:
    """No busy loop: CPU, not the clock, is what is counted."""
    before_s = time.process_time()
    await asyncio.sleep(0.5)
    assert time.process_time() - before_s < 0.1


async def test_a_model_that_cannot_be_loaded_is_not_tried_again(tmp_path: Path) -> None:
    async with running("load_failed", tmp_path) as engine:
        waiting = Asked(engine)
        await until(lambda: engine.state == "failed", "it gives up")
        assert engine.reason == LOAD_FAILED
        assert (await waiting.answer()).error == LOAD_FAILED
        assert len(starts()) == 1
        engine.restart()
        await until(lambda: len(starts()) == 2 and engine.state == "failed", "it tried again")


@pytest.mark.parametrize(
    ("mode", "stop"), [("hang", False), ("ok", True)], ids=["row 4: hangs", "row 4: is stopped"]
)
async def test_a_worker_that_says_nothing_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, stop: bool
) -> None:
    monkeypatch.setattr(watchdog, "STUCK_S", 2)
    monkeypatch.setattr(client, "GRACE_MS", 0)
    async with running(mode, tmp_path) as engine:
        pid = await ready(engine)
        if stop:
            os.kill(pid, signal.SIGSTOP)
        asked = [Asked(engine, time_limit_ms=20) for _ in range(3)]
        late = [one.request for one in asked]
        await until(lambda: all(request.state == "cancelled" for request in late), "they are late")
        assert engine.worker_pid == pid  # late is not stuck
        await ready(engine, than=pid)
        assert [(await one.answer()).reason for one in asked] == ["failed"] * 3
        assert len(starts()) == 2
        assert [one.n_answers for one in asked] == [1] * 3


async def test_an_answer_that_has_just_come_is_not_owed(tmp_path: Path) -> None:
    """Row 4: also before the loop's next turn, in which the request is forgotten."""
    async with running("hang", tmp_path) as engine:
        await ready(engine)
        asked = Asked(engine)
        assert not watchdog.is_unresponsive(engine._active)
        asked.request.cancel()
        assert watchdog.is_unresponsive(engine._active)
        asked.request.finish(Done(asked.request.id, TEXT, "eog", Cost()))
        assert not watchdog.is_unresponsive(engine._active)


async def test_a_worker_that_owes_nothing_is_never_stuck(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 44: stopped while idle, as in a suspend."""
    monkeypatch.setattr(watchdog, "STUCK_S", 2)
    async with running("ok", tmp_path) as engine:
        pid = await ready(engine)
        assert (await Asked(engine).answer()).text == TEXT
        os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(3.5)
        os.kill(pid, signal.SIGCONT)
        assert (await Asked(engine).answer()).text == TEXT
        assert engine.worker_pid == pid


@pytest.mark.parametrize("mode", ["hang", "slow_load", "crash_at_start"])
async def test_stopping_answers_all(tmp_path: Path, mode: str) -> None:
    async with running(mode, tmp_path) as engine:
        asked = [Asked(engine) for _ in range(3)]
        await until(starts, "a worker has begun")
    assert [(await one.answer()).reason for one in asked] == ["failed"] * 3


def test_the_pauses_between_tries_to_start_a_worker_grow() -> None:
    pauses_s = [supervisor.spawn_pause_s(n) for n in (1, 2, 3, 5, 6, 7, 10_000)]
    assert pauses_s == [1, 2, 4, 16, 30, 30, 30]


async def test_a_worker_that_cannot_be_started_is_not_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No descriptors or no memory: nothing has ended, and it may be there again in a moment."""
    monkeypatch.setattr(supervisor, "SPAWN_PAUSE_S", 0.001)
    n_tries, real = [0], WorkerProcess._start

    async def start(self: WorkerProcess, variables: Any) -> Any:
        n_tries[0] += 1
        if n_tries[0] <= MAX_DEATHS + 2:
            raise OSError(errno.EMFILE, "Too many open files")
        return await real(self, variables)

    monkeypatch.setattr(WorkerProcess, "_start", start)
    async with running("ok", tmp_path) as engine:
        await until(lambda: n_tries[0], "the first try has failed")
        assert engine.state == "loading"
        await ready(engine)
        assert (await Asked(engine).answer()).text == TEXT
    assert n_tries == [MAX_DEATHS + 3]
