"""Tests running out of memory: during a load, and while a model is in use."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmd.config.load import load_settings
from llmd.daemon.daemon import Daemon
from llmd.daemon.logs import LastError
from llmd.engine.memory_pressure import ALL, NO_BACKGROUND, NO_PARKED, UNLOADED, Pressure
from tests.support.fault_engine import Asked, ready, running, starts, until
from tests.support.fault_worker import ENOUGH_LESS, LOADS, NEEDS_LESS, OUT_OF_MEMORY, STARTS, TEXT


@pytest.fixture(autouse=True)
def _starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STARTS, str(tmp_path / "starts"))
    monkeypatch.setenv(LOADS, str(tmp_path / "loads"))


async def test_a_load_that_is_killed_is_tried_again_with_less(tmp_path: Path) -> None:
    async with running(NEEDS_LESS, tmp_path) as engine:
        await ready(engine)
        assert len(starts()) == ENOUGH_LESS + 1


@pytest.mark.parametrize("mode", OUT_OF_MEMORY)
async def test_memory_that_runs_out_after_the_load_makes_the_plan_smaller(
    tmp_path: Path, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(mode, tmp_path) as engine:
        await ready(engine)
        assert (await Asked(engine).answer()).reason == "failed"
        await until(lambda: len(starts()) == 2, "the next worker has started")
        assert (await Asked(engine).answer()).text == TEXT
    (said,) = (line.getMessage() for line in caplog.records if "worker ended" in line.getMessage())
    assert "memory" in said.lower()  # not the place in ggml's source


async def test_a_load_that_was_retried_explains_no_later_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its first attempt ran out of memory; what ends the worker later is something else."""
    async with running("memory_before", tmp_path) as engine:
        await until(lambda: len(starts()) == 2 and engine.state == "ready", "a new worker")
    assert (tmp_path / "loads").read_text().split() == ["0", "0"]  # no smaller plan
    (said,) = (line.getMessage() for line in caplog.records if "worker ended" in line.getMessage())
    assert "Timeout" in said


async def test_a_suspended_engine_loads_only_after_resume(tmp_path: Path) -> None:
    async with running("ok", tmp_path) as engine:
        await ready(engine)
        engine.suspend("no room")
        await until(lambda: engine.worker_pid is None, "the worker has ended")
        answer = await Asked(engine).answer()
        assert (answer.reason, answer.error) == ("failed", "no room")
        assert (engine.state, len(starts())) == ("unloaded", 1)
        engine.resume()
        assert (await Asked(engine).answer()).text == TEXT
        assert len(starts()) == 2


async def test_the_daemon_steps_down_and_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMD_STATE_DIR", str(tmp_path))
    settings = load_settings(tmp_path / "config.toml", ('background="on"',))
    daemon = Daemon(settings, (), LastError())
    done: list[str] = []
    monkeypatch.setattr(daemon.engine, "set_parking", lambda keep: done.append(f"park {keep}"))
    monkeypatch.setattr(daemon.engine, "suspend", lambda _: done.append("hold"))
    monkeypatch.setattr(daemon.engine, "resume", lambda: done.append("release"))
    seen = []
    for step in (NO_BACKGROUND, NO_BACKGROUND, NO_PARKED, UNLOADED, NO_PARKED, ALL):
        daemon._apply_pressure(Pressure(step))
        seen.append((daemon.pipeline.prefetcher.is_allowed, daemon.status().pressure.step))
    assert seen == [(False, 1), (False, 1), (False, 2), (False, 3), (False, 2), (True, 0)]
    assert done == ["park True", "park False", "park False", "hold", "park False", "release",
                    "park True"]  # fmt: skip
