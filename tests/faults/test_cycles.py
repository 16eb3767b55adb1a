"""Nothing is left of documents that were closed and of clients that have gone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.faults import cycles
from tests.faults.cycles import MB, Held, Result
from tests.support.daemon import RunningDaemon

N_CYCLES = 100
HELD = Held(4, 20, 9, 0, 0, 80 * MB)


@pytest.mark.timeout(300)
def test_a_hundred_cycles_leave_nothing(daemon: RunningDaemon) -> None:
    result = cycles.run(daemon, N_CYCLES)
    assert result.n_requests >= N_CYCLES
    assert result.problems() == []


@pytest.mark.parametrize(
    ("after", "said"),
    [
        ([HELD] * 5, []),
        ([HELD] * 4 + [replace(HELD, n_tasks=6)], ["n_tasks grew from 4 to 6"]),
        ([HELD] * 4 + [replace(HELD, n_documents=1)], ["n_documents grew from 0 to 1"]),
        ([replace(HELD, daemon_bytes=84 * MB)] * 5, []),
        ([replace(HELD, daemon_bytes=89 * MB)] * 5, ["the daemon grew by 9.0 MB"]),
        (
            [replace(HELD, daemon_bytes=(81 + n) * MB) for n in range(5)],
            ["the daemon grows all the time, by 5.0 MB so far"],
        ),
    ],
    ids=["same", "task", "document", "filled once", "too much", "leak"],
)
def test_what_counts_as_left(after: list[Held], said: list[str]) -> None:
    assert Result(N_CYCLES, 9, HELD, tuple(after)).problems() == said
