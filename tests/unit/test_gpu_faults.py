"""Tests what a worker does when llama_decode fails at a load, a prefill, a draft or a decode."""

from __future__ import annotations

import queue
import socket
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.support.fault_worker import LOADED
from tests.support.model_cache import Memory
from tests.support.toy_context import ToyContext, engine_of

from llmd.config import EngineConfig, SamplingConfig
from llmd.engine import messages
from llmd.engine.cancel_flags import CancelFlags
from llmd.errors import DeviceError, EngineError
from llmd.postprocess.stop import StopRule
from llmd.prompt.build import Piece
from llmd.worker import serve_requests
from llmd.worker.warm_up import batch_size, warm_up

N_EVALUATIONS = 6  # of the three requests of `serve`


class Link:
    """Gives the worker its messages, and ends it when it asks for more."""

    def __init__(self, *arrivals: messages.ToWorker) -> None:
        self.sent: list[Any] = []
        self.arrivals = self
        self._queue = queue.SimpleQueue[messages.ToWorker]()
        for arrival in arrivals:
            self._queue.put(arrival)

    def get(self) -> tuple[float, messages.ToWorker]:
        try:
            return time.monotonic(), self._queue.get_nowait()
        except queue.Empty:
            raise SystemExit from None

    def send(self, frame: messages.FromWorker) -> None:
        self.sent.append(frame)

    def empty(self) -> bool:
        return self._queue.empty()


def request(id_: int, text: str) -> messages.Generate:
    pieces = (Piece("pre"), Piece("prefix", text), Piece("suf"), Piece("mid"))
    return messages.Generate(
        id_, pieces, StopRule(2, 1, 0, "", 60_000), SamplingConfig(profile="greedy")
    )


def serve(monkeypatch: pytest.MonkeyPatch, context: ToyContext) -> tuple[list[messages.Done], bool]:
    """Serves three requests: a prefill, one that evaluates a typed word, one a letter. Returns the
    answers, and whether the worker ended by itself."""
    monkeypatch.setattr(serve_requests, "load_engine", lambda *_: (engine_of(context), LOADED))
    requests = (request(id_, text) for id_, text in enumerate(("abc", "abc xy", "abc xyz"), 1))
    link = Link(messages.Load("", "auto", EngineConfig()), *requests)
    flags = SimpleNamespace(never=0, address=lambda _: 0, is_set=lambda _: False)
    has_ended = True
    try:
        serve_requests.Worker(cast(Any, link), cast(Any, flags)).run()
    except SystemExit:
        has_ended = False
    return [frame for frame in link.sent if isinstance(frame, messages.Done)], has_ended


def test_three_requests_take_so_many_evaluations(monkeypatch: pytest.MonkeyPatch) -> None:
    context = ToyContext(target=b"ab return()")
    done, has_ended = serve(monkeypatch, context)
    assert [each.error for each in done] == ["", "", ""]
    assert (context.n_decodes, has_ended) == (N_EVALUATIONS, False)


@pytest.mark.parametrize("code", [-1, -2, -3, -4])
@pytest.mark.parametrize("at", range(1, N_EVALUATIONS + 1))
@pytest.mark.parametrize("is_on_gpu", [True, False])
def test_an_error_ends_a_worker_on_a_gpu_after_its_answer(
    monkeypatch: pytest.MonkeyPatch, code: int, at: int, is_on_gpu: bool
) -> None:
    """Each later evaluation on the GPU would fail; on a CPU the next request is answered."""
    context = ToyContext(target=b"ab return()")
    context.is_on_gpu, context.codes = is_on_gpu, {at: code}
    done, has_ended = serve(monkeypatch, context)
    (failed,) = (each for each in done if each.reason == "failed")
    assert f"(code {code})" in failed.error
    assert has_ended == is_on_gpu
    assert done[-1] is failed if is_on_gpu else len(done) == 3


@pytest.mark.parametrize("code", [1, 2])
@pytest.mark.parametrize("at", range(1, N_EVALUATIONS + 1))
def test_no_room_and_an_abort_end_no_worker(
    monkeypatch: pytest.MonkeyPatch, code: int, at: int
) -> None:
    context = ToyContext(target=b"ab return()")
    context.is_on_gpu, context.codes = True, {at: code}
    done, has_ended = serve(monkeypatch, context)
    assert (len(done), has_ended) == (3, False)


class GpuMemory(Memory):
    """Notes the sizes of its batches and when their results were waited for."""

    n_ctx = n_batch = 512
    is_on_gpu = True

    def __init__(self, codes: tuple[int, ...] = ()) -> None:
        super().__init__(codes)
        self.sizes: list[int] = []
        self.seen: set[int] = set()

    def decode(self, tokens: Any, start: int, n_logits: int) -> int:
        self.sizes.append(len(tokens))
        self.seen.update(tokens)
        return super().decode(tokens, start, n_logits)

    def failure(self, what: str) -> EngineError:
        return DeviceError(what)

    def logits(self) -> None:
        self.sizes.append(0)


MODEL = cast(Any, SimpleNamespace(
    vocabulary=SimpleNamespace(bos=-1, eos=5, n_tokens=1000), is_recurrent=False, n_window=0
))  # fmt: skip


@pytest.mark.parametrize(
    ("prefill_per_s", "min_batch", "n_batch"),
    [(225, 0, 64), (1_000, 0, 128), (1e6, 0, 512), (225, 256, 256), (225, 512, 512)],
)
def test_a_load_compiles_the_kernels_and_sizes_the_batches(
    monkeypatch: pytest.MonkeyPatch, prefill_per_s: float, min_batch: int, n_batch: int
) -> None:
    """A batch of 64 is evaluated twice; then the batch that will be used, if it is another."""
    clock_s = iter((0.0, 64 / prefill_per_s))
    monkeypatch.setattr("llmd.worker.warm_up.time.perf_counter", lambda: next(clock_s))
    memory = GpuMemory()
    warmed = warm_up(MODEL, cast(Any, memory), min_batch)
    assert memory.sizes[:8] == [1, 1, 4, 0, 64, 0, 64, 0]
    assert memory.sizes[8:] == ([] if n_batch == 64 else [n_batch, 0])
    assert memory.n_batch == n_batch
    assert warmed.prefill_per_s == pytest.approx(prefill_per_s)
    assert warmed.cache.cells == memory.tokens == []
    assert len(memory.seen) > 40  # a mixture of experts needs other weights for other tokens


@pytest.mark.parametrize("at", range(6))
@pytest.mark.parametrize("code", [-1, -3])
def test_what_fails_in_the_warm_up_fails_the_load(at: int, code: int) -> None:
    codes = (0,) * at + (code,)
    with pytest.raises(DeviceError):
        warm_up(MODEL, cast(Any, GpuMemory(codes)))


@pytest.mark.parametrize(
    ("prefill_per_s", "n_batch"),
    [(50, 64), (225, 64), (700, 64), (1_000, 128), (2_600, 256), (11_250, 512), (1e9, 512)],
)
def test_a_batch_of_a_gpu_takes_about_100_ms(prefill_per_s: float, n_batch: int) -> None:
    assert batch_size(prefill_per_s, 0, 512) == n_batch
    assert batch_size(prefill_per_s, 0, 32) == 32


@pytest.mark.parametrize(
    ("error", "has_lost_device", "n_sent"),
    [(DeviceError("timeout"), True, 0), (EngineError("no"), False, 1), (KeyError("k"), False, 1)],
)
def test_a_gpu_that_fails_in_the_load_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, error: Exception, has_lost_device: bool, n_sent: int
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(serve_requests, "load_engine", fail)
    link = Link(messages.Load("", "auto", EngineConfig()))
    flags = SimpleNamespace(never=0)
    assert serve_requests.Worker(cast(Any, link), cast(Any, flags)).run() is has_lost_device
    assert len(link.sent) == n_sent  # a load that failed for good is told


@pytest.mark.parametrize(("has_lost_device", "code"), [(True, messages.LOST_DEVICE), (False, 0)])
def test_the_worker_s_exit_code_tells_a_lost_device(has_lost_device: bool, code: int) -> None:
    """In a process of its own, since the worker leaves without Python's own end."""
    start = (
        "from llmd.worker import main, serve_requests;"
        f" serve_requests.Worker.run = lambda self: {has_lost_device};"
        " main.main()"
    )
    ours, theirs = socket.socketpair()
    flags = CancelFlags()
    with ours, theirs:
        fds = theirs.fileno(), flags.fileno()
        command = [sys.executable, "-c", start, *map(str, fds)]
        assert subprocess.run(command, pass_fds=fds, check=False).returncode == code
