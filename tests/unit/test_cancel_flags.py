"""Tests the cancel flags of daemon and worker on the same shared memory."""

from __future__ import annotations

import ctypes
import os

import pytest

from llmd.engine.cancel_flags import N_FLAGS, CancelFlagReader, CancelFlags


@pytest.fixture
def sides() -> tuple[CancelFlags, CancelFlagReader]:
    daemon = CancelFlags()
    return daemon, CancelFlagReader(os.dup(daemon.fileno()))


def stops_a_decode(flags: CancelFlagReader, id_: int) -> bool:
    """Reads the flag like llama.cpp, with libc's strlen."""
    return ctypes.CDLL(None).strlen(ctypes.c_void_p(flags.address(id_))) != 0


@pytest.mark.parametrize("id_", [1, N_FLAGS - 1, N_FLAGS, 3 * N_FLAGS + 7])
def test_a_hard_flag_stops_a_decode_and_a_gentle_one_only_what_follows(
    sides: tuple[CancelFlags, CancelFlagReader], id_: int
) -> None:
    daemon, worker = sides
    daemon.clear(id_)
    assert not worker.is_set(id_)
    daemon.set(id_, after_batch=True)
    assert worker.is_set(id_)
    assert not stops_a_decode(worker, id_)
    daemon.set(id_, after_batch=False)
    assert stops_a_decode(worker, id_)
    daemon.clear(id_)
    assert not worker.is_set(id_)
    assert not stops_a_decode(worker, id_)


def test_flags_are_each_their_own(sides: tuple[CancelFlags, CancelFlagReader]) -> None:
    daemon, worker = sides
    for id_ in range(0, N_FLAGS, 2):
        daemon.set(id_, after_batch=id_ % 4 == 0)
    assert [id_ for id_ in range(N_FLAGS) if worker.is_set(id_)] == list(range(0, N_FLAGS, 2))
    assert [id_ for id_ in range(N_FLAGS) if stops_a_decode(worker, id_)] == list(
        range(2, N_FLAGS, 4)
    )
    assert not ctypes.CDLL(None).strlen(ctypes.c_void_p(worker.never))
