"""A worker that dies, hangs, lies or never loads: each request is answered once, and the worker is
replaced, but not for ever (reliability rows 1 to 5)."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmd.config import Config, Sampling
from llmd.engine import frames, service
from llmd.engine.frames import Done
from llmd.engine.service import MAX_DEATHS, EngineService, Job
from llmd.errors import EngineError, ModelError
from llmd.postprocess.stop import StopRule
from llmd.prompt.build import Piece
from tests.support.fault_worker import LAST_WORDS, LOAD_FAILED, STARTS, TEXT, garbage

ROOT = Path(__file__).parents[2]
N_FAULTS = int(os.environ.get("LLMD_N_FAULTS", "500"))
N_GARBAGE_WORKERS = max(8, N_FAULTS // 200)
N_KILLED_LOADS = max(6, N_FAULTS // 200)
LONG_MS = 60_000  # a deadline that no test reaches
PATIENCE_S = 30.0


@pytest.fixture(autouse=True)
def _worker_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(STARTS, str(tmp_path / "starts"))
    found = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(ROOT), found])))


def starts() -> list[str]:
    path = Path(os.environ[STARTS])
    return path.read_text().split() if path.exists() else []


@asynccontextmanager
async def running(mode: str, folder: Path) -> AsyncIterator[EngineService]:
    model = folder / "model.gguf"
    model.touch()
    command = (sys.executable, "-m", "tests.support.fault_worker", mode)
    engine = EngineService(Config(model=str(model)), command=command)
    living = asyncio.create_task(engine.run())
    try:
        yield engine
    finally:
        living.cancel()
        await asyncio.gather(living, return_exceptions=True)


async def until(condition: Callable[[], object], what: str) -> None:
    """Gives the loop its turns, where `wait_until` would block it."""
    end_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end_s, f"not within {PATIENCE_S:.0f} s: {what}"
        await asyncio.sleep(0.01)


async def ready(engine: EngineService, than: int | None = None) -> int:
    """The pid of a worker that has loaded, another one `than` the one given."""
    await until(
        lambda: engine.state == "ready" and engine.worker_pid not in (None, than), "a new worker"
    )
    assert engine.worker_pid
    return engine.worker_pid


class Asked:
    """A request, and how often it was answered."""

    def __init__(self, engine: EngineService, deadline_ms: int = LONG_MS) -> None:
        rule = StopRule(8, 1, 0, "", deadline_ms)
        self.n_answers = 0
        self.job: Job = engine.infer(lambda _: (Piece("prefix", "x"),), rule, Sampling())
        self.job.answered.add_done_callback(self._count)

    def _count(self, _: asyncio.Future[Done]) -> None:
        self.n_answers += 1

    async def answer(self) -> Done:
        done = await asyncio.wait_for(asyncio.shield(self.job.answered), PATIENCE_S)
        await asyncio.sleep(0)
        assert self.n_answers == 1
        return done


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


def _has_begun(engine: EngineService, n_before: int) -> bool:
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
    monkeypatch.setattr(service, "STUCK_S", 2)
    monkeypatch.setattr(service, "GRACE_MS", 0)
    async with running(mode, tmp_path) as engine:
        pid = await ready(engine)
        if stop:
            os.kill(pid, signal.SIGSTOP)
        asked = [Asked(engine, deadline_ms=20) for _ in range(3)]
        assert [(await one.answer()).reason for one in asked] == ["deadline"] * 3
        assert engine.worker_pid == pid  # late is not stuck
        await ready(engine, than=pid)
        assert len(starts()) == 2
        assert [one.n_answers for one in asked] == [1] * 3


async def test_a_worker_that_owes_nothing_is_never_stuck(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 44: stopped while idle, as in a suspend."""
    monkeypatch.setattr(service, "STUCK_S", 1)
    async with running("ok", tmp_path) as engine:
        pid = await ready(engine)
        assert (await Asked(engine).answer()).text == TEXT
        os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(2.5)
        os.kill(pid, signal.SIGCONT)
        assert (await Asked(engine).answer()).text == TEXT
        assert engine.worker_pid == pid


@pytest.mark.parametrize("mode", ["hang", "slow_load", "crash_at_start"])
async def test_stopping_answers_all(tmp_path: Path, mode: str) -> None:
    async with running(mode, tmp_path) as engine:
        asked = [Asked(engine) for _ in range(3)]
        await until(starts, "a worker has begun")
    assert [(await one.answer()).reason for one in asked] == ["failed"] * 3


# -- row 5: nonsense


def _is_refused(data: bytes) -> bool:
    """Whether the bytes alone tell that they are no frame."""
    try:
        for body in frames.Splitter().feed(data):
            frames.decode_from_worker(body)
    except ValueError:
        return True
    return False


REFUSED_SEEDS = [seed for seed in range(4 * N_GARBAGE_WORKERS) if _is_refused(garbage(seed))]


async def test_a_worker_that_speaks_nonsense_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 5, with real workers."""
    monkeypatch.setattr(service, "DEATHS_WITHIN_S", 0.0)
    seeds = REFUSED_SEEDS[:N_GARBAGE_WORKERS]
    pid: int | None = None
    async with running("garbage_frame", tmp_path) as engine:
        for seed in seeds:
            engine._command = (*engine._command[:-1], f"garbage_frame:{seed}")
            engine.restart()
            pid = await ready(engine, than=pid)
            asked = [Asked(engine), Asked(engine)]
            done = [await one.answer() for one in asked]
            assert [one.reason for one in done] == ["failed"] * 2, f"seed {seed}"
            assert "unreadable frame" in done[0].error, f"seed {seed}"
            pid = await ready(engine, than=pid)
    assert len(starts()) >= 2 * len(seeds)


async def test_nonsense_of_every_kind_is_an_error_and_nothing_else(tmp_path: Path) -> None:
    """Row 5, through the reading alone: a process for each would take minutes."""
    model = tmp_path / "model.gguf"
    model.touch()
    engine = EngineService(Config(model=str(model)))
    n_refused = 0
    for seed in range(N_FAULTS):
        engine.state, engine.info = "loading", None
        asked = Asked(engine)
        reader = asyncio.StreamReader()
        reader.feed_data(garbage(seed))
        reader.feed_eof()
        said = ""
        try:
            await engine._read(reader)
        except (EngineError, ModelError) as error:
            said = str(error)
        except Exception as error:
            pytest.fail(f"seed {seed}: {type(error).__name__}: {error}")
        assert said.count("\n") == 0, f"seed {seed}"
        n_refused += bool(said)
        engine._answer_all("the worker was replaced")
        assert await asked.answer(), f"seed {seed}"
        assert not engine._jobs
    assert n_refused > N_FAULTS / 2


@given(st.lists(st.binary(max_size=300), max_size=6))
def test_bytes_of_any_kind_are_frames_or_a_value_error(chunks: list[bytes]) -> None:
    splitter = frames.Splitter()
    for chunk in chunks:
        try:
            bodies = list(splitter.feed(chunk))
        except ValueError:
            return
        for body in bodies:
            for decode in (frames.decode_from_worker, frames.decode_to_worker):
                try:
                    decode(body)
                except ValueError:
                    continue


@given(st.binary(max_size=200))
def test_a_body_of_any_kind_is_a_frame_or_a_value_error(body: bytes) -> None:
    for decode in (frames.decode_from_worker, frames.decode_to_worker):
        try:
            decoded = decode(body)
        except ValueError:
            continue
        assert isinstance(decoded, frames.ToWorker | frames.FromWorker)
