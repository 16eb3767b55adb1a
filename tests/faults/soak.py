"""The long form of the fault tests: `python -m tests.faults.soak`. Many more faults, 2,000 cycles,
and a machine that sleeps. A line as each part begins and ends, then one table; exit code 1 when a
part has failed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.faults import cycles
from tests.support.builtin import builtin_path
from tests.support.daemon import RunningDaemon
from tests.support.rawlsp import RawLsp, assert_serves

N_FAULTS = 10_000
N_CYCLES = 2000
SLEEP_S = 60.0
FILES = (
    "test_transports", "test_peers", "test_fuzz", "test_gguf", "test_engine_faults",
    "test_engine_nonsense",
)  # fmt: skip

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Outcome:
    part: str
    said: str
    is_good: bool
    took_s: float


def main() -> int:
    parts: dict[str, Callable[[], str]] = {name: _pytest(name) for name in FILES}
    parts |= {f"{N_CYCLES} cycles": _cycles, f"{SLEEP_S:.0f} s asleep": _sleep}
    outcomes = [_run(part, work) for part, work in parts.items()]
    print()
    for one in outcomes:
        word = "ok" if one.is_good else "FAILED"
        print(f"{one.part:20} {word:6} {one.took_s:7.0f} s  {one.said}")
    return 0 if all(one.is_good for one in outcomes) else 1


def _run(part: str, work: Callable[[], str]) -> Outcome:
    print(f"{time.strftime('%H:%M:%S')} {part} …", flush=True)
    start_s = time.monotonic()
    try:
        said, is_good = work(), True
    except Exception as error:  # one part's fault must not keep the others from running
        said, is_good = str(error) or type(error).__name__, False
    outcome = Outcome(part, said, is_good, time.monotonic() - start_s)
    print(f"{time.strftime('%H:%M:%S')} {part}: {said}", flush=True)
    return outcome


def _pytest(name: str) -> Callable[[], str]:
    def work() -> str:
        path = Path(__file__).with_name(f"{name}.py")
        command = [sys.executable, "-m", "pytest", "-q", "--timeout=0", str(path)]
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, "LLMD_N_FAULTS": str(N_FAULTS)},
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        last = (done.stdout.strip().splitlines() or ["it said nothing"])[-1]
        if done.returncode:
            print(done.stdout)
            raise AssertionError(last)
        return last

    return work


@contextmanager
def _daemon() -> Iterator[RunningDaemon]:
    with (
        tempfile.TemporaryDirectory() as folder,
        RunningDaemon(builtin_path().parent, Path(folder)) as running,
    ):
        yield running


def _cycles() -> str:
    with _daemon() as daemon:
        result = cycles.run(daemon, N_CYCLES)
    assert not result.problems(), "; ".join(result.problems())
    grown_bytes = result.after[-1].daemon_bytes - result.before.daemon_bytes
    return f"{result.n_requests} requests, the daemon grew by {grown_bytes / cycles.MB:.1f} MB"


def _sleep() -> str:
    """Rows 40 and 44: nobody steals the daemon's place, and its worker is not taken for stuck."""
    with _daemon() as daemon, RawLsp(daemon, timeout_s=120).initialize() as client:
        status = daemon.status()
        pids = (status["worker_pid"], status["pid"])
        os.kill(pids[0], signal.SIGSTOP)  # first, so that the request is surely in flight
        in_flight = client.ask_inline(client.open())
        client.call("llmd/status")
        os.kill(pids[1], signal.SIGSTOP)
        try:
            started = daemon.llmd("start")
            time.sleep(SLEEP_S)
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
        assert started.returncode == 1, "a second daemon was started"
        assert "does not answer" in started.stderr, started.stderr
        client.reply(in_flight)
        assert client.inline(client.open()), "no completion after it woke"
        assert client.settle()[in_flight] == 1
        assert daemon.status()["pid"] == pids[1]
        assert_serves(daemon, pids[0])
    return "one request in flight and one after, same daemon and worker"


if __name__ == "__main__":
    sys.exit(main())
