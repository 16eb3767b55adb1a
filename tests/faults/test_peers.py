"""Peers that ask too much, do not read, half leave, or come by the hundred: they harm nobody else
(reliability rows 42, 50, 51 and 55)."""

from __future__ import annotations

import resource
from contextlib import ExitStack

import psutil
import pytest

from llmd.transport.framing import frame
from tests.faults.cycles import N_SPARE_TASKS
from tests.support.daemon import RunningDaemon, wait_until
from tests.support.rawlsp import (
    HEAD,
    INLINE_METHOD,
    MB,
    RawLsp,
    assert_serves,
    cpu_share,
    inline_params,
    request,
    rss_bytes,
)

pytestmark = pytest.mark.usefixtures("survives")


@pytest.mark.parametrize("n_documents", [1, 7])
def test_a_storm_of_cancels_gives_each_request_one_reply(client: RawLsp, n_documents: int) -> None:
    """Row 55."""
    uris = [client.open() for _ in range(n_documents)]
    ids = []
    for n in range(300):
        ids.append(client.ask_inline(uris[n % n_documents], col=n % 12))
        client.note("$/cancelRequest", id=ids[-1])
    for id_ in ids:
        client.reply(id_)
    assert client.inline(uris[0])
    counts = client.settle()
    assert [counts[id_] for id_ in ids] == [1] * 300
    errors = [client.replies[id_][0].get("error", {}).get("code", -32800) for id_ in ids]
    assert set(errors) == {-32800}


@pytest.mark.parametrize("method", ["llmd/status", INLINE_METHOD])
def test_a_half_closed_peer_is_let_go(client: RawLsp, method: str) -> None:
    """Row 51: answered or not, never twice."""
    uri = client.open()
    id_ = client.ask(method, **inline_params(uri))
    client.end_writing()
    assert client.is_closed()
    assert len(client.replies[id_]) <= 1


@pytest.mark.parametrize("n_bytes", [0, 1, 20, 60])
def test_a_peer_that_stops_in_a_frame_harms_nobody(daemon: RunningDaemon, n_bytes: int) -> None:
    with ExitStack() as stack:
        for _ in range(20):
            half = stack.enter_context(RawLsp(daemon))
            half.write(frame(request(method="llmd/status"))[:n_bytes])
        assert_serves(daemon)


def test_a_peer_that_never_reads_is_dropped(daemon: RunningDaemon, client: RawLsp) -> None:
    """Row 50: what it is owed is bounded, and so is the daemon."""
    before_bytes = rss_bytes(daemon)
    status = frame(request(method="llmd/status"))
    with pytest.raises(OSError, match=r"Broken pipe|reset"):
        client.write(status * 20_000)
    assert rss_bytes(daemon) - before_bytes < 48 * MB


def test_completions_that_nobody_reads_harm_nobody(daemon: RunningDaemon, client: RawLsp) -> None:
    """Row 50."""
    before_bytes = rss_bytes(daemon)
    uri = client.open()
    for n in range(2000):
        client.ask_inline(uri, col=n % 12)
    assert_serves(daemon)
    assert rss_bytes(daemon) - before_bytes < 16 * MB


def test_300_idle_peers_leave_room_for_one(daemon: RunningDaemon) -> None:
    before = daemon.status()["process"]
    with ExitStack() as stack:
        idle = [stack.enter_context(RawLsp(daemon)) for _ in range(300)]
        for client in idle[::2]:
            client.initialize().open()
        assert_serves(daemon)
        assert len(daemon.status()["clients"]) >= 150
    wait_until(
        lambda: daemon.status()["process"]["n_fds"] <= before["n_fds"], "descriptors are given back"
    )
    most = before["n_tasks"] + N_SPARE_TASKS
    wait_until(lambda: daemon.status()["process"]["n_tasks"] <= most, "tasks have ended")


def test_no_descriptor_left_is_waited_out(own_daemon: RunningDaemon) -> None:
    """Row 42: who is there is served, who comes waits, and nothing spins."""
    assert own_daemon.process
    pid = own_daemon.process.pid
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    with ExitStack() as stack:
        there = stack.enter_context(RawLsp(own_daemon)).initialize()
        uri = there.open()
        limit = psutil.Process(pid).num_fds() + 3
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, hard))
        stack.callback(resource.prlimit, pid, resource.RLIMIT_NOFILE, (soft, hard))
        for _ in range(30):
            stack.enter_context(RawLsp(own_daemon)).write(HEAD)
        assert there.inline(uri)
        assert cpu_share(own_daemon) < 0.2
        assert there.call("llmd/status")["state"] == "ready"
        assert there.inline(uri)
