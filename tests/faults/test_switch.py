"""Another model while editors ask: beside the old one or in its place, done or failed."""

from __future__ import annotations

import asyncio
import errno
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from llmd.config import Config
from llmd.engine.client import EngineClient
from llmd.engine.process import WorkerProcess
from tests.support import fault_worker
from tests.support.fault_engine import Asked, ready, starts, until
from tests.support.fault_worker import BY_NAME, LAST_WORDS, LOAD_FAILED, TEXT

pytestmark = pytest.mark.usefixtures("fault_worker")


def model(folder: Path, mode: str) -> str:
    path = folder / f"{mode}.gguf"
    path.touch()
    return str(path)


@asynccontextmanager
async def engine_with(folder: Path, has_room: bool) -> AsyncIterator[EngineClient]:
    command = (sys.executable, fault_worker.__file__, BY_NAME)
    config = Config(model=model(folder, "ok"))
    engine = EngineClient(config, command=command, has_room=lambda *_: has_room)
    living = asyncio.create_task(engine.run())
    try:
        await ready(engine)
        yield engine
    finally:
        living.cancel()
        await asyncio.gather(living, return_exceptions=True)
    for pid in map(int, starts()):
        await until(lambda pid=pid: not is_alive(pid), "no worker is left")  # type: ignore[misc]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def switched(engine: EngineClient) -> None:
    await until(lambda: engine.switch.state != "loading", "the switch has ended")


async def answers(engine: EngineClient) -> str:
    return (await Asked(engine).answer()).text


async def test_the_old_model_answers_while_the_new_one_loads(tmp_path: Path) -> None:
    async with engine_with(tmp_path, has_room=True) as engine:
        old = engine.worker_pid
        engine.configure(Config(model=model(tmp_path, "slow_load")), reload=True)
        n_before = 0
        while engine.worker_pid == old and engine.state == "ready":
            assert engine.switch.state == "loading"
            assert await answers(engine) in (TEXT, "")
            n_before += 1
        assert n_before > 1
        new = await ready(engine, than=old)
        assert (engine.switch.state, engine.notice) == ("", "")
        assert await answers(engine) == TEXT
        assert starts() == [str(old), str(new)]


async def test_what_the_old_model_was_at_is_answered_once_and_empty(tmp_path: Path) -> None:
    async with engine_with(tmp_path, has_room=True) as engine:
        engine.configure(Config(model=model(tmp_path, "hang")), reload=True)
        await switched(engine)
        old = await ready(engine)
        asked = [Asked(engine) for _ in range(3)]
        engine.configure(Config(model=model(tmp_path, "ok")), reload=True)
        done = [await one.answer() for one in asked]
        assert {(d.reason, d.text, d.error) for d in done} == {
            ("failed", "", "The model is being switched")
        }
        await ready(engine, than=old)
        assert await answers(engine) == TEXT
        assert [one.n_answers for one in asked] == [1] * 3


@pytest.mark.parametrize(
    ("mode", "said"), [("load_failed", LOAD_FAILED), ("die_in_load", LAST_WORDS)]
)
async def test_a_failed_load_beside_leaves_the_old_worker_alone(
    tmp_path: Path, mode: str, said: str
) -> None:
    async with engine_with(tmp_path, has_room=True) as engine:
        old, bad = engine.worker_pid, model(tmp_path, mode)
        engine.configure(Config(model=bad), reload=True)
        await switched(engine)
        assert (engine.switch.model, engine.switch.state) == (bad, "failed")
        assert said in engine.switch.reason
        assert engine.notice.endswith(f"; `{tmp_path}/ok.gguf` stays in use")
        assert (engine.state, engine.worker_pid) == ("ready", old)
        assert engine.config.model == f"{tmp_path}/ok.gguf"
        assert await answers(engine) == TEXT
        engine.configure(Config(model=model(tmp_path, "slow_load")), reload=True)
        await ready(engine, than=old)
        assert engine.notice == ""


async def test_a_worker_that_cannot_be_started_in_the_old_one_s_place_goes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing has ended: what was asked in between waits for the old model."""
    asked, real = [], WorkerProcess._start
    async with engine_with(tmp_path, has_room=False) as engine:
        old = await ready(engine)

        async def start(self: WorkerProcess, variables: Any) -> Any:
            if asked:
                return await real(self, variables)
            asked.append(Asked(engine))
            raise OSError(errno.EMFILE, "Too many open files")

        monkeypatch.setattr(WorkerProcess, "_start", start)
        engine.configure(Config(model=model(tmp_path, "slow_load")), reload=True)
        await ready(engine, than=old)
        assert (await asked[0].answer()).text == TEXT
        assert "Too many open files" in engine.switch.reason
        assert engine.config.model == f"{tmp_path}/ok.gguf"


@pytest.mark.parametrize("mode", ["load_failed", "die_in_load"])
async def test_a_failed_load_in_the_old_one_s_place_goes_back(tmp_path: Path, mode: str) -> None:
    async with engine_with(tmp_path, has_room=False) as engine:
        old = await ready(engine)
        engine.configure(Config(model=model(tmp_path, mode)), reload=True)
        await until(lambda: engine.switch.state == "failed", "the switch has failed")
        asked = Asked(engine)  # while the old one is loaded again
        await ready(engine, than=old)
        assert (await asked.answer()).text == TEXT
        assert engine.config.model == f"{tmp_path}/ok.gguf"
        assert engine.state == "ready"
        assert len(starts()) == 3
        assert "stays in use" in engine.notice


async def test_without_room_one_worker_ends_before_the_next_starts(tmp_path: Path) -> None:
    async with engine_with(tmp_path, has_room=False) as engine:
        old = await ready(engine)
        engine.configure(Config(model=model(tmp_path, "slow_load")), reload=True)
        await until(lambda: len(starts()) == 2, "the next worker has started")
        assert not is_alive(old)
        asked = Asked(engine)
        await ready(engine, than=old)
        assert (await asked.answer()).text == TEXT
        assert engine.switch.state == ""


async def test_a_model_that_is_missing_is_told_and_ends_nothing(tmp_path: Path) -> None:
    async with engine_with(tmp_path, has_room=False) as engine:
        old = engine.worker_pid
        engine.configure(Config(model=f"{tmp_path}/none.gguf"), reload=True)
        await switched(engine)
        assert "does not exist" in engine.switch.reason
        assert (engine.state, engine.worker_pid, len(starts())) == ("ready", old, 1)


async def test_a_change_of_mind_ends_the_new_worker(tmp_path: Path) -> None:
    """The config is set back while the new model loads; then another one is asked for."""
    async with engine_with(tmp_path, has_room=True) as engine:
        old, first = await ready(engine), engine.config
        engine.configure(Config(model=model(tmp_path, "slow_load")), reload=True)
        await until(lambda: len(starts()) == 2, "the new worker has started")
        engine.configure(first, reload=False)
        await until(lambda: not is_alive(int(starts()[1])), "it has ended")
        assert (engine.switch.state, engine.worker_pid) == ("", old)
        engine.configure(Config(model=model(tmp_path, "slow_load")), reload=True)
        engine.configure(Config(model=model(tmp_path, "slow_load")), reload=True)  # once
        await ready(engine, than=old)
        assert len(starts()) == 3


async def test_an_engine_that_ends_in_a_switch_leaves_no_worker(tmp_path: Path) -> None:
    async with engine_with(tmp_path, has_room=True) as engine:
        engine.configure(Config(model=model(tmp_path, "slow_load")), reload=True)
        await until(lambda: len(starts()) == 2, "the new worker has started")


async def test_the_old_worker_may_die_while_the_new_one_loads(tmp_path: Path) -> None:
    async with engine_with(tmp_path, has_room=True) as engine:
        old = await ready(engine)
        engine.configure(Config(model=model(tmp_path, "slow_load")), reload=True)
        await until(lambda: len(starts()) == 2, "the new worker has started")
        os.kill(old, 9)
        await until(lambda: engine.switch.state == "" and engine.state == "ready", "it is done")
        assert engine.config.model.endswith("slow_load.gguf")
        assert await answers(engine) == TEXT
