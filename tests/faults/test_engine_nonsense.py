"""A worker that sends nonsense: it is replaced, and each request answered once (reliability row
5)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmd.config import Config
from llmd.engine import messages, supervisor
from llmd.engine.client import EngineClient
from llmd.engine.process import WorkerProtocol
from llmd.errors import EngineError, ModelError
from tests.support.fault_engine import Asked, ready, running, starts
from tests.support.fault_worker import garbage

pytestmark = pytest.mark.usefixtures("fault_worker")

N_FAULTS = int(os.environ.get("LLMD_N_FAULTS", "500"))
N_GARBAGE_WORKERS = max(8, N_FAULTS // 200)


def _is_refused(data: bytes) -> bool:
    """Whether the bytes alone tell that they are no frame."""
    try:
        for body in messages.FrameDecoder().feed(data):
            messages.decode_from_worker(body)
    except ValueError:
        return True
    return False


REFUSED_SEEDS = [seed for seed in range(4 * N_GARBAGE_WORKERS) if _is_refused(garbage(seed))]


async def test_a_worker_that_speaks_nonsense_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 5, with real workers."""
    monkeypatch.setattr(supervisor, "DEATHS_WITHIN_S", 0.0)
    seeds = REFUSED_SEEDS[:N_GARBAGE_WORKERS]
    pid: int | None = None
    async with running("garbage_frame", tmp_path) as engine:
        for seed in seeds:
            command = engine._supervisor._command
            engine._supervisor._command = (*command[:-1], f"garbage_frame:{seed}")
            engine.restart()
            pid = await ready(engine, than=pid)
            asked = [Asked(engine), Asked(engine)]
            done = [await one.answer() for one in asked]
            assert [one.reason for one in done] == ["failed"] * 2, f"seed {seed}"
            assert "invalid message" in done[0].error, f"seed {seed}"
            pid = await ready(engine, than=pid)
    assert len(starts()) >= 2 * len(seeds)


async def test_nonsense_of_every_kind_is_an_error_and_nothing_else(tmp_path: Path) -> None:
    """Row 5, through the reading alone: a process for each would take minutes."""
    model = tmp_path / "model.gguf"
    model.touch()
    engine = EngineClient(Config(model=str(model)))
    for seed in range(N_FAULTS):
        engine._active.state, engine._active.info = "loading", None
        asked = Asked(engine)
        hearing = WorkerProtocol(engine._active.on_message)
        hearing.data_received(garbage(seed))
        hearing.connection_lost(None)
        said = ""
        try:
            await hearing.ended
        except (EngineError, ModelError) as error:
            said = str(error)
        except Exception as error:
            pytest.fail(f"seed {seed}: {type(error).__name__}: {error}")
        assert said.count("\n") == 0, f"seed {seed}"
        assert said or seed % 4 == 2, f"seed {seed}"  # a flipped bit may still leave a frame
        engine._requests.fail_all("the worker was replaced")
        assert await asked.answer(), f"seed {seed}"
        assert not engine._requests


@given(st.lists(st.binary(max_size=300), max_size=6))
def test_bytes_of_any_kind_are_frames_or_a_value_error(chunks: list[bytes]) -> None:
    splitter = messages.FrameDecoder()
    for chunk in chunks:
        try:
            bodies = list(splitter.feed(chunk))
        except ValueError:
            return
        for body in bodies:
            for decode in (messages.decode_from_worker, messages.decode_to_worker):
                try:
                    decode(body)
                except ValueError:
                    continue


@given(st.binary(max_size=200))
def test_a_body_of_any_kind_is_a_frame_or_a_value_error(body: bytes) -> None:
    for decode in (messages.decode_from_worker, messages.decode_to_worker):
        try:
            decoded = decode(body)
        except ValueError:
            continue
        assert isinstance(decoded, messages.ToWorker | messages.FromWorker)
